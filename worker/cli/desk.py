"""``status``, ``list``, ``show`` and ``retry``: what people ask of the queue and change in it."""

import argparse
import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, RowMapping

from worker import log, wiring
from worker.cli import exits, output
from worker.core import pace, request
from worker.core.model import REQUEST_COLUMNS, State, Video
from worker.db import Database, DatabaseProblem
from worker.settings import Loaded, Settings
from worker.store import account, desk

ASK_FROM = 10
"""Changing this many videos or more asks first."""

PAGE = 1_000

T = TypeVar("T")


def status(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """The queue in numbers, and what needs a person."""
    now = wiring.CLOCK.now()

    def look(connection: Connection) -> tuple[desk.Overview, account.Account]:
        return desk.overview(connection, now), account.read(connection)

    def tell(found: tuple[desk.Overview, account.Account]) -> int:
        seen, known = found
        facts = _status(seen, known, loaded.settings, now)
        if args.json:
            output.document(facts)
            return exits.OK
        output.pairs(facts)
        for line in _needs_a_person(seen):
            print(line)
        return exits.OK

    return _ask(loaded, lambda database: database.read(look), tell)


def _status(
    seen: desk.Overview, known: account.Account, settings: Settings, now: datetime
) -> dict[str, object]:
    rate = pace.rate_in_force(settings.rate, known.brake, now)
    cooling = known.cool_down_until is not None and known.cool_down_until > now
    return {
        **{state.replace("_", " "): number for state, number in seen.states.items()},
        "due now": seen.due,
        "oldest due": seen.oldest_due_at,
        "pace": f"{rate:g} per {settings.period_seconds:g} s"
        + (f", lowered from {settings.rate} by the API" if rate < settings.rate else ""),
        "paused since": known.paused_at,
        "pause reason": known.pause_reason,
        "cool-down until": known.cool_down_until if cooling else None,
        "cool-down reason": known.cool_down_reason if cooling else None,
        "all handed in by": _eta(seen, known, settings, now),
        "accepted today": seen.accepted_today,
        "accepted this month": seen.accepted_this_month,
        "accepted in all": seen.accepted,
        "possibly bought twice": seen.possibly_twice,
    }


def _eta(
    seen: desk.Overview, known: account.Account, settings: Settings, now: datetime
) -> datetime | None:
    """When the pending ones will be handed in at this pace, backoffs and cool-down counted."""
    pending = seen.states[State.PENDING]
    if not pending or known.paused_at is not None:
        return None
    rate = pace.rate_in_force(settings.rate, known.brake, now)
    begins = max(now, known.next_start_at, known.cool_down_until or now)
    paced = begins + pending * pace.spacing(rate, settings.period_seconds)
    return max(paced, seen.last_due_at or now)


def _needs_a_person(seen: desk.Overview) -> Iterator[str]:
    failed, doubts = seen.states[State.FAILED], seen.states[State.IN_DOUBT]
    if failed:
        yield f"\n{failed} failed: valossa-ingest list --state failed, then retry what was mended"
    if doubts:
        yield (
            f"\n{doubts} in doubt (perhaps bought): valossa-ingest list --state in_doubt; look each"
            " up in the Valossa Portal; what is not there: retry ID --may-buy-twice"
        )


def list_(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Videos by the shared filters."""
    wanted = _filter(args)

    def pages(connection: Connection) -> list[RowMapping]:
        rows: list[RowMapping] = []
        while len(rows) < (args.limit or len(rows) + 1):
            size = min(PAGE, args.limit - len(rows)) if args.limit else PAGE
            after = rows[-1]["id"] if rows else 0
            page = desk.matching(connection, wanted, after, size)
            rows += page
            if len(page) < size:
                break
        return rows

    def tell(rows: list[RowMapping]) -> int:
        if args.json:
            output.document([dict(row) for row in rows])
        else:
            columns = ("id", "state", "attempts", "due_at", "media_id", "title", "job_id", "error")
            output.table(columns, ([row[name] for name in columns] for row in rows))
        return exits.OK

    return _ask(loaded, lambda database: database.read(pages), tell)


def show(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """The story of one video."""

    def look(connection: Connection) -> list[tuple[RowMapping, list[RowMapping]]]:
        return [
            (row, desk.story(connection, row["id"]))
            for row in desk.find(connection, args.reference)
        ]

    def tell(found: list[tuple[RowMapping, list[RowMapping]]]) -> int:
        if not found:
            return exits.complain(
                [f"no video has {args.reference!r} as id, media id, request id or job id"],
                exits.PROBLEMS,
            )
        stories = [_story(row, facts, loaded) for row, facts in found]
        if args.json:
            output.document(stories)
            return exits.OK
        for story in stories:
            _print_story(story)
        return exits.OK

    return _ask(loaded, lambda database: database.read(look), tell)


def _story(row: RowMapping, facts: list[RowMapping], loaded: Loaded) -> dict[str, object]:
    video = Video(**{name: row[name] for name in REQUEST_COLUMNS})
    return {
        "video": dict(row),
        "next": _next(row, loaded.settings, wiring.CLOCK.now()),
        "history": [dict(fact) for fact in facts],
        "request": request.body(
            video,
            row["request_id"] if row["claims"] else row["media_id"] or row["request_id"],
            wiring.defaults(loaded.settings),
        ),
    }


def _print_story(story: Mapping[str, object]) -> None:
    video, facts = story["video"], story["history"]
    assert isinstance(video, dict)  # noqa: S101 - made so above
    assert isinstance(facts, list)  # noqa: S101
    output.pairs({name: value for name, value in video.items() if value is not None})
    print(f"\nnext: {story['next']}\n")
    columns = ("at", "attempt", "fact", "http_status", "job_id", "message", "who")
    output.table(columns, ([fact[name] for name in columns] for fact in facts))
    print("\nthe request, without the key:")
    print(json.dumps(story["request"], ensure_ascii=True, indent=2))


def _next(row: RowMapping, settings: Settings, now: datetime) -> str:
    """What happens to this video next, and who makes it happen."""
    number = row["id"]
    match State(row["state"]):
        case State.PENDING:
            fault = request.problem(
                Video(**{name: row[name] for name in REQUEST_COLUMNS}),
                now,
                timedelta(seconds=settings.url_margin_seconds),
            )
            if fault:
                return f"it will be refused without a request: {fault}"
            due = row["due_at"]
            return "it is due" if due <= now else f"it is due at {output.text(due)} UTC"
        case State.SUBMITTING:
            return (
                f"worker {row['claimed_by']} is sending it; if that one has died, it is in doubt "
                f"from {output.text(row['lease_until'])} UTC on"
            )
        case State.SUBMITTED:
            return "nothing: the API has it"
        case State.FAILED:
            return f"nothing by itself; mend the cause, then: valossa-ingest retry {number}"
        case State.IN_DOUBT:
            return _next_of_doubt(row, settings)
        case State.CANCELLED:
            return f"nothing by itself; valossa-ingest retry {number} takes it up again"


def _next_of_doubt(row: RowMapping, settings: Settings) -> str:
    if settings.on_doubt == "retry" and row["attempts"] < settings.max_attempts:
        return f"it is sent again after {settings.doubt_settle_seconds:g} s (on_doubt = retry)"
    return (
        f"nothing by itself: look for {row['request_id']} or its address in the Valossa Portal; "
        f"if it is not there: valossa-ingest retry {row['id']} --may-buy-twice"
    )


def retry(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Make failed and cancelled videos due again; doubts only by --may-buy-twice."""
    wanted = _filter(args)
    if not wanted.clauses():
        return exits.complain(
            ["retry what? give ids, --state, --error-like or --since"], exits.USAGE
        )
    log.configure(loaded.settings.log_level, loaded.settings.log_format)

    async def change(database: Database) -> tuple[int, dict[str, int]] | None:
        found = await database.read(lambda c: desk.count(c, wanted))
        accepted = desk.retried_states(doubts=args.may_buy_twice)
        number = sum(found[state] for state in accepted)
        if number >= ASK_FROM and not args.yes and not output.ask(f"retry {number} videos?"):
            return None
        now, who = wiring.CLOCK.now(), f"person:{getpass.getuser()}"
        changed = await database.write(
            lambda c: desk.retry(c, wanted, doubts=args.may_buy_twice, now=now, who=who), "to retry"
        )
        left = {str(state): n for state, n in found.items() if state not in accepted}
        return changed, left

    def tell(done: tuple[int, dict[str, int]] | None) -> int:
        if done is None:
            return exits.complain(["nothing was changed; --yes does it unasked"], exits.PROBLEMS)
        changed, left = done
        if args.json:
            output.document({"retried": changed, "left": left})
        else:
            output.pairs({"retried": changed, **{f"left, {s}": n for s, n in left.items()}})
        return exits.OK if changed else exits.PROBLEMS

    return _ask(loaded, change, tell)


def _ask(
    loaded: Loaded,
    question: Callable[[Database], Awaitable[T]],
    tell: Callable[[T], int],
) -> int:
    """Ask the database one thing, then tell the answer."""

    async def asked() -> T:
        async with wiring.existing_database(loaded.settings) as database:
            return await question(database)

    try:
        answer = asyncio.run(asked())
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    return tell(answer)


def _filter(args: argparse.Namespace) -> desk.Filter:
    return desk.Filter(
        states=tuple(State(state) for state in args.state),
        error_like=args.error_like,
        since=args.since,
        ids=tuple(args.ids),
    )
