"""Enqueue one video: ``add``."""

import argparse
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker import wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_or_make
from worker.core.import_row import COLUMNS, ImportMapping, RejectedError, admit
from worker.store import imports


def add(call: Invocation) -> int:
    """Enqueue one video, print its id."""
    args, margin = call.args, timedelta(seconds=call.settings.url_margin_seconds)
    given = {column: getattr(args, column) for column in COLUMNS}
    try:
        plan = ImportMapping(theirs={}, fixed={}, margin=margin)
        row = admit(given, plan, wiring.CLOCK.now())
    except RejectedError as error:
        return exits.complain([str(error)], exits.USAGE)
    with open_or_make(call.settings) as session:
        video_id, skipped = session.write(lambda c, now: _add(c, args, row, now), "to add a video")
    if args.json:
        output.document({"id": video_id, "skipped": skipped})
    elif video_id is not None:
        output.line(video_id)
    told = [f"not added: {skipped} (--allow-duplicates adds it)"]
    return exits.complain(told, exits.PROBLEMS) if skipped else exits.OK


def _add(
    connection: Connection, args: argparse.Namespace, row: Mapping[str, object], now: datetime
) -> tuple[int | None, str | None]:
    insert = imports.add_all if args.allow_duplicates else imports.add_new
    done = insert(connection, [row], now)
    if done.inserted:
        return imports.newest_id(connection), None
    return None, next(iter(done.skipped))
