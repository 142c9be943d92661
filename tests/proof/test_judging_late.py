"""Scenario 12: a verdict that comes too late, a poisoned row among good ones, and one that is
always turned away.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.plain import is_server
from tests.processes.programs import execute, videos, within
from tests.proof.between import (
    Between,
    Forward,
    Trouble,
    accept_but_say,
    end_before,
    only_say,
    reset_after,
    serve,
)
from tests.proof.ground import Ground, addresses, among_served, hand_in, times
from tests.wire import Line, Wire, answer
from worker.simulator import Options, Simulator

REFUSED = only_say(answer(b'{"errors": [{"message": "no"}]}', "401 Unauthorized"))
SLOW = answer(b'{"errors": [{"message": "slow"}]}', "429 Too Many Requests", Retry_After="1")

POISON: Mapping[str, Sequence[tuple[str, bytes]]] = {
    "sqlite": (
        ("title", b"\xff"),
        ("media_id", b"m\xff"),
        ("title", b"\xed\xa0\x80"),
        ("due_at", b"9999-12-31 23:59:59.999999"),
        ("due_at", b"1970-01-01 00:00:00"),
    ),
    "postgresql": (
        ("title", b"\x01\x7f\xef\xbf\xbe"),
        ("media_id", b"m" * 100_000),
        ("callback_url", b"http://\x7f"),
        ("due_at", b"9999-12-30 23:59:59.999999+00"),
        ("due_at", b"1970-01-01 05:00:00+05"),
        ("priority", str(2**63 - 1).encode()),
        ("priority", str(-(2**63)).encode()),
    ),
}
"""Columns with what each kind of database takes: bytes that are no UTF-8, half a character, signs
that are none, moments and numbers at the ends of their worlds.
"""


ROWS = ("poison", "turned-away", "strayed")

ALWAYS = ["https://videos.example/always-401/0.mp4", "https://videos.example/always-429/0.mp4"]
STRAY = addresses("stray-401", 1)

TURNED_AWAY: dict[str, tuple[Trouble, ...]] = {
    "always-401": (REFUSED,),
    "always-429": (only_say(SLOW),),
    "stray-401": (REFUSED, serve),
    "surrogate": (accept_but_say(answer(b'{"job_id": "\\ud800-7"}')),),
}

MEND = (
    "UPDATE videos SET title = 'A', callback_url = NULL, media_id = 'mended-' || id, "
    "due_at = CURRENT_TIMESTAMP WHERE state IN ('pending', 'failed')"
)


def poisoned(column: str, value: bytes) -> str:
    """Return the address of a row with this column."""
    return f"https://videos.example/poisoned/{column}-{value[:30].hex()}.mp4"


@asynccontextmanager
async def imitation(ground: Ground) -> AsyncIterator[Simulator]:
    """Yield the API within the test, which may change its mind; its book is the judge's."""
    async with Simulator(Options(book=ground.book)) as simulator:
        yield simulator


class HeldList:
    """Answers a question for the list only when told to, with what was true when it was asked."""

    def __init__(self, api: str) -> None:
        self._api = urlsplit(api)
        self.asked, self.told = asyncio.Event(), asyncio.Event()
        self.wire = Wire(self._serve)

    async def _serve(self, line: Line) -> None:
        reader, writer = await asyncio.open_connection(self._api.hostname, self._api.port)
        api = Line(reader, writer)
        api.say(await line.request())
        shown = await api.request()
        api.end()
        self.asked.set()
        await self.told.wait()
        line.say(shown)


def held(reached: asyncio.Event, told: asyncio.Event) -> Trouble:
    """Accept the request and answer only when released."""

    async def say(line: Line, forward: Forward) -> None:
        shown = await forward()
        reached.set()
        await told.wait()
        line.say(shown)

    return say


@pytest.mark.timeout(300)
async def test_a_verdict_that_comes_too_late_is_dropped(ground: Ground) -> None:
    """A list's proof about a first attempt is none about a second one that a person has wanted.
    A video that the second one bought is not sent a third time.
    """
    rounds = times(1, 20)
    ended, on_its_way = addresses("late-ended", rounds), addresses("late-on-its-way", rounds)
    queue = ground.database("late")
    async with imitation(ground) as api:
        for place in range(rounds):
            troubled = [ended[place], on_its_way[place]]
            hand_in(queue, [*among_served(troubled), *addresses(f"after/{place}", 1)])
            await judge_late(ground, queue, api.url)
        await ground.finish(queue, api_url=api.url)
    verdict = ground.judged(12, "a verdict too late: attempt 2 in doubt by then", ended)
    # What the second attempts bought is found by the question of the next round.
    assert (ended, ended[-1:]) == (verdict.once, verdict.in_doubt)
    verdict = ground.judged(12, "a verdict too late: attempt 2 on its way", on_its_way)
    assert (on_its_way, []) == (verdict.once, verdict.in_doubt)


