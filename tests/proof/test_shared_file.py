"""Scenario 9: six processes on one database, and an SQLite file that cannot be used."""

import asyncio
import os
import random
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.plain import session
from tests.processes.programs import OBEY_MODES, Ended, Program, videos, within
from tests.proof.ground import FULL, Ground, addresses, times
from worker.simulator import Options, Simulator

PROCESSES = 6

HELD_SECONDS = (5, 1, 20) if FULL else (5, 1)
"""Seconds that a writer holds the lock: before the first claim, then while answers come."""

FAULTS = dict.fromkeys(("lost", "lost-502", "reset", "500", "503"), 0.01)
"""One request in twenty."""

DOUBTFUL = {"lost", "lost-502", "reset"}

EACH = 40
"""Videos of a queue whose file is spoilt."""

SMALLEST_BYTES = 32_768
"""Of a file, with which SQLite can work at all: its shared memory has this size."""


@asynccontextmanager
async def imitation(ground: Ground, **options: Any) -> AsyncIterator[Simulator]:  # noqa: ANN401
    """Yield the API within the test; its book is the judge's."""
    async with Simulator(Options(book=ground.book, **options)) as simulator:
        yield simulator


async def hold(queue: str, seconds: float) -> None:
    """Keep all other processes from writing for that long."""
    with session(queue) as other:
        other.lock()
        await asyncio.sleep(seconds)  # not to wait: the lock is held for a time
        other.execute("ROLLBACK")


