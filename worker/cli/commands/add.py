"""Enqueue one video: ``add``."""

import argparse
import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker import log, opening, wiring
from worker.cli import exits, output
from worker.core.import_row import COLUMNS, ImportMapping, RejectedError, admit
from worker.settings_sources import Loaded
from worker.store import imports


def add(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Enqueue one video, print its id."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    given = {column: getattr(args, column) for column in COLUMNS}
    plan = ImportMapping(
        theirs={}, fixed={}, margin=timedelta(seconds=loaded.settings.url_margin_seconds)
    )
    try:
        row = admit(given, plan, wiring.CLOCK.now())
        video_id, skipped = asyncio.run(_add(loaded, row, allow=args.allow_duplicates))
    except RejectedError as error:
        return exits.complain([str(error)], exits.USAGE)
    if args.json:
        output.document({"id": video_id, "skipped": skipped})
    elif video_id is not None:
        print(video_id)
    if skipped:
        return exits.complain(
            [f"not added: {skipped} (--allow-duplicates adds it)"], exits.PROBLEMS
        )
    return exits.OK


async def _add(
    loaded: Loaded, row: Mapping[str, object], *, allow: bool
) -> tuple[int | None, str | None]:
    """Return the new video's id, or why it was skipped."""

    def put(connection: Connection, now: datetime) -> tuple[int | None, str | None]:
        done = (imports.add_all if allow else imports.add_new)(connection, [row], now)
        if not done.inserted:
            return None, next(iter(done.skipped))
        return imports.newest_id(connection), None

    async with opening.made_database(loaded.settings) as database:
        return await opening.change(database, put, "to add a video")
