"""``list``: videos by the shared filters."""

import argparse
from collections.abc import Mapping
from itertools import islice

from sqlalchemy import RowMapping

from worker.cli import output
from worker.cli.references import complain_missing, filter_of, named
from worker.cli.session import open_to_look
from worker.settings_sources import Loaded
from worker.store import search

COLUMNS = ("id", "state", "attempts", "due_at", "media_id", "title", "job_id", "error")
JOB_ID = 36
"""Characters of a job id; it is shown whole, to be copied."""


def list_(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Print a line a video."""
    wanted = filter_of(args)
    with open_to_look(loaded) as session:
        rows, found = session.read(
            lambda c, _: (list(islice(search.every(c, wanted), args.limit)), named(c, args))
        )
    if args.json:
        output.document([dict(row) for row in rows])
    elif output.on_terminal():
        short = ([row["id"], row["state"], _name(row), _last(row)] for row in rows)
        output.table(("id", "state", "video", "last"), short, whole=("id", "state", "last"))
    else:
        output.table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
    return complain_missing(found)


def _name(row: RowMapping) -> object:
    return row["title"] or row["media_id"] or row["url"]


def _last(row: RowMapping) -> str:
    """Return the error, the job id or the due time, cut to half of the terminal's width."""
    last = output.text(row["error"] or row["job_id"] or f"due {output.text(row['due_at'])}")
    room = max(JOB_ID, output.width() // 2)
    return last if len(last) <= room else f"{last[: room - 1]}…"