@pytest.mark.timeout(600)
async def test_six_processes_share_one_database(ground: Ground) -> None:
    """Six workers on one database, among faults and a writer that keeps them all waiting, send no
    video twice and lose no answer, and not one of them breaks.
    """
    urls = addresses("shared", times(60, 5_000))
    queue = ground.database("shared", urls)
    async with imitation(ground, latency_seconds=0.05, failures=FAULTS) as api:
        worker: dict[str, Any] = {
            "database_url": queue,
            "api_url": api.url,
            "rate": times(100, 200),
        }
        holding = asyncio.create_task(hold(queue, HELD_SECONDS[0]))
        more: dict[str, Any] = {"backoff_base_seconds": 0.05, "timeout_seconds": 60}
        drains = [await ground.start("drain", "--wait", **worker, **more) for _ in range(PROCESSES)]
        await holding
        for number, seconds in enumerate(HELD_SECONDS[1:], 1):
            share = number * len(urls) // len(HELD_SECONDS)
            await within(api.wait_for_requests(share))
            await hold(queue, seconds)
        ended = [await drain.ended() for drain in drains]
        assert {0, 1} >= {done.code for done in ended}
        assert [] == [done.err for done in ended if "locked" in done.err or "Trace" in done.err]
        begun = [len(done.events("attempt_ended")) for done in ended]
        assert len(api.requests) == sum(begun)
        doubtful = {request.url for request in api.requests if request.kind in DOUBTFUL}
    verdict = ground.judged(9, "six processes, and a writer that holds the lock", urls)
    assert sorted(map(str, doubtful)) == sorted(verdict.in_doubt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One queue and what is done to its file."""

    ground: Ground
    api: Simulator
    queue: Path
    urls: Sequence[str]

    async def drain(self, **more: Any) -> Program:  # noqa: ANN401
        """Return a worker on the queue."""
        worker: dict[str, Any] = {"database_url": self.queue, "api_url": self.api.url}
        return await self.ground.start("drain", **worker, **more, grace_seconds=1)

    async def in_full_work(self) -> Program:
        """Return a worker that has sent a random share of the queue."""
        program = await self.drain()
        share = random.randrange(2, EACH // 4)
        await within(self.api.wait_until(lambda: len(self.sent()) >= share))
        return program

    def sent(self) -> set[str]:
        """Return the videos of this queue of which the API has heard."""
        return {str(request.url) for request in self.api.requests} & set(self.urls)


async def full_disk(scene: Scene) -> None:
    """Stop the worker's files from growing, while it has answers to write and more to send."""
    with long_log(scene.queue) as log:
        program = await scene.in_full_work()
        size = log.stat().st_size
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        told(await program.ended(), "the disk")
    assert 0 < len(scene.sent()) < EACH


async def read_only(scene: Scene) -> None:
    """Make the file and its folder read-only."""
    with without_right(scene.queue):
        program = await scene.drain(program=("-c", OBEY_MODES, "-m", "worker"))
        told(await program.ended(), "read-only")
    assert set() == scene.sent()


async def damaged(scene: Scene) -> None:
    """Damage, cut or replace the file; then restore it from a copy."""
    good = scene.queue.read_bytes()
    noise = good[:4096] + random.randbytes(len(good) - 4096)
    kinds = [(noise, "damaged"), (good[:9000], "damaged"), (b"no" * 9000, "no SQLite")]
    for bad, why in random.sample(kinds, times(1, len(kinds))):
        scene.queue.write_bytes(bad)
        program = await scene.drain()
        told(await program.ended(), why)
        clear(scene.queue)
    scene.queue.write_bytes(good)
    assert set() == scene.sent()


async def deleted(scene: Scene) -> None:
    """Remove the file while the worker has it open; then put it back."""
    program = await scene.in_full_work()
    files = [*scene.queue.parent.glob("queue.db*")]
    for file in files:
        os.link(file, file.with_name(f"aside-{file.name}"))
    for file in files:
        file.unlink()
    told(await program.ended(), "removed or replaced")
    assert not scene.queue.exists()
    for file in files:
        if not file.name.endswith("shm"):
            file.with_name(f"aside-{file.name}").rename(file)
    assert 0 < len(scene.sent()) < EACH


SCENES: Mapping[str, Callable[[Scene], Awaitable[None]]] = {
    "a full disk": full_disk,
    "a read-only file": read_only,
    "a damaged file": damaged,
    "a deleted file": deleted,
}


@pytest.mark.usefixtures("path")
@pytest.mark.timeout(600)
async def test_a_file_that_cannot_be_used_stops_the_sending(ground: Ground) -> None:
    """Where an intent cannot be written nothing is sent, be the disk full, the file read-only,
    damaged or gone; when that is mended, all videos come in, none twice.
    """
    urls: dict[str, list[str]] = {what: [] for what in SCENES}
    async with imitation(ground, latency_seconds=0.1) as api:
        for number in range(times(1, 20)):
            queues = []
            async with asyncio.TaskGroup() as playing:
                for what, play in SCENES.items():
                    name = f"{what.replace(' ', '-')}-{number}"
                    (ground.folder / name).mkdir()
                    mine = addresses(name, EACH)
                    queues.append(ground.database(f"{name}/queue", mine))
                    urls[what] += mine
                    scene = Scene(ground=ground, api=api, queue=Path(queues[-1]), urls=mine)
                    playing.create_task(played(scene, play))
            await ground.finish(*queues, api_url=api.url)
    for what, mine in urls.items():
        verdict = ground.judged(9, what, mine)
        assert sorted(mine) == sorted(verdict.once)


async def played(scene: Scene, play: Callable[[Scene], Awaitable[None]]) -> None:
    """Play it; of all that was sent, the intent is on disk (laws 1 and 9)."""
    await play(scene)
    intended = {row["url"] for row in videos(scene.queue) if row["claims"]}
    assert set() == scene.sent() - intended


def told(done: Ended, why: str) -> None:
    """Check that the worker ended with a sentence about the disk."""
    assert (78, []) == (done.code, [line for line in done.err.splitlines() if "Trace" in line])
    assert any(why in sentence for sentence in done.sentences), done.err


@contextmanager
def long_log(path: Path) -> Iterator[Path]:
    """Yield the database's write-ahead log, kept and made as long as SQLite needs a file to be."""
    log = path.with_name(f"{path.name}-wal")
    with session(str(path)) as other:
        while not log.exists() or log.stat().st_size < SMALLEST_BYTES:
            other.execute("UPDATE account SET id = id")
            other.execute("UPDATE videos SET priority = priority")
        yield log


@contextmanager
def without_right(path: Path) -> Iterator[None]:
    """Take away the right to write to a file, and to make others beside it."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    yield
    path.parent.chmod(0o755)
    path.chmod(0o644)


def clear(path: Path) -> None:
    """Leave nothing of a database."""
    for part in path.parent.glob(f"{path.name}*"):
        part.unlink()
