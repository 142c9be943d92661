"""``status``: the queue in numbers, its pace and caps, and what needs a person."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, RowMapping

from worker import wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.core import pace
from worker.core.model import Fact, State
from worker.db.address import File, address_of
from worker.settings import Settings
from worker.settings_sources import Loaded
from worker.store import caps, shared_state, statistics, workers

_REFUSED = {
    Fact.ACCOUNT_REFUSED: "the API refuses the key or the account: put the right key in "
    "VALOSSA_API_KEY or settle it with Valossa, then drain again or restart the daemon",
    Fact.WRONG_ADDRESS: "what answers at api_url is not the API: correct it, look with "
    "valossa-ingest check --online, then drain again or restart the daemon",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """The queue at ``now``. ``rate``: starts per period that a worker may make now;
    ``throttled``: the last 429, None if the pace is not lowered.
    """

    now: datetime
    overview: statistics.Overview
    shared: shared_state.SharedState
    rate: float
    throttled: RowMapping | None
    levels: Sequence[caps.Level]
    workers: int


def status(call: Invocation) -> int:
    """Print the queue in numbers, then a sentence for each thing that needs a person."""
    with open_to_look(call.settings) as session:
        settings, source = session.read(lambda c, now: _paced(c, call.loaded, now))
        seen = session.read(lambda c, now: _look(c, settings, now))
    facts, last = _facts(seen, settings, source), seen.overview.heard
    if call.args.json:
        heard = last and {name: last[name] for name in ("at", "fact", "message")}
        output.document(output.keyed(facts | {"last answer": heard}))
    else:
        output.pairs(facts)
        for sentence in _needs_a_person(seen):
            print()
            output.paragraph(sentence)
    return exits.OK


def _look(connection: Connection, settings: Settings, now: datetime) -> _Seen:
    known = shared_state.read(connection)
    by = pace.moved(now, known.written_at, timedelta(0))
    known = known.moved(by) if by else known
    # A worker counts no time without starts as calm, so neither does the rate.
    brake = pace.resume(known.brake, known.next_start_at, now)
    rate = pace.rate_in_force(settings.rate, brake, now)
    return _Seen(
        now=now,
        overview=statistics.overview(connection, now),
        shared=known,
        rate=rate,
        throttled=statistics.last_throttled(connection) if rate < settings.rate else None,
        levels=[caps.level(connection, cap, now) for cap in wiring.caps(settings)],
        workers=workers.alive(connection, now),
    )


def _paced(connection: Connection, loaded: Loaded, now: datetime) -> tuple[Settings, str]:
    """Return the settings with the rate in force, that of the fastest living worker, and where it
    comes from. A flag asks about another rate.
    """
    settings, flag = loaded.settings, loaded.sources["rate"] == "--rate"
    living = (each.member for each in workers.everyone(connection) if each.is_alive(now))
    first = max(filter(None, living), key=lambda each: each.per_second, default=None)
    if flag or first is None or not (first.per_second and first.rate and first.period_seconds):
        alone = "" if flag else "; no living worker names its own"
        return settings, f"the setting ({loaded.rate_source}){alone}"
    source = f"{first.rate_source} of {first.command} on {first.host}, pid {first.pid}"
    return replace(settings, rate=int(first.rate), period_seconds=first.period_seconds), source


def _facts(seen: _Seen, settings: Settings, source: str) -> dict[str, object]:
    now, known, counted, levels = seen.now, seen.shared, seen.overview, seen.levels
    cooling = "cool_down_until" in known.unreadable or known.cooling(now)
    refused = counted.heard is not None and counted.heard["fact"] in _REFUSED
    left = _left(seen, settings)
    capped = {each.cap.name: {"used": each.used, "allowed": each.cap.most} for each in levels}
    return {
        **{state.replace("_", " "): number for state, number in counted.states.items()},
        "due now": counted.due,
        "due later": counted.states[State.PENDING] - counted.due,
        "oldest due": counted.oldest_due_at,
        "pace": f"{seen.rate:g} per {settings.period_seconds:g} s"
        + (f", lowered from {settings.rate} by the API" if seen.rate < settings.rate else ""),
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
        "all handed in by": None if left is None or known.paused_at or refused else now + left,
        "daemon turned at": _turned_at(settings),
        "workers alive": seen.workers,
        "moved to": known.moved_to,
        "last answer": _heard(counted.heard),
        "today": counted.today or None,
        "accepted today": counted.accepted_today,
        "accepted this month": counted.accepted_this_month,
        "accepted in all": counted.accepted,
        "possibly bought twice": counted.possibly_twice,
    }


def _left(seen: _Seen, settings: Settings) -> timedelta | None:
    """Return the time that the pending videos take at this pace, with backoffs and cool-down. A
    pause is not counted, since its end is not known. None if a cap has no room for all of them.
    """
    now, known, pending = seen.now, seen.shared, seen.overview.states[State.PENDING]
    if not pending or any(level.room < pending for level in seen.levels):
        return None
    begins = max(now, known.next_start_at, known.cool_down_until or now)
    with suppress(OverflowError):  # in no calendar
        paced = begins + pending * pace.spacing(seen.rate, settings.period_seconds)
        return max(paced, seen.overview.last_due_at or now) - now
    return None


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


def _needs_a_person(seen: _Seen) -> Iterator[str]:
    states, heard = seen.overview.states, seen.overview.heard
    for column, moment in seen.shared.unreadable.items():
        yield (
            f"account.{column} = {output.text(moment)!r} is no moment: the next run takes it for"
            " the slowest that it may mean, and writes it anew"
        )
    if states[State.PENDING]:
        yield from (each.told for each in seen.levels if not each.room and not each.submitting)
    if heard is not None and heard["fact"] in _REFUSED:
        yield _REFUSED[heard["fact"]]
    if cooling := seen.shared.cooling(seen.now):
        yield f"{cooling} holds all: valossa-ingest resume --cool-down ends it"
    if failed := states[State.FAILED]:
        yield f"{failed} failed: valossa-ingest why says what helps"
    if doubts := states[State.IN_DOUBT]:
        yield (
            f"{doubts} in doubt, perhaps bought: valossa-ingest reconcile asks the API for them;"
            " what that leaves (valossa-ingest list --state in_doubt), look up in the Valossa"
            " Portal, then: resolve ID --job-id X, or resolve ID --give-up, or retry ID"
            " --may-buy-twice"
        )
