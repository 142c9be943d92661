"""A dead host among others, bought, followed and held in virtual time against the imitation."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, select

from tests.conftest import START, Hands
from tests.parts import Worker, later, let_start
from tests.proof.ground import times
from tests.runner.test_follower import SETTINGS, Bench
from worker.api.client import Api
from worker.core import request
from worker.core.model import Accepted, Result
from worker.core.reasons import ClaimResult, WaitReason
from worker.db.database import Database
from worker.db.schema import hosts, videos
from worker.simulator import Options, Simulator
from worker.simulator.lives import Span

DEAD = "dead.example"
JOB = Span(20, 20)
RATE = 5
VIDEOS = times(1_000, 5_000)
"""Of which each fifth is of the dead host: one a second."""

SEEN = timedelta(seconds=60 + 5)
"""Until the first ends are known: the first look at a job, and the questions for its details."""

PROBES = 3


class Life(Bench):
    """A worker that buys and follows; each attempt is settled before the next claim."""

    _results: list[Result] = []  # noqa: RUF012 - replaced, never changed

    async def until(self, enough: int) -> datetime:
        """Work until so many probes have gone; return when the host was held."""
        held_at: datetime | None = None
        async with self.follower() as follower, self.worker.api(self.simulator.url) as api:
            self._work, ask_at = self.worker.transaction(), START
            while True:
                claimed = await self._serve(api)
                if self.hands.wall >= ask_at:
                    _, ask_at = await follower.ask()
                    probes, held_at = await self._probes(), held_at or await self._held_at()
                    if probes >= enough:
                        await self._serve(api)
                        assert held_at is not None
                        return held_at
                self._pass(claimed, ask_at)

    async def _held_at(self) -> datetime | None:
        return await self.database.read(lambda c: c.scalar(select(hosts.c.held_since)))

    async def _probes(self) -> int:
        return await self.database.read(lambda c: c.scalar(select(hosts.c.probes))) or 0

    async def _serve(self, api: Api) -> ClaimResult:
        """Claim what may start now, and buy it."""
        results, self._results = self._results, []
        done = await self.database.write(lambda c: self._work.write(c, results, 1), "test")
        for start in done.claimed.starts:
            video, name = start.claim.video, start.claim.request_id
            outcome = await api.new_job(
                request.body(video, name, self.worker.settings.defaults), lambda: None
            )
            assert isinstance(outcome, Accepted)
            self._results.append(
                Result(claim=start.claim, outcome=outcome, started_at=self.hands.wall)
            )
        return done.claimed

    def _pass(self, claimed: ClaimResult, ask_at: datetime) -> None:
        """Let time pass until the next start, or until the next question."""
        soon = later(self.hands.wall, 1 / RATE)
        idle = claimed.reason is not WaitReason.PACE and not self._results
        moments = [ask_at, claimed.until or ask_at] if idle else [soon]
        seconds = (
            max(min(moments), later(self.hands.wall, 0.01)) - self.hands.wall
        ).total_seconds()
        self.hands.pass_seconds(seconds)


@pytest.mark.timeout(600)
async def test_a_dead_host_costs_what_was_in_flight_and_its_probes(
    database: Database, hands: Hands
) -> None:
    """Of the videos of a dead host, a fifth of all, those are bought that went before its first
    ends were seen, and then one probe in each period. At 5 starts a second and with jobs of 20 s,
    these are 62 and the probes, whether the host has 200 videos or 1,000.
    """
    await let_start(database, START)
    rows = [
        {"url": f"https://{DEAD if n % 5 == 0 else f'h{n % 97}.example'}/{n}.mp4", "due_at": START}
        for n in range(VIDEOS)
    ]
    await database.write(lambda c: c.execute(insert(videos), rows), "test")
    worker = Worker(settings=SETTINGS, clock=hands.clock)
    options = Options(job_seconds=JOB, dead_hosts=frozenset({DEAD}))
    async with Simulator(options, lambda: hands.wall.timestamp() + 0.0) as simulator:
        held_at = await Life(database, simulator, hands, worker).until(PROBES)

    of_dead = select(videos.c.submitted_at).where(videos.c.url.contains(DEAD), is_bought)
    bought = await database.read(lambda c: [*c.scalars(of_dead)])
    before = [at for at in bought if at <= held_at]
    assert held_at <= START + SEEN
    assert len(before) <= 1 + (held_at - START).total_seconds()
    probes = sorted(set(bought) - {*before})
    assert PROBES == len(bought) - len(before) == len(probes)
    waits = [round((at - held_at).total_seconds() / 60) for at in probes]
    assert [15, 15 + 30, 15 + 30 + 60] == waits


is_bought = videos.c.job_id.is_not(None)
