"""Scenario 7: a worker that is frozen while others go on, and a network that comes back late."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.plain import insert_all, is_server, session
from tests.processes.programs import Program, execute, videos, within
from tests.proof.between import Between, Forward, serve
from tests.proof.commands import commands
from tests.proof.ground import FULL, HOUR_SECONDS, Ground, addresses, hand_in, times, together
from tests.proof.outage import Outage
from tests.proof.stale import JUMPS
from tests.wire import Line, narrow
from worker.simulator import Options, Simulator

STALE = ("-m", "tests.proof.stale")

LONG_AGO = "2020-01-01 00:00:00"
"""Due for every clock."""

FATES = ("left-in-doubt", "found", "called-absent", "sent-again", "doubted-again")
"""The fates of a frozen worker's videos in other workers' hands, before it is thawed."""

SENT = {"sent-again": "submitted", "doubted-again": "in_doubt"}
"""Those that others have sent by then, and what they are."""

BACK_AFTER_SECONDS = times(0, 40)
"""From the end of everything else to the return of the network."""

LONG = "x" * 400_000
"""A description that does not fit into what a connection takes in unread."""

ON_THE_WAY = times(2, 4)


END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def frozen(program: Program) -> None:
    """Wait until it stands still."""
    stopped = os.WSTOPPED | os.WEXITED | os.WNOWAIT
    state = await within(asyncio.to_thread(os.waitid, os.P_PID, program.pid, stopped))
    assert state is not None
    assert signal.SIGSTOP == state.si_status


class Stage:
    """One queue, one API, and a worker of which the others know nothing."""

    def __init__(self, ground: Ground, simulator: Simulator, name: str, seconds: float) -> None:
        self.ground = ground
        self.simulator = simulator
        self.urls = {f: f"https://videos.example/stale/{name}/{f}.mp4" for f in FATES}
        self.queue = ground.database(name)
        self._changeable = f"{name}/may-come-back-changed"
        self.seconds = seconds
        self._before = f"https://videos.example/before/{name}.mp4"
        self._after = f"https://videos.example/after/{name}.mp4"

    @property
    def worker(self) -> dict[str, Any]:
        """Return the settings of all."""
        where = {"database_url": self.queue, "api_url": self.simulator.url}
        return {**where, "timeout_seconds": 1, "concurrency": 2 * len(FATES)}

    async def begin(self, jumps: str, *freeze: str, **settings: object) -> Program:
        """Start the worker, let it hand in a first video, and give it those of the fates."""
        hand_in(self.queue, [self._before], due_at=LONG_AGO)
        told = (str(self.seconds), jumps, *freeze)
        program = await self.ground.start(*told, program=STALE, **{**self.worker, **settings})
        await program.logged("attempt_ended", outcome="accepted")
        rows = [
            {
                "url": url,
                "media_id": self._changeable if fate == "left-in-doubt" else None,
                "due_at": LONG_AGO,
            }
            for fate, url in self.urls.items()
        ]
        insert_all(self.queue, "videos", rows)
        return program

    async def go_on(self) -> None:
        """Let others put the videos in doubt, ask the list, and send two again; the answer to the
        second is lost.
        """
        async with commands(self.ground, doubt_settle_seconds=0, **self.worker) as others:
            while "submitting" in self.states().values():
                await others.run("drain --wait --max-seconds 20")
            hand_in(self.queue, [self._after])
            await others.run("drain", "reconcile")
            self.make_due("sent-again")
            await others.run("drain")
            self.make_due("doubted-again")
            options = self.simulator.options
            self.simulator.options = replace(options, failures={"lost": 1.0})
            await others.run("drain")
            self.simulator.options = options

    def make_due(self, fate: str) -> None:
        """End the backoff of a video that was called absent."""
        sql = "UPDATE videos SET due_at = ? WHERE url = ? AND state = 'pending'"
        execute(self.queue, sql, LONG_AGO, self.urls[fate])

    def end_sessions(self) -> None:
        """End the session of a frozen worker on a server.

        A frozen worker may hold a lock until the server ends its session.
        """
        if is_server(self.queue):
            execute(self.queue, END_SESSIONS)

    def states(self) -> dict[str, object]:
        """Return the columns of the fates' videos."""
        known = {row["url"]: row["state"] for row in videos(self.queue)}
        return {fate: known[url] for fate, url in self.urls.items()}

    async def submitted(self, *fates: str) -> None:
        """Wait until the videos of these fates are."""
        while any(self.states()[fate] != "submitted" for fate in fates):  # noqa: ASYNC110 - written elsewhere
            await asyncio.sleep(0.02)

    def sent(self) -> Counter[str]:
        """Return how many requests came for each fate."""
        fates = {url: fate for fate, url in self.urls.items()}
        return Counter(fates[r.url] for r in self.simulator.requests if r.url in fates)

    def jobs(self, fate: str) -> list[str]:
        """Return the jobs of its video, in their order."""
        return [j.job_id for j in self.simulator.accepted if j.url == self.urls[fate]]


async def before_the_first_byte(stage: Stage, jumps: str) -> None:
    """Frozen with the intent on disk and nothing sent."""
    stale = await stage.begin(jumps, "/stale/")
    await frozen(stale)
    await stage.go_on()
    left = {"left-in-doubt": "in_doubt", "found": "pending", "called-absent": "pending"}
    assert {**left, **SENT} == stage.states()
    assert dict.fromkeys(SENT, 1) == stage.sent()
    stale.signal(signal.SIGCONT)
    released = await stale.logged("attempt_ended", len(FATES), outcome="released")
    assert {1} == {line["attempt"] for line in released}
    for fate in FATES:
        stage.make_due(fate)
    await within(stage.submitted(*FATES[:-1]))
    assert "in_doubt" == stage.states()["doubted-again"]
    assert dict.fromkeys(FATES, 1) == stage.sent()


