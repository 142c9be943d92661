"""``move``: the queue and its history to another database."""

import argparse
import asyncio
import sys
from collections.abc import Mapping

from worker import log, opening
from worker.cli import exits, output
from worker.cli.session import person
from worker.db.database import DatabaseProblem
from worker.relocate import Moved
from worker.settings_sources import Loaded


def move(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Move, or go on with a move that was broken off."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    try:
        moving = opening.move(loaded.settings, args.source, args.target, person(), _say)
        done = asyncio.run(moving)
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    _tell(args, done)
    return exits.OK


def _say(told: str) -> None:
    """What there is to wait for, beside the result."""
    print(f"valossa-ingest: {exits.one_line(told)}", file=sys.stderr, flush=True)


def _tell(args: argparse.Namespace, done: Moved) -> None:
    """What is there now, what was copied, and what to change."""
    source, target = opening.shown(args.source), opening.shown(args.target)
    counted = {"videos": done.census.videos, "history": done.census.history}
    if args.json:
        output.document({"from": source, "to": target, **counted, "copied": done.copied})
        return
    states = {state.replace("_", " "): number for state, number in done.census.videos.items()}
    copied = {f"copied, {table}": number for table, number in done.copied.items()}
    output.pairs({**states, "history": done.census.history, **copied})
    print()
    output.paragraph(
        f"the queue is in {target} now: make that the database_url of every worker and of whatever "
        f"adds videos (--database, WORKER_DATABASE_URL, or the settings file); {source} stays as "
        "it is, to be read, and is worked on no more"
    )
