"""``status``: the verdict on the queue, its numbers, and what needs a person."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from sqlalchemy import RowMapping

from worker import wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.core.model import State
from worker.core.verdict import LOOK_UP
from worker.db.address import File, address_of
from worker.settings import Settings
from worker.snapshot import Snapshot, at_rate, take


def status(call: Invocation) -> int:
    """Print the verdict, the queue in numbers, and what needs a person."""
    flag = call.loaded.sources["rate"] == "--rate"
    with open_to_look(call.settings) as session:
        if flag:  # it asks about another rate than the one in force
            seen = session.read(lambda c, now: at_rate(c, call.settings, now, None))
        else:
            seen = session.read(lambda c, now: take(c, call.settings, now))
    alone = "" if flag else "; no living worker names its own"
    source = seen.rate_source or f"the setting ({call.loaded.rate_source}){alone}"
    facts, last = _facts(seen, call.settings, source), seen.overview.heard
    if call.args.json:
        heard = last and {name: last[name] for name in ("at", "fact", "message")}
        output.document(output.keyed(facts | {"last answer": heard}))
    else:
        output.paragraph(seen.verdict.sentence)
        output.pairs(facts)
        for sentence in _needs_a_person(seen):
            print()
            output.paragraph(sentence)
    return exits.OK


def _facts(seen: Snapshot, settings: Settings, source: str) -> dict[str, object]:
    now, known, counted, levels = seen.now, seen.shared, seen.overview, seen.levels
    cooling = "cool_down_until" in known.unreadable or known.cooling(now)
    left, held = seen.left, known.paused_at or seen.facts.refusal
    capped = {each.cap.name: {"used": each.used, "allowed": each.cap.most} for each in levels}
    return {
        **{state.replace("_", " "): number for state, number in counted.states.items()},
        "due now": counted.due,
        "due later": counted.states[State.PENDING] - counted.due,
        "oldest due": counted.oldest_due_at,
        "pace": seen.pace,
        "pace from": source,
        "lowered at": seen.throttled and seen.throttled["at"],
        "lowered reason": seen.throttled and seen.throttled["message"],
        "paused since": known.paused_at,
        "pause reason": known.pause_reason,
        "cool-down until": known.cool_down_until if cooling else None,
        "cool-down reason": known.cool_down_reason if cooling else None,
        "max per day": capped.get("max_per_day"),
        "max per day opens": next((each.opens_at for each in levels if each.opens_at), None),
        "max total": capped.get("max_total"),
        "time left": left,
        "all handed in by": None if left is None or held else now + left,
        "daemon turned at": _turned_at(settings),
        "workers alive": seen.facts.alive,
        "moved to": known.moved_to,
        "last answer": _heard(counted.heard),
        "today": counted.today or None,
        "accepted today": counted.accepted_today,
        "accepted this month": counted.accepted_this_month,
        "accepted in all": counted.accepted,
        "possibly bought twice": counted.possibly_twice,
    }


def _turned_at(settings: Settings) -> datetime | None:
    """Return the last turn of a daemon's loop on this database, to within some seconds."""
    address = address_of(settings.database_url)
    with suppress(OSError):
        if isinstance(address, File):
            turned = wiring.heartbeat_of(address.path).stat().st_mtime
            return datetime.fromtimestamp(turned, UTC)
    return None


def _heard(last: RowMapping | None) -> str | None:
    if last is None:
        return None
    sentence = f"{output.text(last['at'])} {last['fact']}"
    return f"{sentence}: {last['message']}" if last["message"] else sentence


def _needs_a_person(seen: Snapshot) -> Iterator[str]:
    for column, moment in seen.shared.unreadable.items():
        yield (
            f"account.{column} = {output.text(moment)!r} is no moment: the next run takes it for"
            " the slowest that it may mean, and writes it anew"
        )
    if seen.overview.states[State.PENDING]:
        yield from (each.told for each in seen.levels if not each.room and not each.submitting)
    if cooling := seen.shared.cooling(seen.now):
        yield f"{cooling} holds all: valossa-ingest resume --cool-down ends it"
    yield from seen.verdict.needs
    if doubts := seen.overview.states[State.IN_DOUBT] - seen.facts.for_person:
        yield f"{doubts} in doubt, perhaps bought: {LOOK_UP}"