async def after_the_answer(stage: Stage, jumps: str) -> None:
    """Frozen with every job id in its hands; the list hides all of the jobs but one."""
    with session(stage.queue) as other:
        locked = asyncio.Event()

        async def lock(line: Line, forward: Forward) -> None:
            if not locked.is_set():
                locked.set()
                other.lock()
            await serve(line, forward)

        async with Between(stage.simulator.url, {"stale": (lock,)}) as between:
            stale = await stage.begin(jumps, api_url=between.url)
            await stale.logged("attempt_ended", 1 + len(FATES), outcome="accepted")
            stale.signal(signal.SIGSTOP)
            await frozen(stale)
            other.execute("ROLLBACK")
            stage.end_sessions()
            jobs = enumerate(stage.simulator.accepted, start=1)
            hidden = {url for fate, url in stage.urls.items() if fate != "found"}
            hide = [f"hide-{number}" for number, job in jobs if job.url in hidden]
            stage.simulator.options = replace(stage.simulator.options, listing=hide)
            await stage.go_on()
            left = {"left-in-doubt": "in_doubt", "found": "submitted", "called-absent": "pending"}
            assert {**left, **SENT} == stage.states()
            stale.signal(signal.SIGCONT)
            await stale.logged("claim_lost", len(FATES) - 1)
            await within(stage.submitted(*FATES))
    mine, bought_again = stage.jobs("sent-again")
    sql = "SELECT h.job_id FROM history h JOIN videos v ON v.id = h.video_id WHERE v.url = ?"
    known = [row["job_id"] for row in execute(stage.queue, sql, stage.urls["sent-again"])]
    assert sorted([mine, bought_again]) == sorted(map(str, filter(None, known)))


POINTS: Mapping[str, Callable[[Stage, str], Awaitable[None]]] = {
    "before its first byte": before_the_first_byte,
    "after its answer": after_the_answer,
}


async def freeze(ground: Ground, point: str, number: int, jumps: str, seconds: float) -> list[str]:
    """Play one freeze with its own API; return the videos that must be bought once."""
    name = f"{point.split(maxsplit=1)[0]}-{number}"
    async with Simulator(Options(book=ground.folder / f"{name}.jsonl")) as simulator:
        stage = Stage(ground, simulator, name, seconds)
        await POINTS[point](stage, jumps)
    with ground.book.open("a") as book:
        book.write((ground.folder / f"{name}.jsonl").read_text())
    twice = point == "after its answer"  # by the list that hid the job: no worker's doing
    return [url for fate, url in stage.urls.items() if not (twice and fate in SENT)]


@pytest.mark.timeout(900)
async def test_a_worker_that_was_frozen_does_no_harm_when_it_is_thawed(ground: Ground) -> None:
    """Whatever others did with its videos meanwhile, and whichever of its clocks has gone on: it
    sends nothing on an old claim, and a job id that it brings is never lost.
    """
    frozen_for = [(jumps, HOUR_SECONDS) for jumps in times(1, 4) * JUMPS[: times(1, 3)]]
    really = [("both", 0)] if FULL else []
    urls: dict[str, list[str]] = {point: [] for point in POINTS}
    for number, (jumps, seconds) in enumerate([*frozen_for, *really]):
        played = [freeze(ground, point, number, jumps, seconds) for point in POINTS]
        for point, bought in zip(POINTS, await together(*played), strict=True):
            urls[point] += bought
    for point in POINTS:
        verdict = ground.judged(7, f"frozen {point}", urls[point])
        doubted = [url for url in urls[point] if "doubted-again" in url]
        assert (urls[point], doubted) == (verdict.once, verdict.in_doubt)


@pytest.mark.timeout(300)
async def test_nothing_is_delivered_when_the_network_comes_back(ground: Ground) -> None:
    """A request that timed out in a dead network, was proven absent and sent again is not delivered
    as well when the network works again.
    """
    urls = addresses("outage", ON_THE_WAY)
    queue = ground.database("queue", addresses("before", 1), priority=2)
    hand_in(queue, urls, priority=1, description=LONG)
    hand_in(queue, addresses("after", 1))
    async with Simulator(Options(book=ground.book)) as simulator:
        with narrow() as listening:
            outage = Outage(listening, simulator.url)
            settings: dict[str, Any] = {"database_url": queue, "api_url": simulator.url}
            soon = {"doubt_settle_seconds": 0, "backoff_base_seconds": 0.1}
            async with commands(ground, timeout_seconds=1, **settings, **soon) as worker:
                await worker.run("drain --limit 1")
                sending = worker.run(f"drain --limit {ON_THE_WAY}", api_url=outage.url)
                taken, _ = await asyncio.gather(outage.take(ON_THE_WAY), sending)
                await worker.run("drain", "reconcile", "drain --wait")
            assert {"submitted"} == {row["state"] for row in videos(queue)}
            await asyncio.sleep(BACK_AFTER_SECONDS)  # not to wait: so long lasts the outage
            await together(*map(outage.deliver, taken))
    verdict = ground.judged(7, "the network comes back after the time-out", urls)
    assert (urls, []) == (verdict.once, verdict.in_doubt)
