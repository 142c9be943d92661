"""Scenario 6: a list that is late, cut off, out of order, without ids, failing, huge.

The book is the judge: a video called pending again whose job is in it would be bought twice, and
one that is called submitted as a job that is not its own will never be bought.
"""

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.processes.programs import execute, read_book, states, videos
from tests.proof.commands import commands
from tests.proof.conftest import TRIED
from tests.proof.ground import FULL, Ground, addresses, hand_in, times, together
from tests.proof.judge import Tried, judge
from worker.simulator import Options, Simulator

ROUNDS = times(1, 8)
CUTS = times(1, 8)
"""Lists of a round that are cut off at a place of their own, of each kind."""

LESS_OFTEN = {"no-ids", "ids-when-finished", "two-arrays"}
"""Kinds of which such lists are shown only when there is time."""

FAILING = ("500", "404", "proxy-200", *(("401", "503", "proxy-502") if FULL else ()))

BLOCKS = 10
VIDEOS = 4 * BLOCKS + 4
"""In each block of four requests one is accepted and its answer lost, and one makes no job."""

NEVER = 10_000_000
"""Seconds of backoff after which what was called absent would be sent again."""

YOUNG_SECONDS = 300

HUGE = "huge" if FULL else "strangers-3000"

SENT_AGAIN = "a whole list: what was absent is sent again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A list to be shown. ``whole``: it settles doubts in both ways; ``vague``: it can prove no
    absence at all.
    """

    kinds: Sequence[str] = ()
    whole: bool = False
    vague: bool = False
    settle_seconds: float = 0.05
    simulator: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """A worker's remains after answers that it could not hear: a queue with doubts, and the
    book.
    """

    urls: Sequence[str]
    queue: str
    book: Path

    @property
    def lost(self) -> list[str]:
        """Return the kinds of list that hide every job whose answer was lost."""
        doubted = {row["url"] for row in videos(self.queue) if row["state"] == "in_doubt"}
        jobs = enumerate(read_book(self.book), start=1)
        return [f"hide-{number}" for number, job in jobs if job.url in doubted]


def faults() -> Iterator[tuple[int, str]]:
    """Yield troubles by request number, never enough in a row to cause a cool-down."""
    for block in range(BLOCKS):
        places = [4 * block + place for place in random.sample(range(3, 7), 2)]
        yield from zip(places, ("lost", "reset"), strict=True)


async def buy(ground: Ground, number: int) -> Bought:
    """Let a worker send videos, half of them under ids that other programs could use too."""
    urls = addresses(f"listed-{number}", VIDEOS)
    queue, book = ground.database(f"queue-{number}"), ground.folder / f"book-{number}.jsonl"
    for place, url in enumerate(urls):
        hand_in(queue, [url], media_id=str(place) if place % 2 else None)
    options = Options(book=book, script=dict(faults()), latency_seconds=0.02)
    async with Simulator(options) as simulator:
        done = await ground.run("drain", database_url=queue, api_url=simulator.url)
    assert (1, 2 * BLOCKS) == (done.code, states(queue)["in_doubt"])
    return Bought(urls=urls, queue=queue, book=book)


def cuts(way: str, *kinds: str) -> list[Shown]:
    """Return lists that are cut off somewhere."""
    jobs = VIDEOS - BLOCKS
    count = CUTS if FULL or not LESS_OFTEN.intersection(kinds) else 0
    return [Shown(kinds=[f"{way}-{n}", *kinds]) for n in random.sample(range(jobs), count)]


def misleading(bought: Bought) -> dict[str, list[Shown]]:
    """Return every list of a round, by what is said of it in the table."""
    nothing = Shown(simulator={"list_delay_seconds": 3600}, vague=True)
    unnamed = [Shown(kinds=[kind], vague=True) for kind in ("no-ids", "bare")]
    finished = [
        Shown(kinds=["ids-when-finished"], simulator={"finished_share": 0.5}),
        Shown(kinds=["ids-when-finished"], simulator={"finish_seconds": 0}, whole=True),
    ]
    signed = [Shown(kinds=[*bought.lost, sign], vague=True) for sign in ("total", "next")]
    young = Shown(kinds=bought.lost, settle_seconds=YOUNG_SECONDS, vague=True)
    return {
        "late": [nothing, *cuts("oldest")],
        "cut off": [*cuts("newest"), *cuts("oldest", "newest-20")],
        "out of order": [Shown(kinds=["shuffled"], whole=True), *cuts("newest", "shuffled")],
        "without ids": [*unnamed, *cuts("oldest", "no-ids", "shuffled")],
        "ids only for finished jobs": [*finished, *cuts("newest", "ids-when-finished")],
        "in two arrays": [
            Shown(kinds=["two-arrays", "nested", "shuffled"], whole=True),
            *cuts("newest", "two-arrays"),
        ],
        "failing": [Shown(kinds=[kind], vague=True) for kind in FAILING],
        "huge, of strangers with ids like ours": [
            Shown(kinds=[HUGE, "shuffled"], whole=True),
            Shown(kinds=[HUGE, "two-arrays"], whole=True),
        ],
        "a part, and a sign of it": signed,
        "some jobs a little later than others": [young],
    }


async def show(ground: Ground, bought: Bought, lists: Sequence[Shown]) -> list[str]:
    """Let workers settle their doubts by each of these lists, half of them while they drain; what
    became of the queue each time.
    """
    count, stem = len(lists), bought.book.stem
    copy = ground.databases.copy
    queues = [copy(bought.queue, f"{stem}-{place}") for place in range(count)]

    async def ask(command: str, places: Iterable[int]) -> None:
        wait = {"backoff_base_seconds": NEVER, "backoff_max_seconds": NEVER}
        async with commands(ground, on_doubt="reconcile", **wait) as worker:
            for place in places:
                told = lists[place]
                options = Options(
                    book=bought.book, listing=told.kinds, seed=place, **told.simulator
                )
                async with Simulator(options) as simulator:
                    await worker.run(
                        command,
                        database_url=queues[place],
                        api_url=simulator.url,
                        doubt_settle_seconds=told.settle_seconds,
                    )

    await together(ask("reconcile", range(0, count, 2)), ask("drain", range(1, count, 2)))
    return queues


def settled(queue: str) -> tuple[int, int]:
    """Return how many doubts were settled by a job, and how many by its absence."""
    found = execute(queue, "SELECT count(*) AS n FROM history WHERE fact = 'found'")
    absent = execute(queue, "SELECT count(*) AS n FROM history WHERE fact = 'absent'")
    return int(str(found[0]["n"])), int(str(absent[0]["n"]))


async def send_again(ground: Ground, bought: Bought, queue: str) -> None:
    """Send what was called absent, now that every answer is heard."""
    execute(queue, "UPDATE videos SET due_at = CURRENT_TIMESTAMP WHERE state = 'pending'")
    async with Simulator(Options(book=bought.book)) as simulator:
        await ground.run("drain", database_url=queue, api_url=simulator.url)


def enter(
    ground: Ground, tried: list[Tried], bought: Bought, what: str, queues: Sequence[str], count: int
) -> None:
    """Enter the book's verdict on these queues in the table."""
    found = judge(bought.book, bought.urls, queues)
    kind = ground.databases.kind
    tried.append(Tried(scenario=6, what=what, kind=kind, times=count, verdict=found))
    assert [] == found.broken, what


