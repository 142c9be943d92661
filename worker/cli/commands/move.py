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
        moving = opening.move(loaded.settings, args.source, args.target, person(), _print_wait)
        done = asyncio.run(moving)
    except DatabaseProblem as problem:  # of --from or --to: no setting is its source
        return exits.complain([str(problem)])
    _report(args, done)
    return exits.OK


def _print_wait(reason: str) -> None:
    print(f"valossa-ingest: {exits.one_line(reason)}", file=sys.stderr, flush=True)


def _report(args: argparse.Namespace, done: Moved) -> None:
    """Print the rows of the target, the copied rows, and the setting to change."""
    source, target = opening.shown(args.source), opening.shown(args.target)
    videos, history = done.census.videos, done.census.history
    if args.json:
        counted = {"videos": videos, "history": history, "copied": done.copied}
        output.document({"from": source, "to": target, **counted})
        return
    states = {state.replace("_", " "): number for state, number in videos.items()}
    copied = {f"copied, {table}": number for table, number in done.copied.items()}
    output.pairs({**states, "history": history, **copied})
    print()
    output.paragraph(
        f"the queue is in {target} now: make that the database_url of every worker and of whatever "
        f"adds videos (--database, WORKER_DATABASE_URL, or the settings file); {source} stays as "
        "it is, to be read, and is worked on no more"
    )
