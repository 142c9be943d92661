"""Enqueue one video: ``add``."""

import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from worker import wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_or_make, person
from worker.core.import_row import COLUMNS, ImportMapping, RejectedError, admit, notes
from worker.db.database import place_of
from worker.files.typed import PathError, Place
from worker.store import imports
from worker.store.holders import REASONS


def add(call: Invocation) -> int:
    """Enqueue one video, print its id."""
    args, margin = call.args, timedelta(seconds=call.settings.url_margin_seconds)
    given = {column: getattr(args, column) for column in COLUMNS}
    place = Place(Path.cwd(), call.settings.roots)
    plan = ImportMapping(
        theirs={"job_id": "job_id"}, fixed={}, margin=margin, takes_wasted=args.allow_wasted
    )
    try:
        given["url"] = place.address(args.url)
        row = admit(given, plan, wiring.CLOCK.now())
    except (RejectedError, PathError) as error:
        return exits.complain([str(error)], exits.USAGE)
    allowed = args.allow_duplicates
    with open_or_make(call.settings) as session:
        added = session.write(lambda c, now: _add(c, row, now, allowed=allowed), "to add a video")
        queue = session.read(lambda c, _: place_of(c, session.database.address))
    told = list(notes(given, plan, row))
    if added["skipped"]:
        way = "" if added["skipped"] == REASONS["job_id"] else " (--allow-duplicates adds it)"
        told.append(f"not added: {added['skipped']}{way}")
    elif not args.json:
        output.line(added["id"])
        again = "it was cancelled, and is pending again" if added["brought_back"] else "added"
        output.paragraph(f"{again} in {queue}", file=sys.stderr)
    if args.json:
        output.document({**added, "database": queue})
    return exits.complain(told, exits.PROBLEMS if added["skipped"] else exits.OK)


def _add(
    connection: Connection, row: Mapping[str, object], now: datetime, *, allowed: bool
) -> Mapping[str, object]:
    """Return the video's id, or why there is none, under the keys of the JSON."""
    options = imports.options(connection, person(), now, allow_duplicates=allowed)
    done = imports.add(connection, [row], now, options)
    reasons = [*done.skipped, *(reason for _, _, reason in done.passed)]
    ids = [None] if reasons else [*done.brought_back, imports.newest_id(connection)]
    again = bool(done.brought_back)
    return {"id": ids[0], "skipped": next(iter(reasons), None), "brought_back": again}
