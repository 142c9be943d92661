"""Scenario 2: kill -9 at every named point between "claimed" and "settled"."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.plain import session
from tests.processes.programs import Program, videos, within
from tests.proof.between import Between, Forward, Trouble, serve
from tests.proof.ground import Ground, addresses, hand_in, served, times, together
from tests.proof.pausing import INTENT, REACHED, SETTLE
from tests.wire import LOOPBACK, Line, narrow

LONG = "x" * 400_000
"""A description that does not fit into what a connection takes in unread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One kill: where it is played, the queue, and the address of the imitation."""

    ground: Ground
    queue: str
    api: str

    async def worker(self, api_url: str) -> Program:
        """Return a worker on the queue."""
        return await self.ground.start("drain", database_url=self.queue, api_url=api_url)


At = Callable[[Scene], AbstractAsyncContextManager[Program]]
"""Brings a worker to its point, and clears up when it has been killed there."""


def in_its_writing(point: str) -> At:
    """Return a worker that stops by itself around a commit."""

    @asynccontextmanager
    async def at(scene: Scene) -> AsyncIterator[Program]:
        program = await scene.ground.start(
            point,
            program=("-m", "tests.proof.pausing"),
            database_url=scene.queue,
            api_url=scene.api,
        )
        await program.printed(f"{REACHED}{point}")
        yield program

    return at


def unread(scheme: str, taken: int) -> At:
    """Return a server that takes a connection and reads ``taken`` bytes of what comes on it."""

    @asynccontextmanager
    async def at(scene: Scene) -> AsyncIterator[Program]:
        loop = asyncio.get_running_loop()
        with narrow() as listening:
            listening.setblocking(False)  # noqa: FBT003 - its only parameter
            url = f"{scheme}://{LOOPBACK}:{listening.getsockname()[1]}/core/1.0"
            program = await scene.worker(url)
            accepted, _ = await within(loop.sock_accept(listening))
            with accepted:
                if taken:
                    assert b"P" == await within(loop.sock_recv(accepted, taken))
                yield program

    return at


def unanswered(trouble: Callable[[asyncio.Event], Trouble]) -> At:
    """Return a server that leaves the first video's request unanswered at its event."""

    @asynccontextmanager
    async def at(scene: Scene) -> AsyncIterator[Program]:
        reached = asyncio.Event()
        async with Between(scene.api, {"killed": (trouble(reached),)}) as between:
            program = await scene.worker(between.url)
            await within(reached.wait())
            yield program

    return at


def head_only(reached: asyncio.Event) -> Trouble:
    """Accept the request and send the head of the answer without its body."""

    async def say(line: Line, forward: Forward) -> None:
        head, _ = (await forward()).split(b"\r\n\r\n", 1)
        line.say(head + b"\r\n\r\n")
        reached.set()
        await line.rest()

    return say


def nothing_at_all(reached: asyncio.Event) -> Trouble:
    """Accept the request and send nothing."""

    async def say(line: Line, forward: Forward) -> None:
        await forward()
        reached.set()
        await line.rest()

    return say


@asynccontextmanager
async def locked_out(scene: Scene) -> AsyncIterator[Program]:
    """Hold the database's lock when the answer has come."""
    with session(scene.queue) as other:

        async def lock(line: Line, forward: Forward) -> None:
            other.lock()
            await serve(line, forward)

        async with Between(scene.api, {"killed": (lock,)}) as between:
            program = await scene.worker(between.url)
            await program.logged("attempt_ended", outcome="accepted")
            yield program
        other.execute("ROLLBACK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A named point: what a kill there leaves, what it becomes when the lease is over, and whether
    the video is on the book in the end.
    """

    name: str
    at: At
    left: str = "submitting"
    becomes: str = "in_doubt"
    bought: bool = False


POINTS = (
    Point(
        name=INTENT[0],
        at=in_its_writing(INTENT[0]),
        left="pending",
        becomes="submitted",
        bought=True,
    ),
    Point(name=INTENT[1], at=in_its_writing(INTENT[1])),
    Point(name="after connect", at=unread("https", 0)),
    Point(name="after the first byte", at=unread("http", 1)),
    Point(name="after the last byte", at=unanswered(nothing_at_all), bought=True),
    Point(name="after the response head", at=unanswered(head_only), bought=True),
    Point(name="after the answer, before the settle", at=locked_out, bought=True),
    Point(name=SETTLE[0], at=in_its_writing(SETTLE[0]), bought=True),
    Point(
        name=SETTLE[1],
        at=in_its_writing(SETTLE[1]),
        left="submitted",
        becomes="submitted",
        bought=True,
    ),
)


def states(queue: str) -> list[object]:
    """Return the states of the video at the point and of the next one."""
    return [row["state"] for row in videos(queue)]


async def kill(ground: Ground, point: Point, url: str, api: str) -> str:
    """Kill a worker at the point with this video; the queue that it leaves."""
    queue = ground.database(url.split("/", 3)[3].replace("/", "-"))
    hand_in(queue, [url], description=LONG)
    async with point.at(Scene(ground=ground, queue=queue, api=api)) as program:
        program.kill()
        assert -signal.SIGKILL == (await program.ended()).code
    assert [point.left] == states(queue), point.name
    hand_in(queue, [served(url)])  # not before: its claim may go into the transaction that settles
    return queue


@pytest.mark.timeout(600)
async def test_kill_9_at_every_named_point(ground: Ground) -> None:
    """Wherever between claim and settle a worker dies: what certainly was not sent is sent once,
    what perhaps was is in doubt, what was settled stays, and the next video comes in.
    """
    count = times(1, 10)
    api = await ground.imitate()
    urls = {point: addresses(f"killed/{point.name.replace(' ', '-')}", count) for point in POINTS}
    for number in range(count):
        kills = [kill(ground, point, urls[point][number], api) for point in POINTS]
        queues = await together(*kills)
        await ground.finish(*queues, api_url=api)
        ends = [states(queue) for queue in queues]
        assert [[point.becomes, "submitted"] for point in POINTS] == ends
    for point in POINTS:
        verdict = ground.judged(2, f"kill -9 {point.name}", urls[point])
        assert (urls[point] if point.bought else []) == verdict.once
        assert (urls[point] if point.becomes == "in_doubt" else []) == verdict.in_doubt
