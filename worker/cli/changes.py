"""``retry``, ``cancel``, ``resolve``, ``pause`` and ``resume``: what people change."""

import argparse
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection

from worker import wiring
from worker.cli import exits, output
from worker.cli.asking import ask, filter_of, person
from worker.core.model import State
from worker.db import Database
from worker.settings import Loaded
from worker.store import account, changes, desk

ASK_FROM = 10
"""Changing this many videos or more asks first."""

Changed = tuple[int, dict[str, int]]


def retry(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Make failed and cancelled videos due again; doubts only by --may-buy-twice."""
    wanted, now, who = filter_of(args), wiring.CLOCK.now(), person()
    return _change(
        args,
        loaded,
        desk.retried_states(doubts=args.may_buy_twice),
        lambda c: desk.retry(c, wanted, doubts=args.may_buy_twice, now=now, who=who),
    )


def cancel(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Take pending and failed videos out."""
    wanted, now, who = filter_of(args), wiring.CLOCK.now(), person()
    return _change(
        args, loaded, changes.CANCELLED_STATES, lambda c: changes.cancel(c, wanted, now, who)
    )


def _change(
    args: argparse.Namespace,
    loaded: Loaded,
    accepted: Sequence[State],
    change: Callable[[Connection], int],
) -> int:
    """Change what the filters mean, after asking where it is many; report what was left."""
    verb, wanted = args.function, filter_of(args)
    if not wanted.clauses():
        problem = f"{verb} what? give ids, --state, --error-like or --since"
        return exits.complain([problem], exits.USAGE)

    async def changed(database: Database) -> Changed:
        found = await database.read(lambda c: desk.count(c, wanted))
        number = sum(found[state] for state in accepted)
        done = await database.write(change, f"to {verb}")
        left = {str(state): n for state, n in found.items() if state not in accepted}
        if number > done:
            left["changed meanwhile, or given up in doubt"] = number - done
        return done, left

    def tell(done: Changed) -> int:
        number, left = done
        past = {"retry": "retried", "cancel": "cancelled"}[verb]
        if args.json:
            output.document({past: number, "left": left})
        else:
            output.pairs({past: number, **{f"left, {s}": n for s, n in left.items()}})
        return exits.OK if number else exits.PROBLEMS

    def agree(found: Mapping[str, int]) -> int:
        number = sum(found[state] for state in accepted)
        if number >= ASK_FROM and not args.yes and not output.ask(f"{verb} {number} videos?"):
            return exits.complain(["nothing was changed; --yes does it unasked"], exits.PROBLEMS)
        return ask(loaded, changed, tell)

    return ask(loaded, lambda database: database.read(lambda c: desk.count(c, wanted)), agree)


def resolve(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Settle one doubt by a person's word."""
    now, who = wiring.CLOCK.now(), person()

    def settle(connection: Connection) -> str | None:
        holder = args.job_id and changes.holder_of(connection, args.job_id)
        if holder:
            return f"video {holder} has job {args.job_id} already"
        if changes.resolve(connection, args.id, args.job_id, now, who):
            return None
        found = desk.matching(connection, desk.Filter(ids=(args.id,)), 0, 1)
        state = found[0]["state"] if found else "not there"
        return f"video {args.id} is {state}, not in_doubt: nothing was changed"

    def tell(problem: str | None) -> int:
        if problem:
            return exits.complain([problem], exits.PROBLEMS)
        print(f"{args.id} is {'submitted' if args.job_id else 'failed'}")
        return exits.OK

    return ask(loaded, lambda database: database.write(settle, "to resolve"), tell)


def pause(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Nobody on this database claims any more."""
    now, reason = wiring.CLOCK.now(), args.reason or f"by {person()}"
    return _switch(
        loaded,
        lambda c: account.pause(c, now, reason),
        "paused: what is in flight ends, nothing more is claimed until valossa-ingest resume",
    )


def resume(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """Go on."""
    return _switch(loaded, account.resume, "resumed")


def _switch(loaded: Loaded, change: Callable[[Connection], None], told: str) -> int:
    def tell(_: None) -> int:
        print(told)
        return exits.OK

    return ask(loaded, lambda database: database.write(change, "to pause or resume"), tell)
