"""``list``: videos by the shared filters."""

from collections.abc import Mapping
from itertools import islice
from shutil import get_terminal_size
from typing import Any

from worker.cli import output
from worker.cli.invocation import Invocation
from worker.cli.references import complain_missing, filter_of, named
from worker.cli.session import open_to_look
from worker.core.model import State
from worker.store import search

COLUMNS = (
    "id",
    "state",
    "attempts",
    "due_at",
    "media_id",
    "title",
    "job_id",
    "error",
    "job_status",
)
JOB_ID = 36
"""Characters of a job id; it is shown whole, to be copied."""
BESIDE = 26
"""Columns of id, state and margins."""
NARROWEST = BESIDE + JOB_ID + 10
"""Columns of a terminal below which nothing is cut, since a video is no single line there."""
SCREEN = 50
"""Videos that a terminal gets unasked."""


def list_(call: Invocation) -> int:
    """Print a line a video."""
    args, wanted = call.args, filter_of(call.args)
    drawn = output.on_terminal() and not args.json
    most = SCREEN if drawn and args.limit is None else args.limit
    with open_to_look(call.settings) as session:
        rows, found = session.read(
            lambda c, _: (
                search.with_jobs(c, list(islice(search.every(c, wanted), most))),
                named(c, args),
            )
        )
        number = session.read(lambda c, _: search.count(c, wanted).total()) if drawn else 0
    if args.json:
        output.document(rows)
    elif drawn:
        output.table(
            ("id", "state", "video", "last"), map(_short, rows), whole=("id", "state", "last")
        )
        if args.limit is None and number > len(rows):
            output.line(f"… {number - len(rows):,} more: --limit N, or pipe it")
    else:
        columns = (*COLUMNS, "lease_until") if args.state == [State.SUBMITTING] else COLUMNS
        output.table(columns, ([row[name] for name in columns] for row in rows))
    return complain_missing(found)


def _short(row: Mapping[str, Any]) -> list[object]:
    """Return a row for a terminal, each cell cut to its share of a width that has room for all."""
    due = f"due {output.text(row['due_at'])}" if row["state"] == State.PENDING else ""
    last = row["error"] or row["job_id"] or due
    if row["job_status"] in {"error", "gone"}:
        last = f"job {row['job_status']}: {row['job_details'] or row['job_id']}"
    if row["state"] == State.SUBMITTING:
        last = f"lease ends {output.text(row['lease_until'])}"
    width = get_terminal_size().columns
    last, room = output.text(last), max(JOB_ID, width // 2)
    name, others = row["title"] or row["media_id"], width - room - BESIDE
    path = row["url"].partition("?")[0]
    if width < NARROWEST:
        return [row["id"], row["state"], name or path, last]
    if not name:  # the end of an address says more than its beginning
        name = path if len(path) <= others else f"…{path[1 - others :]}"
    return [row["id"], row["state"], name, last if len(last) <= room else f"{last[: room - 1]}…"]
