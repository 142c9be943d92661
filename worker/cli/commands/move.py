"""``move``: the queue and its history to another database."""

import asyncio

from worker import opening
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import person


def move(call: Invocation) -> int:
    """Move, or go on with a move that was broken off."""
    old, new = call.args.source, call.args.target
    done = asyncio.run(opening.move(call.settings, old, new, person(), _print_wait))
    source, target = opening.shown(old), opening.shown(new)
    videos, history = done.census.videos, done.census.history
    if call.args.json:
        counted = {"videos": videos, "history": history, "copied": done.copied}
        output.document({"from": source, "to": target, **counted})
        return exits.OK
    states = {state.replace("_", " "): number for state, number in videos.items()}
    copied = {f"copied, {table}": number for table, number in done.copied.items()}
    output.pairs({**states, "history": history, **copied})
    print()
    output.paragraph(
        f"the queue is in {target} now: make that the database_url of every worker and of whatever "
        f"adds videos (--database, WORKER_DATABASE_URL, or the settings file); {source} stays as "
        "it is, to be read, and is worked on no more"
    )
    return exits.OK


def _print_wait(reason: str) -> None:
    exits.complain([reason])
