"""A queue on PostgreSQL: what one, two and four workers drain, and the same peers on its server."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import Server, bare_loop, drain, program, rate, server, serving
from tests.benchmarks.test_peers import PEERS, VIDEOS, Pair, data, postgres

SLOTS = 64
ROUNDS = 5
WORKERS = (1, 2, 4)
HELD = 0.2
AWAY_SECONDS = 0.005
WAYS = 11
"""Statements of a transaction, each a way to the server and back (tests/test_economy.py)."""
WANTED = {"procrastinate": 8.0, "pgqueuer": 4.0}
HELD_OF_PEERS = {"procrastinate": 2.0, "pgqueuer": 0.5}

FILL = """
INSERT INTO videos (url)
SELECT 'https://example.com/videos/' || number || '.mp4' FROM generate_series(1, $1::int) number
"""


@dataclass(frozen=True, slots=True)
class Drained:
    """Videos per second, and how many a transaction settled, and claimed, at once."""

    rate: float
    together: float


async def said(url: str, statement: str, *values: object) -> float:
    """Return the one number that a statement gives, 0 where it gives none."""
    connection = await asyncpg.connect(url)
    try:
        return float(await connection.fetchval(statement, *values) or 0)
    finally:
        await connection.close()


def queue(at: str, name: str, folder: Path) -> str:
    """Return a new database of the server with due videos."""
    asyncio.run(said(at, f"CREATE DATABASE {name}"))
    url = make_url(at).set(database=name).render_as_string(hide_password=False)
    program(["migrate"], folder / "migrate.log", database_url=url)
    asyncio.run(said(url, FILL, VIDEOS))
    asyncio.run(said(url, "VACUUM ANALYZE"))
    return url


def drained(at: Server, url: str, folder: Path, workers: int) -> Drained:
    """Return a drain by so many processes at once, each with its own slots."""
    logs = [folder / f"{name}" for name in range(workers)]
    with ThreadPoolExecutor(workers) as all_at_once:
        list(
            all_at_once.map(
                lambda log: drain(log, at, "--wait", slots=SLOTS, database_url=url), logs
            )
        )
    moments = at.book()
    assert len(moments) == VIDEOS
    transactions = asyncio.run(said(url, "SELECT count(DISTINCT at) FROM history"))
    return Drained(rate(moments), VIDEOS / transactions)


@pytest.mark.timeout(3600)
def test_workers_share_a_queue_on_postgresql(tell: Tell) -> None:
    """In turns on one server, each with a new database; a bare loop before each."""
    found: dict[int, list[tuple[float, Drained]]] = {workers: [] for workers in WORKERS}
    with data() as folder, postgres(folder / "postgres") as database, server() as at:
        numbers = count()
        for _ in range(ROUNDS):
            for workers in WORKERS:
                bare_loop(at, VIDEOS, SLOTS, folder / "bare.log")
                bare = rate(at.book())
                url = queue(database, f"ours_{next(numbers)}", folder)
                found[workers].append((bare, drained(at, url, folder, workers)))
    for workers, rounds in found.items():
        ratios = [ours.rate / bare for bare, ours in rounds]
        tell(
            f"PostgreSQL, {workers} worker{'s' * (workers > 1)} of {SLOTS} slots: "
            f"{median(ours.rate for _, ours in rounds):,.0f} videos/s, {median(ratios):.2f} "
            f"[{min(ratios):.2f}-{max(ratios):.2f}] of a bare loop; "
            f"{median(ours.together for _, ours in rounds):.0f} videos a transaction"
        )
    assert median(ours.rate / bare for bare, ours in found[1]) >= HELD


@pytest.mark.timeout(3600)
def test_a_far_server_costs_the_ways_to_it(tell: Tell) -> None:
    """Each statement of a transaction goes to the server and comes back, so few are good."""
    with data() as folder, postgres(folder / "postgres") as database, server() as at:
        url = make_url(queue(database, "far", folder))
        socket = f"{url.query['host']}/.s.PGSQL.5432"
        with serving("far.py", socket, str(AWAY_SECONDS / 2)) as relay:
            far = url.set(host="127.0.0.1", port=relay.port).difference_update_query(["host"])
            found = drained(at, far.render_as_string(hide_password=False), folder, 1)
    seconds = found.together / found.rate
    tell(
        f"PostgreSQL {AWAY_SECONDS * 1000:g} ms away, {SLOTS} slots: {found.rate:,.0f} videos/s, "
        f"{1 / seconds:.1f} transactions/s of {found.together:.0f} videos, each "
        f"{seconds / AWAY_SECONDS:.1f} ways to the server and back (with its work)"
    )
    assert seconds <= 4 * WAYS * AWAY_SECONDS


@pytest.mark.timeout(3600)
def test_a_drain_on_postgresql_is_faster_than_what_others_use_there(tell: Tell) -> None:
    """Every peer takes each video from its queue durably, POSTs it, and writes the job id down."""
    peers = [peer for peer in PEERS if peer.on_postgres]
    pairs: dict[str, list[Pair]] = {peer.name: [] for peer in peers}
    with data() as folder, postgres(folder / "postgres") as database, server() as at:
        numbers = count()
        for _ in range(ROUNDS):
            for peer in peers:
                theirs = peer.hand_in(at, database)
                url = queue(database, f"ours_{next(numbers)}", folder)
                pairs[peer.name].append(Pair(theirs, drained(at, url, folder, 1).rate))
    for peer in peers:
        ratios = [pair.drain / pair.peer for pair in pairs[peer.name]]
        tell(
            f"PostgreSQL, {peer.title}: {median(p.peer for p in pairs[peer.name]):,.0f} videos/s; "
            f"a drain is {median(ratios):.1f} [{min(ratios):.1f}-{max(ratios):.1f}] times as fast "
            f"(wanted {WANTED[peer.name]:g})"
        )
        assert median(ratios) >= HELD_OF_PEERS[peer.name]
