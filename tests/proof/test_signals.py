"""Scenario 10: signals, once and twice, wherever a process stands: exit codes, states, time."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.processes.programs import Ended, Program, execute, states, within
from tests.proof.ground import FULL, Ground, addresses
from worker.simulator import Limit, Options, Simulator

AT_ONCE_SECONDS = 5.0
"""Seconds that an end may take on a busy machine without a timeout or a cool-down."""

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
"""The exit code of an end by a signal in a shell."""

UNTOLD = {-signal.SIGTERM, -signal.SIGINT, 1}
"""The end of a Python that has not come to the program yet."""

UNREAD = 5_000
"""Lines that do not fit into a pipe whose reader has not come yet."""

EACH = 20
"""Videos of a scene."""


HANGING = {"script": dict.fromkeys(range(2, EACH), "stall")}
"""After its first answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A worker, and the API that it works with."""

    api: Simulator
    program: Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One process and one signal; ``urls`` are on its queue."""

    name: str
    ground: Ground
    queue: str
    urls: Sequence[str]
    command: str
    number: signal.Signals

    @asynccontextmanager
    async def working(self, options: Mapping[str, Any], **more: object) -> AsyncIterator[Work]:
        """Yield a worker on the queue, and an API of its own that behaves so."""
        async with Simulator(Options(book=self.ground.book, **options)) as api:
            worker: dict[str, Any] = {"database_url": self.queue, "api_url": api.url, **more}
            yield Work(api=api, program=await self.ground.start(self.command, **worker))

    async def stopped(self, program: Program, *, signals: int = 1) -> Ended:
        """Send the signal, and once more when it is heard; the end, which comes at once."""
        began = time.monotonic()
        program.signal(self.number)
        if signals > 1:
            await program.logged("run_stopping")
            program.signal(self.number)
        done = await program.ended()
        assert AT_ONCE_SECONDS > time.monotonic() - began
        assert CODES[self.number] == done.code
        assert "Traceback" not in done.err
        return done


async def at_work(scene: Scene) -> None:
    """Signal with requests in flight that are answered within the grace."""
    async with scene.working({"latency_seconds": 0.3}) as work:
        await within(work.api.wait_for_requests(random.randrange(1, EACH - 8)))
        await scene.stopped(work.program)
    assert {"submitted", "pending"} >= set(states(scene.queue))


async def in_a_cool_down(scene: Scene) -> None:
    """Signal during a very long cool-down."""
    async with scene.working({"limit": Limit(3, 50)}) as work:
        await work.program.logged("attempt_ended", outcome="throttled")
        await scene.stopped(work.program)
    assert {"submitted": 3, "pending": EACH - 3} == states(scene.queue)


async def at_a_hung_server(scene: Scene) -> None:
    """Signal with a short grace while no request is answered."""
    async with scene.working(HANGING, grace_seconds=0.2) as work:
        await hung(work)
        await scene.stopped(work.program)
    assert {"submitted": 1, "in_doubt": 4, "pending": EACH - 5} == states(scene.queue)


async def twice_at_a_hung_server(scene: Scene) -> None:
    """Signal with a long grace while no request is answered."""
    async with scene.working(HANGING, grace_seconds=600, timeout_seconds=600) as work:
        await hung(work)
        await scene.stopped(work.program, signals=2)
    assert {"submitted": 1, "in_doubt": 4, "pending": EACH - 5} == states(scene.queue)


async def at_its_start(scene: Scene) -> None:
    """Signal at the start, before or after the handler is set."""
    async with scene.working({"latency_seconds": 0.05}) as work:
        await asyncio.sleep(random.uniform(0, 1.5))  # not to wait: to hit any step of the start
        work.program.signal(scene.number)
        assert {CODES[scene.number], 0, *UNTOLD} >= {(await work.program.ended()).code}
    assert {"submitted", "pending"} >= set(states(scene.queue))


async def in_an_import(scene: Scene) -> None:
    """Half of the list has come; the same command is repeated with all of it."""
    execute(scene.queue, "DELETE FROM videos")
    lines = ["url\n", *(f"{url}\n" for url in scene.urls)]
    program = await scene.ground.start("import", "-", database_url=scene.queue)
    program.stdin.transport.set_write_buffer_limits(high=0)
    half = lines[: EACH // 2] + lines[1:2] * UNREAD
    program.stdin.writelines(line.encode() for line in half)
    await within(program.stdin.drain())
    done = await scene.stopped(program)
    assert any("the same list again goes on" in sentence for sentence in done.sentences)
    whole = scene.ground.folder / f"{scene.name}.csv"
    whole.write_text("".join(lines))
    again = await scene.ground.run("import", str(whole), database_url=scene.queue)
    assert (0, {"pending": EACH}) == (again.code, states(scene.queue))


async def hung(work: Work) -> None:
    """Wait until the first request is settled, and all slots hang."""
    await work.program.logged("attempt_ended", status=200)
    await within(work.api.wait_for_requests(5))


SCENES: Mapping[str, Callable[[Scene], Coroutine[None, None, None]]] = {
    "at work": at_work,
    "in a cool-down": in_a_cool_down,
    "at a hung server": at_a_hung_server,
    "twice, at a hung server": twice_at_a_hung_server,
    "at its start": at_its_start,
    "in an import": in_an_import,
}


def plan() -> Sequence[tuple[str, signal.Signals]]:
    """Return the commands and signals of the rounds."""
    both = [(command, number) for number in CODES for command in ("drain", "run")]
    return both * 5 if FULL else random.sample(both, 1)


@pytest.mark.timeout(1800)
async def test_a_signal_ends_a_process_in_order(ground: Ground) -> None:
    """Wherever it stands, a process that is told to end does so at once, says by its exit code why,
    leaves the table true, and whoever goes on sends nothing twice.
    """
    urls: dict[str, list[str]] = {what: [] for what in SCENES}
    for place, (command, number) in enumerate(plan()):
        queues = []
        async with asyncio.TaskGroup() as playing:
            for what, play in SCENES.items():
                name = f"{what.replace(' ', '-').replace(',', '')}-{place}"
                mine = addresses(name, EACH)
                queues.append(ground.database(name, mine))
                urls[what] += mine
                scene = Scene(
                    name=name,
                    ground=ground,
                    queue=queues[-1],
                    urls=mine,
                    command=command,
                    number=number,
                )
                playing.create_task(play(scene))
        await finish(ground, queues)
    for what, mine in urls.items():
        verdict = ground.judged(10, f"a signal {what}", mine, count=len(plan()))
        assert sorted(mine) == sorted(verdict.once)
        assert ("hung" in what) == bool(verdict.in_doubt)


async def finish(ground: Ground, queues: Sequence[str]) -> None:
    """Let a worker drain the rest without a signal."""
    async with Simulator(Options(book=ground.book)) as api:
        await ground.finish(*queues, api_url=api.url)
