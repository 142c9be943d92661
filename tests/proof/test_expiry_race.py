"""Scenario 8: an attempt is settled at the moment at which another process expires its lease."""

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import open_database
from tests.parts import claim, transaction
from tests.processes.programs import PATIENCE_SECONDS, execute, videos
from tests.proof.ground import Ground, addresses, times, together
from worker.clock import Clock
from worker.core.model import Accepted, Claim, InDoubt, Outcome, Refused, Released, Result
from worker.runner.model import Committed
from worker.simulator.book import Job

ROUNDS = times(100, 10_000)
BEGINNING = datetime(2026, 1, 1, 12, tzinfo=UTC)

Round = tuple[Claim, Outcome]


@dataclass(frozen=True, slots=True)
class End:
    """The required end of a round, whoever wins: the state, the attempts that count, and the
    history after an expired lease.
    """

    state: str
    attempts: int
    late: tuple[str, ...]


LATE = ("in_doubt", "late_answer")
ENDS = {
    "accepted": End("submitted", 1, LATE),
    "refused": End("failed", 1, LATE),
    "in_doubt": End("in_doubt", 1, ("in_doubt",)),
    "released": End("pending", 0, LATE),
}


def outcome(number: int) -> Outcome:
    """Return a job mostly, and sometimes another outcome."""
    others = (Refused("no", 400), InDoubt("silence"), Released("too late to send"))
    return others[number // 4 % 3] if number % 4 == 3 else Accepted(f"job-{number}", 200)


async def claimed(queue_at: str) -> list[Claim]:
    """Return every video, each under a lease that ends a minute after the one before."""
    leases = [BEGINNING + timedelta(minutes=number) for number in range(1, ROUNDS + 1)]
    async with open_database(queue_at) as database:
        return await database.write(
            lambda c: [claim(c, 1, BEGINNING, "frozen", lease)[0] for lease in leases],
            "to claim all",
        )


class Side:
    """One of the two: a thread with its event loop and its connection."""

    def __init__(self, queue_at: str, barrier: threading.Barrier) -> None:
        self._queue_at = queue_at
        self._barrier = barrier
        self._now = BEGINNING

    def play(
        self, rounds: Sequence[Round], note: Callable[[Round], Sequence[Result]]
    ) -> list[Committed]:
        """Write once for every round, when the other side does."""
        try:
            return asyncio.run(self._play(rounds, note))
        except BaseException:
            self._barrier.abort()  # nobody waits for a side that has failed
            raise

    async def _play(
        self, rounds: Sequence[Round], note: Callable[[Round], Sequence[Result]]
    ) -> list[Committed]:
        clock = Clock(now=lambda: self._now, monotonic=time.monotonic)
        work, done = transaction(clock), []
        async with open_database(self._queue_at) as database:
            for each in rounds:
                notes = note(each)
                # An answer comes just before the end, and the end is seen as soon as it is there.
                self._now = each[0].lease_until - timedelta(milliseconds=bool(notes))
                self._barrier.wait(PATIENCE_SECONDS)
                await asyncio.sleep(random.uniform(0, 0.001))  # not to wait: to be first or second
                done.append(
                    await database.write(
                        partial(work.write, results=notes, free_slots=0), "to race"
                    )
                )
        return done


def answered(each: Round) -> list[Result]:
    """Return the attempt's ending, for its own worker to write."""
    claim, came = each
    return [Result(claim=claim, outcome=came, started_at=BEGINNING)]


def enter(book: Path, rounds: Sequence[Round]) -> None:
    """Write the jobs that the API made in this play."""
    jobs = [
        Job(came.job_id, claim.request_id, claim.video.url, 0.0)
        for claim, came in rounds
        if isinstance(came, Accepted)
    ]
    book.write_text("".join(f"{json.dumps(asdict(job))}\n" for job in jobs))


def stories(queue_at: str) -> list[tuple[object, object, tuple[object, ...], object]]:
    """Return state, attempts, history and job of every video."""
    facts: dict[object, list[object]] = {}
    for row in execute(queue_at, "SELECT video_id, fact FROM history ORDER BY id"):
        facts.setdefault(row["video_id"], []).append(row["fact"])
    return [
        (row["state"], row["attempts"], tuple(facts.get(row["id"], ())), row["job_id"])
        for row in videos(queue_at)
    ]


@pytest.mark.timeout(900)
async def test_an_answer_and_the_end_of_its_lease_never_both_win(ground: Ground) -> None:
    """Two processes that write about one attempt at one moment: one of them wins and the other
    knows; the video ends as its answer says, is counted once, and its job is never lost.
    """
    urls = addresses("race", ROUNDS)
    queue_at = ground.database("queue", urls, due_at="2020-01-01 00:00:00")
    claims = await claimed(queue_at)
    rounds = [(claim, outcome(number)) for number, claim in enumerate(claims)]
    enter(ground.book, rounds)
    barrier = threading.Barrier(2)
    answers, ends = await together(
        asyncio.to_thread(Side(queue_at, barrier).play, rounds, answered),
        asyncio.to_thread(Side(queue_at, barrier).play, rounds, lambda _: ()),
    )
    won = Counter[bool]()
    for (_, came), settled, expired, told in zip(
        rounds, answers, ends, stories(queue_at), strict=True
    ):
        end, late = ENDS[came.fact], bool(expired.expired)
        won[late] += 1
        job = came.job_id if isinstance(came, Accepted) else None
        assert (end.state, end.attempts, end.late if late else (came.fact,), job) == told
        assert settled.settled[0].written is not None
    assert {True, False} == set(won)
    verdict = ground.judged(8, "finish against lease expiry", urls)
    assert ROUNDS * 3 // 4 == len(verdict.once)
