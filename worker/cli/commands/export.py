"""``export``: videos by the shared filters, in the columns that ``import`` reads and a few more."""

import io
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain

from sqlalchemy import Connection

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.references import complain_missing, filter_of, named
from worker.cli.session import open_to_look
from worker.core.import_row import COLUMNS, EXPORT_ONLY
from worker.formats import write_csv, write_json_lines
from worker.store import search

EXPORTED = (*COLUMNS, *EXPORT_ONLY)


def export(call: Invocation) -> int:
    """Write the videos to stdout while they are read."""
    args, wanted = call.args, filter_of(call.args)
    columns = tuple(args.columns.split(",")) if args.columns else EXPORTED
    if wrong := [name for name in columns if name not in EXPORTED]:
        problem = f"no column {', '.join(map(repr, wrong))}: choose from {', '.join(EXPORTED)}"
        return exits.complain([problem], exits.USAGE)

    def write(connection: Connection, _: datetime) -> Mapping[str, Sequence[int]]:
        if args.bom and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8-sig")
        form = write_json_lines if args.json_lines else write_csv
        pages = search.pages(connection, wanted)
        rows = chain.from_iterable(search.with_jobs(connection, page) for page in pages)
        form(output.results(), columns, map(_freed, rows))
        return named(connection, args)

    with open_to_look(call.settings) as session:
        return complain_missing(session.read(write))


def _freed(row: Mapping[str, object]) -> Mapping[str, object]:
    """Return a row that is not held: how long one waits for its host or upload is no plan."""
    return row if row["held_host"] is None else {**row, "due_at": None}
