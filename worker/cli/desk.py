"""``status``, ``why``, ``list``, ``export`` and ``show``: what people ask of the queue."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice

from sqlalchemy import Connection, RowMapping

from worker import wiring
from worker.cli import exits, output
from worker.cli.asking import ask, filter_of
from worker.core import pace, request
from worker.core.intake import COLUMNS, TOLD
from worker.core.model import REQUEST_COLUMNS, State, Video
from worker.core.redact import clean
from worker.core.remedy import kind, remedy
from worker.formats import write_csv, write_json_lines
from worker.settings import Loaded, Settings
from worker.store import account, desk

EXPORTED = (*COLUMNS, *TOLD)
"""What ``import`` reads, then what people want to know."""


def status(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """The queue in numbers, and what needs a person."""
    now = wiring.CLOCK.now()

    def look(connection: Connection) -> tuple[desk.Overview, account.Account]:
        return desk.overview(connection, now), account.read(connection)

    def tell(found: tuple[desk.Overview, account.Account]) -> int:
        seen, known = found
        facts = _status(seen, known, loaded.settings, now)
        if args.json:
            names = {name: name.replace(" ", "_").replace("-", "_") for name in facts}
            output.document({names[name]: value for name, value in facts.items()})
            return exits.OK
        output.pairs(facts)
        for line in _needs_a_person(seen):
            print(line)
        return exits.OK

    return ask(loaded, lambda database: database.read(look), tell)


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
    try:
        paced = begins + pending * pace.spacing(rate, settings.period_seconds)
    except OverflowError:  # in no calendar
        return None
    return max(paced, seen.last_due_at or now)


def _needs_a_person(seen: desk.Overview) -> Iterator[str]:
    failed, doubts = seen.states[State.FAILED], seen.states[State.IN_DOUBT]
    if failed:
        yield f"\n{failed} failed: valossa-ingest why says what helps"
    if doubts:
        yield (
            f"\n{doubts} in doubt, perhaps bought: valossa-ingest list --state in_doubt; look them"
            " up in the Valossa Portal, then: resolve ID --job-id X, or resolve ID --give-up, or"
            " retry ID --may-buy-twice"
        )


def list_(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Videos by the shared filters."""
    wanted = filter_of(args)

    def tell(rows: list[RowMapping]) -> int:
        if args.json:
            output.document([dict(row) for row in rows])
        else:
            columns = ("id", "state", "attempts", "due_at", "media_id", "title", "job_id", "error")
            output.table(columns, ([row[name] for name in columns] for row in rows))
        return exits.OK

    def look(connection: Connection) -> list[RowMapping]:
        return list(islice(desk.every(connection, wanted), args.limit))

    return ask(loaded, lambda database: database.read(look), tell)


def export(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Videos by the shared filters, in the columns that ``import`` reads and a few more."""
    wanted = filter_of(args)
    write = write_json_lines if args.json_lines else write_csv

    def look(connection: Connection) -> int:
        write(sys.stdout, EXPORTED, map(dict, desk.every(connection, wanted)))
        return exits.OK

    return ask(loaded, lambda database: database.read(look), lambda code: code)


def why(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """Failures and doubts by reason, with an example and what helps."""
    wanted = desk.Filter(states=(State.FAILED, State.IN_DOUBT))

    def look(connection: Connection) -> list[dict[str, object]]:
        groups: dict[tuple[str, str], dict[str, object]] = {}
        counts: Counter[tuple[str, str]] = Counter()
        for row in desk.every(connection, wanted):
            state, error = State(row["state"]), row["error"] or ""
            group = (state, kind(error))
            counts[group] += 1
            groups.setdefault(
                group,
                {
                    "state": state,
                    "reason": error,
                    "example": row["id"],
                    "what helps": remedy(state, row["http_status"], error),
                },
            )
        return [{"videos": number, **groups[group]} for group, number in counts.most_common()]

    def tell(groups: list[dict[str, object]]) -> int:
        if args.json:
            output.document(groups)
        else:
            columns = ("videos", "state", "reason", "example", "what helps")
            output.table(columns, ([group[name] for name in columns] for group in groups))
        return exits.OK

    return ask(loaded, lambda database: database.read(look), tell)


def show(args: argparse.Namespace, loaded: Loaded, _: Mapping[str, str]) -> int:
    """The story of one video."""

    def look(connection: Connection) -> list[desk.Story]:
        found = desk.find(connection, clean(args.reference))
        return [desk.story(connection, row) for row in found]

    def tell(found: list[desk.Story]) -> int:
        if not found:
            return exits.complain(
                [f"no video has {args.reference!r} as id, media id, request id or job id"],
                exits.PROBLEMS,
            )
        stories = [_story(each, loaded) for each in found]
        if args.json:
            output.document(stories)
            return exits.OK
        for story in stories:
            _print_story(story)
        return exits.OK

    return ask(loaded, lambda database: database.read(look), tell)


def _story(story: desk.Story, loaded: Loaded) -> dict[str, object]:
    row = story.video
    video = Video(**{name: row[name] for name in REQUEST_COLUMNS})
    return {
        "video": dict(row),
        "next": _next(story, loaded.settings, wiring.CLOCK.now()),
        "history": [dict(fact) for fact in story.facts],
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


def _next(story: desk.Story, settings: Settings, now: datetime) -> str:
    """What happens to this video next, and who makes it happen."""
    row = story.video
    number = f"{row['id']} --may-buy-twice" if story.doubted else row["id"]
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
        f"nothing by itself: look for {row['request_id']} or its address in the Valossa Portal; if"
        f" it is there: valossa-ingest resolve {row['id']} --job-id X; if not: valossa-ingest retry"
        f" {row['id']} --may-buy-twice, or resolve {row['id']} --give-up"
    )
