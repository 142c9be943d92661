"""Enqueue one video: ``add``."""

import argparse
import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection

from worker import log, opening, wiring
from worker.cli import exits, output
from worker.cli.session import person
from worker.core.import_row import COLUMNS, ImportMapping, RejectedError, admit, notes
from worker.settings_sources import Loaded
from worker.store import imports
from worker.store.holders import SAME_JOB_ID


def add(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Enqueue one video, print its id."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    given = {column: getattr(args, column) for column in COLUMNS}
    plan = ImportMapping(
        theirs={"job_id": "job_id"},
        fixed={},
        margin=timedelta(seconds=loaded.settings.url_margin_seconds),
    )
    try:
        row = admit(given, plan, wiring.CLOCK.now())
        added = asyncio.run(_add(loaded, row, allow_duplicates=args.allow_duplicates))
    except RejectedError as error:
        return exits.complain([str(error)], exits.USAGE)
    if args.json:
        output.document(added)
    elif added["id"] is not None:
        print(added["id"])
    said = [f"{note} of the value given" for note in notes(given, plan, row)]
    if added["skipped"]:
        way = "" if added["skipped"] == SAME_JOB_ID else " (--allow-duplicates adds it)"
        said.append(f"not added: {added['skipped']}{way}")
    elif not args.json:
        again = "it was cancelled, and is pending again" if added["brought_back"] else "added"
        said.append(f"{again} in {added['database']}")
    return exits.complain(said, exits.PROBLEMS if added["skipped"] else exits.OK)


async def _add(
    loaded: Loaded, row: Mapping[str, object], *, allow_duplicates: bool
) -> Mapping[str, object]:
    """Return the video's id or why it was skipped, and the database, under the keys of the JSON."""

    def put(connection: Connection, now: datetime) -> Mapping[str, object]:
        options = imports.options(connection, person(), allow_duplicates=allow_duplicates)
        done = imports.add(connection, [row], now, options)
        reasons = [*done.skipped, *(reason for _, _, reason in done.passed)]
        ids = [*done.brought_back, imports.newest_id(connection)]
        return {
            "id": None if reasons else ids[0],
            "skipped": next(iter(reasons), None),
            "brought_back": bool(done.brought_back),
        }

    async with opening.made_database(loaded.settings) as database:
        added = await opening.change(database, put, "to add a video")
        return {**added, "database": await opening.place_of(database)}
