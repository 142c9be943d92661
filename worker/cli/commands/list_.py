"""``list``: videos by the shared filters."""

from itertools import islice

from sqlalchemy import RowMapping

from worker.cli import output
from worker.cli.invocation import Invocation
from worker.cli.references import complain_missing, filter_of, named
from worker.cli.session import open_to_look
from worker.store import search

COLUMNS = ("id", "state", "attempts", "due_at", "media_id", "title", "job_id", "error")
JOB_ID = 36
"""Characters of a job id; it is shown whole, to be copied."""


def list_(call: Invocation) -> int:
    """Print a line a video."""
    args, wanted = call.args, filter_of(call.args)
    with open_to_look(call.settings) as session:
        rows, found = session.read(
            lambda c, _: (list(islice(search.every(c, wanted), args.limit)), named(c, args))
        )
    if args.json:
        output.document([dict(row) for row in rows])
    elif output.on_terminal():
        output.table(
            ("id", "state", "video", "last"), map(_short, rows), whole=("id", "state", "last")
        )
    else:
        output.table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
    return complain_missing(found)


def _short(row: RowMapping) -> list[object]:
    """Return a row for a terminal. Its error, job id or due time is cut to half of the width."""
    last = output.text(row["error"] or row["job_id"] or f"due {output.text(row['due_at'])}")
    room = max(JOB_ID, output.width() // 2)
    name = row["title"] or row["media_id"] or row["url"]
    return [row["id"], row["state"], name, last if len(last) <= room else f"{last[: room - 1]}…"]
