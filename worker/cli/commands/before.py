"""Say what a drain is about to buy, and ask before many; name what the API has already."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from worker import wiring
from worker.cli import exits, output
from worker.cli.commands.preflight import findings, judged, show, upload_speed
from worker.cli.invocation import Invocation
from worker.cli.session import Session, open_to_look
from worker.core import pace
from worker.core.audit import compare
from worker.core.job_list import Listing, Unlisted
from worker.core.model import State
from worker.core.preflight import Tally, Weight
from worker.core.transfer import amount
from worker.log import Event, logger
from worker.settings import Key, Settings
from worker.store import audit, caps, hosts, search, shared_state, statistics, uploads

MANY, LOOKED_AT, HOSTS_SHOWN = 20, 20_000, 5
"""Videos that are bought unasked, and those that are looked at while a person waits."""

CONNECT_SECONDS, LIST_SECONDS = 2.0, 10.0
"""At most for the API's list of jobs: a run goes on without it."""


def dry_run(call: Invocation) -> int:
    """Print what a drain would buy. Claims nothing and sends nothing."""
    with open_to_look(call.settings) as session:
        bought, tally = session.read(lambda c, now: _purchase(c, now, call, None))
    if call.args.json:
        output.document(output.keyed(bought) | {"found": findings(tally)})
    else:
        output.pairs(bought)
        show(tally)
    return exits.OK


def may_begin(call: Invocation, key: Key) -> bool:
    """Return False if a person does not want to buy what is due. Raises DatabaseProblem."""
    if call.args.yes:
        return True
    with open_to_look(call.settings) as session:
        number, is_fresh = session.read(
            lambda c, now: (_number(c, now, call), not statistics.has_bought(c))
        )
        again = _bought_already(session, key) if number and is_fresh else 0
        on_terminal = sys.stdin.isatty() and output.on_terminal()
        asks = on_terminal and (number > MANY or again > 0)
        if asks:
            bought, _ = session.read(lambda c, now: _purchase(c, now, call, LOOKED_AT))
            output.pairs({n: each for n, each in bought.items() if each or n.endswith("leaves")})
    if again:
        remedy = "valossa-ingest audit shows them, audit --adopt takes their jobs over"
        if on_terminal:
            exits.complain([f"{again:,} of the videos are in the API's list of jobs: {remedy}"])
        else:
            logger().error(Event.LIST_HAS_OURS, videos=again, remedy=remedy)
    return not asks or output.ask(f"buy {number:,} videos?")


def _bought_already(session: Session, key: Key) -> int:
    """Return how many pending videos the API's list shows; 0 if it cannot be read in time."""
    hasty = replace(
        session.settings, connect_timeout_seconds=CONNECT_SECONDS, timeout_seconds=LIST_SECONDS
    )

    async def listed() -> Listing | Unlisted:
        async with wiring.api(hasty, key) as api:
            return await api.list_jobs()

    shown = session.run(listed())
    if isinstance(shown, Unlisted):
        return 0
    found = session.read(lambda c, now: compare(shown, audit.rows(c, shown), now).bought)
    return len({match.row.video_id for match in found})


def _number(connection: Connection, now: datetime, call: Invocation) -> int:
    """Return how many videos the drain would buy, by its limit: what is due, and the files that it
    uploads first.
    """
    due = statistics.due(connection, statistics.in_state(connection, State.PENDING), now)
    number = due + uploads.waiting(connection, now)
    return min(number, call.args.limit or number)


def _purchase(
    connection: Connection, now: datetime, call: Invocation, most: int | None
) -> tuple[dict[str, object], Tally]:
    """Return what the drain would buy, and what speaks against those of these videos that are among
    the first ``most`` pending ones.
    """
    first = islice(search.every(connection, search.Filter(states=(State.PENDING,))), most)
    meant = (row for row in first if row["due_at"] <= now or row["held_host"] == uploads.HELD)
    return purchase(connection, now, call.settings, _number(connection, now, call), meant)


def purchase(
    connection: Connection,
    now: datetime,
    settings: Settings,
    number: int,
    rows: Iterable[Mapping[Any, Any]],
) -> tuple[dict[str, object], Tally]:
    """Return what it would take to buy this number of videos, and what speaks against ``rows``."""
    known = shared_state.read(connection)
    brake = pace.resume(known.brake, known.next_start_at, now)
    gap = pace.spacing(pace.rate_in_force(settings.rate, brake, now), settings.period_seconds)
    tally = judged(rows, settings, now)
    shown = tally.hosts.most_common(HOSTS_SHOWN)
    held = hosts.held(connection)[:HOSTS_SHOWN] if known.held_hosts else ()
    levels = [caps.level(connection, cap, now) for cap in wiring.caps(settings)]
    return {
        "to buy": number,
        "from": ", ".join(f"{host} {n:,}" for host, n in shown),
        "other hosts": len(tally.hosts) - len(shown),
        **({"held hosts": ", ".join(each.host for each in held)} if held else {}),
        "at this pace": number * gap,
        "to upload first": amount(tally.size, upload_speed(connection, settings, now))
        if tally.size
        else "",
        **{f"{level.cap.name} leaves": level.room for level in levels},
        **{weight: tally.number(weight) for weight in Weight},
    }, tally
