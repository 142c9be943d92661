import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Hands
from tests.parts import SETTINGS, add, later, let_start
from tests.plain import execute
from tests.store.test_doubts import doubt
from worker import wiring
from worker.core.evidence import LATER_VIDEO
from worker.core.model import State
from worker.core.verdict import RESUME, START, VerdictState
from worker.db.database import Database
from worker.snapshot import FRESH, Snapshot, Snapshots, take
from worker.store import shared_state

GONE = 4_194_999
"""The number of no process: Linux gives none so high."""

URLS = [f"https://videos.example/{number}.mp4" for number in range(3)]


async def seen(database: Database, url: str, seconds: float = 0, **settings: object) -> Snapshot:
    """Return the queue so many seconds from now."""
    chosen = replace(SETTINGS, database_url=url, **settings)  # type: ignore[arg-type]
    return await database.read(lambda c: take(c, chosen, later(database.now(), seconds)))


def heartbeat(
    database: Database, url: str, worker: str, *, began: float, ago: float, command: str = "run"
) -> None:
    """Insert a worker of another machine that began and was last seen so many seconds ago."""
    moments = [f"{later(database.now(), -s):%Y-%m-%d %H:%M:%S.%f}" for s in (began, ago)]
    columns = "(id, host, pid, command, started_at, seen_at)"
    sql = f"INSERT INTO workers {columns} VALUES (?, 'alpha', 7, ?, ?, ?)"
    execute(url, sql, worker, command, *moments)


async def test_a_queue_is_read_as_a_whole(database: Database, url: str) -> None:
    """A snapshot has the numbers, the pace and the verdict of one moment."""
    await add(database, *URLS)
    heartbeat(database, url, "w", began=9, ago=1)
    found = await seen(database, url, 1, rate=2)
    assert (3, 3, "2 per 1 s") == (
        found.overview.states[State.PENDING],
        found.facts.due,
        found.facts.pace,
    )
    assert (None, 1) == (found.rate_source, found.facts.alive)
    assert "working: 3 due, 0 in flight, at 2 per 1 s" == found.verdict.sentence


@pytest.mark.parametrize(
    ("rows", "silent"),
    [
        ([("w", 900, 61, "run")], 1),
        ([("w", 900, 61, "run"), ("next", 50, 1, "run")], 0),
        ([("w", 900, 61, "run"), ("older", 900, 1, "run")], 1),
        ([("w", 900, 61, "drain")], 0),
        ([("w", 90_000, 86_500, "run")], 0),
        ([("w", 900, 59, "run")], 0),
    ],
)
async def test_a_worker_that_should_be_alive_is_missed(
    database: Database, url: str, rows: list[tuple[str, float, float, str]], silent: int
) -> None:
    """A daemon is missed for a day, unless another one has begun since its last heartbeat."""
    for worker, began, ago, command in rows:
        heartbeat(database, url, worker, began=began, ago=ago, command=command)
    found = await seen(database, url)
    assert silent == len(found.facts.silent)
    assert (found.verdict.state is VerdictState.NEEDS_PERSON) == bool(silent)
    if silent:
        assert "it hangs, or is out of reach of the database" in found.facts.silent[0].words


async def test_a_drain_that_hangs_with_claims_is_missed(database: Database, url: str) -> None:
    """A silent drain with claims needs a person, unless it was killed: then no worker is there."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": later(database.now(), 99)}
    await add(database, URLS[0], state="submitting", claims=1, **claim)
    await add(database, URLS[1])
    heartbeat(database, url, "w", began=900, ago=61, command="drain")
    assert 1 == len((await seen(database, url)).facts.silent)
    execute(url, "UPDATE workers SET host = ?, pid = ?", wiring.host(), GONE)
    for seconds in (0, 900):
        found = (await seen(database, url, seconds)).verdict
        assert "not running: 1 due, 1 in flight, no worker is alive" == found.sentence
        assert (START,) == found.ways_out
    heartbeat(database, url, "v", began=50, ago=1, command="drain")
    assert 0 == len((await seen(database, url)).facts.silent)


async def test_a_pause_is_named_though_a_lease_has_run_out(database: Database, url: str) -> None:
    """The claims of a dead worker hide no pause."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": later(database.now(), 9)}
    await add(database, URLS[0], state="submitting", claims=1, **claim)
    await add(database, URLS[1])
    await database.write(lambda c: shared_state.pause(c, database.now(), "wrong list"), "test")
    for seconds in (0, 99):
        found = (await seen(database, url, seconds)).verdict
        assert re.match(r"waiting: paused since .* \(wrong list\); no worker", found.sentence)
        assert (RESUME,) == found.ways_out