async def play(ground: Ground, tried: list[Tried], bought: Bought) -> None:
    """Show every list to a worker of its own."""
    lists = misleading(bought)
    undetectable = Shown(kinds=bought.lost)
    every = [shown for group in lists.values() for shown in group]
    *queues, deceived = await show(ground, bought, [*every, undetectable])
    told = dict(zip(map(id, every), queues, strict=True))
    for what, group in lists.items():
        mine = [told[id(shown)] for shown in group]
        enter(ground, tried, bought, f"a list: {what}", mine, len(mine))
    for shown, queue in zip(every, queues, strict=True):
        found, absent = settled(queue)
        assert (found and absent) or not shown.whole, shown.kinds
        assert not (absent and shown.vague), shown.kinds
    assert [] != judge(bought.book, bought.urls, [deceived]).broken  # as the README says
    again = next(told[id(shown)] for shown in every if shown.whole)
    await send_again(ground, bought, again)
    enter(ground, tried, bought, SENT_AGAIN, [again], settled(again)[1])
    assert {"submitted", "in_doubt"} >= set(states(again))
    for queue in (*queues, deceived):
        ground.databases.drop(queue)


@pytest.mark.timeout(900)
async def test_no_list_makes_a_worker_believe_what_is_not_so(
    ground: Ground, pytestconfig: pytest.Config
) -> None:
    """Whatever part of the truth a list shows: no video whose job exists is called absent, none is
    given a job that is not its own, and a whole list settles what it can.
    """
    for number in range(ROUNDS):
        await play(ground, pytestconfig.stash[TRIED], await buy(ground, number))


@pytest.mark.timeout(300)
async def test_a_late_list_is_not_believed_while_videos_come_in(ground: Ground) -> None:
    """Asked again and again while requests are in flight, answers are lost and the newest jobs are
    not shown yet: no video is bought twice, and in the end all are bought.
    """
    urls = addresses("late", times(40, 500))
    queue = ground.database("queue", urls)
    trouble = Options(
        book=ground.book,
        failures={"lost": 0.15, "reset": 0.15},
        script={5: "lost", 9: "reset", 14: "lost", 19: "reset"},
        seed=random.randrange(1_000_000),
        list_delay_seconds=0.6,
        latency_seconds=0.05,
    )
    async with Simulator(trouble) as simulator:
        worker: dict[str, Any] = {"database_url": queue, "api_url": simulator.url}
        pace: dict[str, Any] = {"rate": 40, "backoff_base_seconds": 0.2}
        async with commands(ground, doubt_settle_seconds=0.2, **worker, **pace) as asking:
            draining = asyncio.create_task(ground.run("drain", "--wait", **worker, **pace))
            while not draining.done():
                await asking.run("reconcile")
            simulator.options = Options(book=ground.book)
            hand_in(queue, addresses("after", 1))
            await asking.run("drain", "reconcile", "drain --wait")
    ground.judged(6, "a list: late, while videos come in", urls)
    assert 0 not in settled(queue)
    assert {"submitted", "in_doubt"} >= set(states(queue))
    assert len(urls) - 5 < states(queue)["submitted"]
