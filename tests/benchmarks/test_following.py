"""Following jobs: questions a job, what questions take from the sends, and what they cost a core.

Questions and processor time are measured in virtual time, against the imitation in this process.
"""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.arrivals import used
from tests.benchmarks.conftest import Tell
from tests.conftest import Hands, open_database
from tests.parts import RUN_SETTINGS, Worker, add, let_start
from tests.runner.test_follower import SETTINGS, Bench
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.db.schema import account
from worker.simulator import Options, Simulator
from worker.simulator.lives import Span
from worker.store import jobs

TEN_MINUTES = Options(job_seconds=Span(540, 660), poll_seconds=30)
HOUR = 3_600.0


def bench(database: Database, simulator: Simulator, hands: Hands, rate: int = 5) -> Bench:
    """Return a follower in virtual time, at so many starts a second."""
    worker = Worker(settings=replace(SETTINGS, rate=rate), clock=hands.clock)
    return Bench(database, simulator, hands, worker)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("listing", "rate", "wanted"),
    [((), 5, 0.2), (("no-status",), 5, 2.5), (("no-status",), 1, 2.5), (("no-status",), 10, 2.5)],
)
async def test_questions_a_job(
    path: Path, tell: Tell, listing: tuple[str, ...], rate: int, wanted: float
) -> None:
    """A thousand jobs of ten minutes, handed in at the pace, take few questions."""
    hands, options = Hands(), replace(TEN_MINUTES, listing=listing)
    async with (
        open_database(path) as database,
        Simulator(options, lambda: hands.wall.timestamp() + 0.0) as simulator,
    ):
        await let_start(database, hands.wall)
        at = bench(database, simulator, hands, rate)
        began = hands.seconds
        for page in range(100):
            await at.bought(*(f"https://a.example/{page}/{n}.mp4" for n in range(10)))
            await at.pass_time(10 / rate)
        while (counts := await database.read(jobs.counts)).open:
            await at.pass_time(30)
        took, asked = hands.seconds - began, len(simulator.questions)
    shown = "without statuses" if listing else "with statuses"
    tell(
        f"following 1,000 jobs of 10 min at {rate} a second, a list {shown}: {asked / 1000:.3f} "
        f"questions a job (wanted {wanted}), all known after {took / 60:.1f} min"
    )
    assert {"finished": 1_000} == counts.ended
    assert asked / 1_000 <= wanted


@pytest.mark.timeout(900)
@pytest.mark.parametrize("listing", [(), ("no-status",)])
async def test_ten_thousand_jobs_in_progress(
    path: Path, tell: Tell, listing: tuple[str, ...]
) -> None:
    """An hour of following 10,000 jobs takes little of a core, the imitation's part included."""
    hands = Hands()
    options = Options(job_seconds=Span(5 * HOUR, 5 * HOUR), listing=listing)
    async with (
        open_database(path) as database,
        Simulator(options, lambda: hands.wall.timestamp() + 0.0) as simulator,
    ):
        await let_start(database, hands.wall)
        at = bench(database, simulator, hands)
        for page in range(20):
            await at.bought(*(f"https://a.example/{page}/{n}.mp4" for n in range(500)))
        hands.pass_seconds(60)
        began = time.process_time()
        await at.pass_time(HOUR)
        share = (time.process_time() - began) / HOUR
        asked = len(simulator.questions)
    shown = "without statuses" if listing else "with statuses"
    tell(
        f"following 10,000 jobs in progress, a list {shown}: {share:.2%} of a core with the "
        f"imitation (wanted 2 %), {asked} questions an hour"
    )
    assert share <= 0.02


@pytest.mark.timeout(300)
async def test_questions_hold_back_no_send(tmp_path: Path, path: Path, tell: Tell) -> None:
    """A run that asks as often as it may uses its pace as one that asks nothing."""
    shares = {}
    for follow in ("off", "status"):
        copy = tmp_path / f"{follow}.db"
        shutil.copyfile(path, copy)
        shares[follow], asked = await _paced(copy, follow)
    tell(
        f"pace of 50 a second used: {shares['off']:.3f} without questions, {shares['status']:.3f} "
        f"beside {asked} questions in 20 s (wanted: within 1 %)"
    )
    assert asked >= 100
    assert shares["status"] >= 0.99 * shares["off"]


async def _paced(path: Path, follow: str) -> tuple[float, int]:
    """Send at 50 a second for 22 s, beside 2,000 jobs that are due; return the share used."""
    settings = replace(RUN_SETTINGS, rate=50, follow=follow)
    options = Options(job_seconds=Span(HOUR, HOUR), latency_seconds=0.1, listing=("no-status",))
    async with open_database(path) as database, Simulator(options) as simulator:
        await add(database, *(f"https://a.example/{n}.mp4" for n in range(2_000)))
        early = replace(RUN_SETTINGS, rate=100_000, follow="off")
        await database.write(lambda c: c.execute(update(account).values(job_seconds=0)), "test")
        await Worker(settings=early, slots=32).run(database, simulator.url)
        known = {"list_shows_status": 0, "jobs_listed_at": database.now()}
        await database.write(lambda c: jobs.note(c, **known), "test")
        first = len(simulator.requests)
        await add(database, *(f"https://b.example/{n}.mp4" for n in range(1_300)))
        run = RunOptions(drain=True, wait=True, max_seconds=22)
        await Worker(settings=settings, options=run, slots=32).run(database, simulator.url)
        moments = [each.arrived_at for each in simulator.requests[first:]]
        return used(moments, 50, 1.0, moments[0] + 1, moments[0] + 21), len(simulator.questions)