async def test_a_process_of_this_machine_is_looked_at(database: Database, url: str) -> None:
    """The process of a silent worker on this machine is looked for."""
    heartbeat(database, url, "w", began=900, ago=61)
    execute(url, "UPDATE workers SET host = ?, pid = ?", wiring.host(), GONE)
    assert ": its process is gone" in (await seen(database, url)).verdict.sentence


NOTED = (
    "INSERT INTO history (video_id, attempt, at, who, fact, message) VALUES (1, 1, ?, 'w', ?, ?)"
)


async def tell(database: Database, url: str, fact: str, message: str, ago: float) -> None:
    """Write an answer of so many seconds ago."""
    execute(url, NOTED, f"{later(database.now(), -ago):%Y-%m-%d %H:%M:%S.%f}", fact, message)


async def cool(database: Database, began: float, seconds: float) -> None:
    """Begin a cool-down so many seconds ago, as long as this."""
    at = later(database.now(), -began)
    until = later(at, seconds)
    await database.write(lambda c: shared_state.cool_down(c, until, "no route", at), "test")


@pytest.mark.parametrize(
    ("fact", "seconds", "is_stalled"),
    [
        ("not_sent", 300, True),
        ("try_later", 300, True),
        ("try_later", 3_600, False),
        ("throttled", 300, False),
    ],
)
async def test_an_api_that_never_answers_is_a_stall(
    database: Database, url: str, fact: str, seconds: float, *, is_stalled: bool
) -> None:
    """Law 18: our own cool-downs, one after the other, are no calm; one that was asked for is."""
    await add(database, URLS[0], due_at=later(database.now(), -900))
    heartbeat(database, url, "w", began=950, ago=1)
    for began in (900, 500, 100):
        await tell(database, url, fact, "no route to host", began)
    await cool(database, 100, seconds)
    await let_start(database, later(database.now(), -1))
    found = (await seen(database, url)).verdict
    assert is_stalled == (VerdictState.STALLED is found.state)
    if is_stalled:
        assert "no clear answer from the API (no route to host)" in found.sentence
        assert ("valossa-ingest check --online says what is wrong",) == found.ways_out
    else:
        assert VerdictState.WAITING is found.state


@pytest.mark.parametrize("list_read", [400, None])
async def test_a_list_that_cannot_be_read_is_a_stall(
    database: Database, url: str, list_read: float | None
) -> None:
    """Law 18: videos that are due and wait for a list are no calm for longer than the patience,
    though a question for the list was asked, and moved the next start, a moment ago.
    """
    now = database.now()
    turned_away = {"http_status": 500, "attempts": 1, "claims": 1, "updated_at": later(now, -200)}
    await add(database, *URLS, due_at=later(now, -190), **turned_away)
    await add(database, "https://videos.example/later.mp4", due_at=later(now, 900), **turned_away)
    await tell(database, url, "accepted", "", 195)
    heartbeat(database, url, "w", began=950, ago=1)
    await let_start(database, later(now, -9))
    await database.write(lambda c: shared_state.list_asked(c, later(now, -10)), "test")
    if list_read is not None:
        await database.write(lambda c: shared_state.list_read(c, later(now, -list_read)), "test")
    words = "3 wait for the API's list of jobs, which is not read"
    found = await seen(database, url, on_doubt="reconcile")
    assert (VerdictState.STALLED, 3) == (found.verdict.state, found.facts.unlisted)
    assert found.verdict.sentence.endswith(words)
    assert ("valossa-ingest check --online says what is wrong",) == found.verdict.ways_out
    calm = (await seen(database, url, on_doubt="reconcile", timeout_seconds=99)).verdict
    assert calm.sentence.startswith("waiting: 3 wait for the API's list of jobs, the next look")
    await database.write(lambda c: shared_state.list_read(c, later(now, -10)), "test")
    assert 0 == (await seen(database, url, on_doubt="reconcile")).facts.unlisted


async def test_without_reconciliation_no_list_is_waited_for(database: Database, url: str) -> None:
    """Where no list is asked for, none holds a video that met a 500."""
    await add(database, URLS[0], http_status=500, attempts=1, claims=1)
    assert 0 == (await seen(database, url, on_doubt="hold")).facts.unlisted