async def judge_late(ground: Ground, queue: str, api: str) -> None:
    """Have both videos' first attempts judged while their second ones are under way."""
    reached, answered = asyncio.Event(), asyncio.Event()
    troubles = {
        "late-ended": (end_before, reset_after),
        "late-on-its-way": (end_before, held(reached, answered)),
    }
    late = HeldList(api)
    async with Between(api, troubles) as between, late.wire:
        worker: dict[str, Any] = {"database_url": queue, "doubt_settle_seconds": 0}
        through = {**worker, "api_url": between.url, "concurrency": 1}
        assert 1 == (await ground.run("drain", **through)).code
        doubts = [row["id"] for row in videos(queue) if row["state"] == "in_doubt"][-2:]
        judging = await ground.start("reconcile", api_url=late.wire.url, **worker)
        await within(late.asked.wait())
        retry = ("retry", "--may-buy-twice", "--yes", *map(str, doubts))
        assert 0 == (await ground.run(*retry, **worker)).code
        sending = await ground.start("drain", **through)
        await within(reached.wait())
        late.told.set()
        assert {0, 1} >= {(await judging.ended()).code}
        rows = {row["id"]: row["state"] for row in videos(queue)}
        assert ["in_doubt", "submitting"] == [rows[video] for video in doubts]
        answered.set()
        assert 1 == (await sending.ended()).code
    assert [2, 2] == [between.met[str(row["url"])] for row in videos(queue) if row["id"] in doubts]


@pytest.mark.timeout(300)
async def test_one_row_among_good_ones_stops_nobody(ground: Ground) -> None:
    """Bytes that are no text, an answer that no file takes, a row that is always turned away, one
    stray refusal: the other videos come in, and what was mended comes in after them.
    """
    good = {name: addresses(f"beside-{name}", times(10, 500)) for name in ROWS}
    queues = {name: ground.database(name, good[name][:3]) for name in ROWS}
    poison, turned_away, strayed = queues.values()
    poisons = POISON[ground.databases.kind]
    for column, value in poisons:
        hand_in_poisoned(poison, column, value)
    hand_in(poison, addresses("surrogate", 2))
    hand_in(turned_away, ALWAYS)
    hand_in(strayed, STRAY)
    for name, queue in queues.items():
        hand_in(queue, good[name][3:])
    async with imitation(ground) as api, Between(api.url, TURNED_AWAY) as between:
        worker: dict[str, Any] = {"api_url": between.url, "backoff_base_seconds": 0.05}
        drains = [("drain",), ("drain",), ("drain", "--wait")]
        runs = zip(drains, queues.values(), strict=True)
        done = await asyncio.gather(*(ground.run(*d, database_url=q, **worker) for d, q in runs))
        assert [1, 1, 0] == [each.code for each in done]
        left = {row["url"]: row["state"] for row in videos(turned_away)}
        assert ["failed", "pending"] == [left[url] for url in ALWAYS]
        execute(poison, MEND)
        retry = ("retry", "--state", "failed", "--yes")
        again = (ground.run(*retry, database_url=queue) for queue in (poison, turned_away))
        assert [0, 0] == [each.code for each in await asyncio.gather(*again)]
        await ground.finish(poison, turned_away, api_url=api.url)
    for name in ROWS:
        verdict = ground.judged(12, f"good rows beside {name}", good[name])
        assert (good[name], []) == (verdict.once, verdict.in_doubt)
    mended = [*(poisoned(*each) for each in poisons), *ALWAYS, *STRAY]
    verdict = ground.judged(12, "the rows themselves, mended", mended)
    assert (sorted(mended), []) == (sorted(verdict.once), verdict.in_doubt)


def hand_in_poisoned(queue: str, column: str, value: bytes) -> None:
    """Put a video in the queue as a program might that does not mind what it writes."""
    if is_server(queue):
        hand_in(queue, [poisoned(column, value)], **{column: value.decode()})
    else:
        sql = f"INSERT INTO videos (url, {column}) VALUES (?, CAST(? AS TEXT))"
        execute(queue, sql, poisoned(column, value), value)
