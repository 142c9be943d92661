"""``retry``, ``cancel``, ``resolve``, ``pause`` and ``resume``: what people change."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from worker import opening
from worker.cli import exits, output
from worker.cli.session import ask, change, doubtful, filter_of, nobody, person
from worker.core.model import State
from worker.core.redact import clean
from worker.db.database import Database
from worker.settings_sources import Loaded
from worker.store import changes, search, shared_state, statistics

ASK_FROM = 10
"""Changing this many videos or more asks first."""

MOVED_ON = "changed meanwhile, or given up in doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What filters mean before anything is changed: how many videos in each state, which
    references no video has, which are an id and another name at once.
    """

    found: Mapping[str, int]
    missing: Sequence[str]
    ambiguous: Mapping[str, Sequence[int]]


Changed = tuple[int, dict[str, int]]


def retry(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Make failed and cancelled videos due again; doubts only by --may-buy-twice."""
    wanted, who = filter_of(args), person()
    return _change(
        args,
        loaded,
        changes.retried_states(doubts=args.may_buy_twice),
        lambda c, now: changes.retry(c, wanted, doubts=args.may_buy_twice, now=now, who=who),
    )


def cancel(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Take pending and failed videos out."""
    wanted, who = filter_of(args), person()
    return _change(
        args, loaded, changes.CANCELLED_STATES, lambda c, now: changes.cancel(c, wanted, now, who)
    )


def _change(
    args: argparse.Namespace,
    loaded: Loaded,
    accepted: Sequence[State],
    work: Callable[[Connection, datetime], int],
) -> int:
    """Change what the filters mean, after asking where it is many; report what was left."""
    verb, wanted = args.function, filter_of(args)
    if not wanted.clauses():
        problem = f"{verb} what? give ids, --state, --error-like, --since or --until"
        return exits.complain([problem], exits.USAGE)

    async def changed(database: Database) -> Changed:
        found = await database.read(lambda c: search.count(c, wanted))
        number = sum(found[state] for state in accepted)
        done = await opening.change(database, work, f"to {verb}")
        left = {str(state): n for state, n in found.items() if state not in accepted}
        if number > done:
            left[MOVED_ON] = number - done
        return done, left

    def agree(seen: _Seen) -> int:
        if seen.ambiguous:
            return exits.complain(doubtful(seen.ambiguous), exits.PROBLEMS)
        exits.complain(nobody(seen.missing))
        number, meant = _meant(verb, seen.found, accepted)
        if number >= ASK_FROM and not args.yes and not output.ask(f"{meant}?"):
            why = f"nothing was changed; --yes does it unasked: {meant}"
            return exits.complain([why], exits.PROBLEMS)
        return ask(loaded, changed, lambda done: _tell(args, done))

    def look(connection: Connection) -> _Seen:
        named = search.named(connection, map(clean, args.references))
        return _Seen(
            found=search.count(connection, wanted),
            missing=[each for each, ids in named.items() if not ids],
            ambiguous={each: ids for each, ids in named.items() if search.is_ambiguous(each, ids)},
        )

    return ask(loaded, lambda database: database.read(look), agree)


def _meant(verb: str, found: Mapping[str, int], accepted: Sequence[State]) -> tuple[int, str]:
    """How many videos a command would change, and what to say of it beforehand."""
    number = sum(found.get(state, 0) for state in accepted)
    doubts = found.get(State.IN_DOUBT, 0) if State.IN_DOUBT in accepted else 0
    cost = f", {doubts} of them in doubt, perhaps bought already" if doubts else ""
    return number, f"{verb} {number} videos{cost}"


def _tell(args: argparse.Namespace, done: Changed) -> int:
    """What was changed, and what was left as it is."""
    number, left = done
    past = {"retry": "retried", "cancel": "cancelled"}[args.function]
    if args.json:
        output.document({past: number, "left": left})
    else:
        output.pairs({past: number, **{f"left, {s}": n for s, n in left.items()}})
    if args.function == "retry" and {State.IN_DOUBT, MOVED_ON} & {*left}:
        exits.complain(["doubts are retried only with --may-buy-twice: it may cost twice"])
    return exits.OK if number else exits.PROBLEMS


def resolve(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Settle one doubt by a person's word."""
    who = person()

    def settle(connection: Connection, now: datetime) -> tuple[str, bool]:
        holder = args.job_id is not None and changes.holder_of(connection, args.job_id)
        if holder:
            return f"video {holder} has job {args.job_id} already", False
        named = search.find(connection, clean(args.reference))
        if len(named) != 1:
            ids = " or ".join(f"{search.ONLY_ID}{row['id']}" for row in named)
            problem = f"{args.reference!r} names {len(named)} videos: say which, {ids}"
            return problem if named else nobody([args.reference])[0], False
        number, state = named[0]["id"], named[0]["state"]
        if not changes.resolve(connection, number, args.job_id, now, who):
            return f"video {number} is {state}, not in_doubt: nothing was changed", False
        return f"{number} is {'failed' if args.give_up else 'submitted'}", True

    def tell(done: tuple[str, bool]) -> int:
        sentence, settled = done
        if not settled:
            return exits.complain([sentence], exits.PROBLEMS)
        print(sentence)
        return exits.OK

    return change(loaded, settle, "to resolve", tell)


def pause(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Nobody on this database claims any more."""

    def stop(connection: Connection, now: datetime) -> str:
        before = shared_state.read(connection).pause_reason
        shared_state.pause(connection, now, args.reason or before or f"by {person()}")
        found = statistics.by_state(connection)
        return (
            f"paused: {found[State.SUBMITTING]} in flight may end, {found[State.PENDING]} wait; "
            "nothing more is claimed until valossa-ingest resume"
        )

    return _switch(loaded, stop)


def resume(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """Go on."""

    def go_on(connection: Connection, _: datetime) -> str:
        paused = shared_state.read(connection).paused_at
        shared_state.resume(connection)
        since = f"resumed; it was paused since {output.text(paused)} UTC"
        return since if paused else "it was not paused"

    return _switch(loaded, go_on)


def _switch(loaded: Loaded, work: Callable[[Connection, datetime], str]) -> int:
    def tell(done: str) -> int:
        print(done)
        return exits.OK

    return change(loaded, work, "to pause or resume", tell)