async def test_an_answer_that_never_came_ends_no_refusal(database: Database, url: str) -> None:
    """A refused key is refused until a clear answer."""
    await add(database, URLS[0])
    heartbeat(database, url, "w", began=900, ago=1)
    await tell(database, url, "account_refused", "HTTP 401", 90)
    await tell(database, url, "not_sent", "no route to host", 50)
    assert "the API refuses the key" in (await seen(database, url)).verdict.sentence
    await tell(database, url, "accepted", "", 20)
    assert "the API refuses the key" not in (await seen(database, url)).verdict.sentence


async def test_a_time_that_nobody_knows_is_not_named(database: Database, url: str) -> None:
    """Videos of a host that is held, postponed or not yet, and files whose speed was never measured
    have no known end.
    """
    await add(database, *URLS)
    assert (await seen(database, url)).left is not None
    held = "INSERT INTO hosts (host, held_since, why, probe_at) VALUES ('h', ?, 'dead', ?)"
    at = f"{database.now():%Y-%m-%d %H:%M:%S.%f}"
    execute(url, held, at, at)
    execute(url, "UPDATE videos SET held_host = 'h' WHERE id = 1")
    execute(url, "UPDATE account SET held_hosts = 1")
    assert (await seen(database, url)).left is None
    execute(url, "UPDATE videos SET held_host = NULL")
    assert (await seen(database, url)).left is None
    execute(url, "UPDATE account SET held_hosts = 0")
    assert (await seen(database, url)).left is not None
    execute(url, "INSERT INTO uploads (video_id, address) VALUES (1, 'file:///a.mp4')")
    assert (await seen(database, url)).left is None


async def test_a_claim_after_an_unclear_answer_is_no_move(database: Database, url: str) -> None:
    """An API that cannot be reached leaves a queue stalled, however often it is tried."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": later(database.now(), 99)}
    await add(database, URLS[0], due_at=later(database.now(), -900))
    await let_start(database, later(database.now(), -900))
    await add(database, URLS[1], state="submitting", claims=1, **claim)
    heartbeat(database, url, "w", began=900, ago=1)
    assert VerdictState.WORKING is (await seen(database, url)).verdict.state
    columns, at = (
        "(video_id, attempt, at, who, fact, message)",
        f"{database.now():%Y-%m-%d %H:%M:%S}",
    )
    values = "(1, 1, ?, 'w', 'not_sent', 'no route to host')"
    execute(url, f"INSERT INTO history {columns} VALUES {values}", at)
    assert (
        "no clear answer from the API (no route to host)"
        in (await seen(database, url)).verdict.sentence
    )


async def test_a_drain_of_a_schedule_is_waited_for(database: Database, url: str) -> None:
    """With ``drain_every_seconds`` due videos wait for the next drain, and only so long."""
    await add(database, *URLS)
    for period, state in ((None, "not running"), (600.0, "waiting"), (5.0, "not running")):
        found = await seen(database, url, 9, drain_every_seconds=period)
        assert state == found.verdict.state


async def test_what_needs_a_person_depends_on_how_doubts_are_settled(
    database: Database, url: str
) -> None:
    """Doubts need a person if nothing may settle them by itself."""
    await add(database, URLS[0], state="in_doubt", claims=1, attempts=1)
    for on_doubt, number in (("hold", 1), ("retry", 0), ("reconcile", 0)):
        assert number == (await seen(database, url, on_doubt=on_doubt)).facts.for_person


@pytest.mark.parametrize("cap", [{"max_in_progress": 1}, {"max_in_progress": None}])
async def test_a_doubt_that_waits_for_a_later_video_needs_a_person_where_none_can_come(
    database: Database, url: str, cap: dict[str, Any]
) -> None:
    """Doubts that fill a cap keep all later videos back, so that no list settles them."""
    await doubt(database, 9, -9, -8, error=f"not in the API's list, {LATER_VIDEO}")
    await add(database, URLS[0])
    found = await seen(database, url, on_doubt="reconcile", **cap)
    is_full = cap["max_in_progress"] is not None
    assert int(is_full) == found.facts.for_person
    assert is_full == (VerdictState.NEEDS_PERSON is found.verdict.state)


async def test_all_who_ask_share_a_snapshot(path: Path, hands: Hands) -> None:
    """Those who ask within two seconds get one snapshot, and later ones another."""
    settings = replace(SETTINGS, database_url=str(path))
    async with Database(
        str(path), dice=lambda: 0.5, now=lambda: hands.wall, waiting=lambda _: None
    ) as database:
        snapshots = Snapshots(database, settings)
        first, second = await asyncio.gather(snapshots.get(), snapshots.get())
        hands.pass_seconds(1.9)
        assert first is second is await snapshots.get()
        hands.pass_seconds(0.1)
        assert first.now + FRESH == (await snapshots.get()).now
