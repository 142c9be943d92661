"""``status``: the verdict on the queue, its numbers, and what needs a person."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import RowMapping

from worker import wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import Session, open_to_look
from worker.core.host import HeldHost
from worker.core.model import State
from worker.core.verdict import END_COOL_DOWN, LOOK_UP
from worker.db.address import File, address_of
from worker.settings import Settings
from worker.settings_sources import Loaded
from worker.snapshot import Snapshot, at_rate, take
from worker.store import hosts, statistics

BATCHES_SHOWN = HOSTS_SHOWN = 3


def status(call: Invocation) -> int:
    """Print the verdict, the queue in numbers, and what needs a person; or go on doing so."""
    if call.args.html and call.args.json:
        return exits.complain(["--html prints nothing: leave --json out"], exits.USAGE)
    with open_to_look(call.settings) as session:
        if call.args.html:
            return _write(call, session)
        while call.args.watch:
            with output.anew():
                _status(call, session)
            time.sleep(2.0)
        return _status(call, session)


def _status(call: Invocation, session: Session) -> int:
    if call.loaded.sources["rate"] == "--rate":  # not the one in force
        seen = session.read(lambda c, now: at_rate(c, call.settings, now, None))
    else:
        seen = session.read(lambda c, now: take(c, call.settings, now))
    counted = session.read(lambda c, _: statistics.by_batch(c))
    batches = dict(islice(counted.items(), BATCHES_SHOWN))
    held = session.read(lambda c, _: hosts.held(c)) if seen.shared.held_hosts else ()
    facts = _facts(seen, call.loaded)
    if call.args.json:
        output.document(output.keyed(facts | {"batches": batches}))
    else:
        named = "; ".join(f"{name}: {output.text(found)}" for name, found in batches.items())
        told = {
            "batches": named,
            "jobs": _jobs(seen, call.settings),
            "held hosts": _held_hosts(held),
            "to upload": seen.transfer.sentence,
        }
        lines = _lines(facts | told, seen.overview.heard)
        _print(seen, {} if call.args.check else lines)
    code = _write_metrics(call, session, seen) if call.args.metrics_file else exits.OK
    return code or (exits.of_verdict(seen.verdict.state) if call.args.check else exits.OK)


def _write(call: Invocation, session: Session) -> int:
    """Write the first screen of the page to a file, which is replaced at once."""
    from worker.web import pages  # noqa: PLC0415 - jinja2 is slow to load, and for the page alone

    path, queue = call.args.html, str(session.database.address)
    page = session.read(lambda c, now: pages.file(c, call.loaded, queue, now))
    code = exits.OK
    if call.args.metrics_file:
        seen = session.read(lambda c, now: take(c, call.settings, now))
        code = _write_metrics(call, session, seen)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        problem = f"{path} cannot be written: {error.strerror}: name another --html"
        return exits.complain([problem])
    return code


def _write_metrics(call: Invocation, session: Session, seen: Snapshot) -> int:
    """Write the metrics to their file, which is replaced at once. Return the code to exit with."""
    from worker.web.metrics import Metrics  # noqa: PLC0415 - prometheus-client is slow to load

    file = call.args.metrics_file
    try:
        Metrics(str(session.database.address)).write(file, seen)
    except OSError as error:
        problem = f"{file} cannot be written: {error.strerror}: name another --metrics-file"
        return exits.complain([problem])
    return exits.OK


def _print(seen: Snapshot, lines: Mapping[str, object]) -> None:
    """Print the verdict, the lines that have a value, and the ways out."""
    verdict, notes = seen.verdict, list(_notes(seen)) if lines else []
    output.paragraph(verdict.sentence)
    output.pairs(lines)
    ways_out = [each for each in verdict.ways_out if not any(each in n for n in notes)]
    for sentence in (*ways_out, *notes):
        print()
        output.paragraph(sentence)


def _facts(seen: Snapshot, loaded: Loaded) -> dict[str, object]:
    """Return all that there is for programs."""
    known, counted, last = seen.shared, seen.overview, seen.overview.heard
    capped = {
        each.cap.name: {"used": each.used, "allowed": each.cap.most, "room": each.room}
        for each in seen.levels
    }
    unended = seen.left is None or known.paused_at or seen.facts.refusal
    return {
        "verdict": asdict(seen.verdict),
        **{state.replace("_", " "): number for state, number in counted.states.items()},
        "due now": counted.due,
        "due later": counted.states[State.PENDING] - counted.due,
        "oldest due": counted.oldest_due_at,
        **_pace(seen, loaded),
        "max per day": capped.get("max_per_day"),
        "max per day opens": next((each.opens_at for each in seen.levels if each.opens_at), None),
        "max total": capped.get("max_total"),
        "time left": seen.left,
        "all handed in by": None if unended or seen.left is None else seen.now + seen.left,
        "daemon turned at": _turned_at(loaded.settings),
        "to upload": asdict(seen.transfer) if seen.transfer.files else None,
        "workers alive": seen.facts.alive,
        "moved to": known.moved_to,
        "jobs": asdict(seen.jobs) if seen.jobs.open or any(seen.jobs.ended.values()) else None,
        "held hosts": [asdict(each) for each in seen.facts.hosts] or None,
        "last answer": last and {name: last[name] for name in ("at", "fact", "message")},
        "today": counted.today or None,
        **{f"accepted {when}": number for when, number in _bought(seen).items()},
        "perhaps bought": counted.states[State.IN_DOUBT],
        "possibly bought twice": counted.possibly_twice,
        "money": _money(seen, loaded.settings),
    }


def _pace(seen: Snapshot, loaded: Loaded) -> dict[str, object]:
    """Return the pace in force, and what lowers it or stops it."""
    known = seen.shared
    cools = "cool_down_until" in known.unreadable or known.cooling(seen.now)
    return {
        "pace": seen.facts.pace,
        "pace from": _pace_from(seen, loaded),
        "lowered at": seen.throttled and seen.throttled["at"],
        "lowered reason": seen.throttled and seen.throttled["message"],
        "paused since": known.paused_at,
        "pause reason": known.pause_reason,
        "cool-down until": known.cool_down_until if cools else None,
        "cool-down reason": known.cool_down_reason if cools else None,
    }


def _lines(facts: Mapping[str, object], heard: RowMapping | None) -> dict[str, object]:
    """Return at most twenty lines for a person, none without a value. A fact may stand in the line
    of another.
    """
    lines = {name: [output.text(facts[name])] for name in facts if name not in _BESIDE}
    for name, (line, words) in _BESIDE.items():
        if facts[name]:
            lines[line].append(words.format(output.text(facts[name])))
    if heard is not None:
        said = f": {heard['message']}" if heard["message"] else ""
        lines["last answer"] = [f"{output.text(heard['at'])} {heard['fact']}{said}"]
    del lines["verdict"]
    return {name: ", ".join(parts) for name, parts in lines.items() if facts[name] or parts[1:]}


_BESIDE = {
    "batches": ("pending", "the newest batches: {}"),
    "oldest due": ("due now", "the oldest since {}"),
    "due later": ("due now", "{} later"),
    "pace from": ("pace", "by {}"),
    "lowered at": ("pace", "since {}"),
    "lowered reason": ("pace", "{}"),
    "pause reason": ("paused since", "{}"),
    "cool-down reason": ("cool-down until", "{}"),
    "max per day opens": ("max per day", "opens {}"),
    "all handed in by": ("time left", "all handed in by {}"),
    "daemon turned at": ("workers alive", "a daemon turned at {}"),
    "accepted this month": ("accepted today", "{} this month"),
    "accepted in all": ("accepted today", "{} in all"),
    "perhaps bought": ("accepted today", "perhaps {} more"),
    "possibly bought twice": ("accepted today", "possibly {} of them twice"),
    "money": ("accepted today", "in money {}"),
}
"""Facts that a person reads in the line of another, with their words there."""


def _money(seen: Snapshot, settings: Settings) -> dict[str, object] | None:
    """Return what was bought and perhaps bought in money; None without a price."""
    if settings.price_per_video is None:
        return None
    numbers = {**_bought(seen), "perhaps": seen.overview.states[State.IN_DOUBT]}
    price, currency = settings.price_per_video, settings.currency
    return output.keyed({when: f"{n * price:.2f} {currency}" for when, n in numbers.items()})


def _bought(seen: Snapshot) -> dict[str, int]:
    counted = seen.overview
    numbers = (counted.accepted_today, counted.accepted_this_month, counted.accepted)
    return dict(zip(("today", "this month", "in all"), numbers, strict=True))


def _jobs(seen: Snapshot, settings: Settings) -> str:
    """Return the jobs of this queue and their results in numbers, for people."""
    known, cost = seen.jobs, "money"
    failed, price = known.ended["error"], settings.price_per_video
    if price is not None:
        cost = f"{failed * price:.2f} {settings.currency}"
    ended = {**known.ended, f"in error ({cost} spent for nothing)": failed, "error": 0}
    ended["in error, the reason not asked for yet"] = known.open.get("error", 0)  # by a list
    going = {status: number for status, number in known.open.items() if status != "error"}
    parts = [f"{number:,} {status.replace('_', ' ')}" for status, number in going.items()]
    told = {
        "in progress": ", ".join(parts)
        + (f" ({known.overdue:,} overdue)" if known.overdue else ""),
        "ended": ", ".join(f"{number:,} {end}" for end, number in ended.items() if number),
        "results": ", ".join(f"{n:,} {state}" for state, n in known.results.items() if n),
        "results wait": known.results_wait,
    }
    return "; ".join(f"{name}: {words}" for name, words in told.items() if words)


def _held_hosts(held: Sequence[HeldHost]) -> str:
    """Name held hosts with the videos that claims have postponed so far."""
    named = (f"{each.host} ({each.videos:,} videos so far)" for each in held[:HOSTS_SHOWN])
    more = f", and {len(held) - HOSTS_SHOWN} more" if held[HOSTS_SHOWN:] else ""
    return ", ".join(named) + more


def _pace_from(seen: Snapshot, loaded: Loaded) -> str:
    alone = "" if loaded.sources["rate"] == "--rate" else "; no living worker names its own"
    return seen.rate_source or f"the setting ({loaded.rate_source}){alone}"


def _turned_at(settings: Settings) -> datetime | None:
    """Return the last turn of a daemon's loop on this database, to within some seconds."""
    address = address_of(settings.database_url)
    with suppress(OSError):
        if isinstance(address, File):
            turned = wiring.heartbeat_of(address.path).stat().st_mtime
            return datetime.fromtimestamp(turned, UTC)
    return None


def _notes(seen: Snapshot) -> Iterator[str]:
    """Yield a sentence on what is held or odd, and needs nobody yet."""
    for column, moment in seen.shared.unreadable.items():
        yield (
            f"account.{column} = {output.text(moment)!r} is no moment: the next run takes it for"
            " the slowest that it may mean, and writes it anew"
        )
    if seen.overview.states[State.PENDING]:
        yield from (each.told for each in seen.levels if not each.room and not each.submitting)
    if cooling := seen.shared.cooling(seen.now):
        yield f"{cooling} holds all: {END_COOL_DOWN}"
    if doubts := seen.overview.states[State.IN_DOUBT] - seen.facts.for_person:
        yield f"{doubts} in doubt, perhaps bought: {LOOK_UP}"
