"""Scenario 17: local files. Only a whole upload is bought, and each once (law 16)."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes.programs import states, videos
from tests.proof.ground import FINISH_SECONDS, Ground, times, together
from tests.proof.uploading import (
    CHUNK_BYTES,
    STEPS,
    Holding,
    Moment,
    addresses_of,
    contents,
    let_uploads_end,
    write,
)

CHUNKS = 4
INITIALIZE, CHUNK, FINALIZE, NEW_JOB = STEPS
AT = {
    "initialize": (INITIALIZE, 1),
    "a chunk": (CHUNK, 2),
    "the last chunk": (CHUNK, CHUNKS),
    "finalize": (FINALIZE, 1),
    "new_job": (NEW_JOB, 1),
}
MOMENTS = [
    Moment(name=f"{when} {name}", step=step, number=number, is_done=when == "after")
    for name, (step, number) in AT.items()
    for when in ("before", "after")
]
OLD_HOURS = 13
"""An upload of that age is begun anew."""


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return the root of all workers."""
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


async def imitate(ground: Ground, *arguments: str) -> str:
    """Start the imitation with small chunks; its address."""
    return await ground.imitate("--chunk-bytes", str(CHUNK_BYTES), *arguments)


async def kill(ground: Ground, moment: Moment, path: Path, api: str) -> tuple[str, Holding]:
    """Kill a worker at this moment with this file; the queue that it leaves."""
    queue = ground.database(path.stem, addresses_of([path]))
    async with Holding(api, moment) as holding:
        program = await ground.start(
            "drain", database_url=queue, api_url=holding.wire.url, upload_roots=path.parent
        )
        await asyncio.wait_for(holding.reached.wait(), FINISH_SECONDS)
        program.kill()
        assert -signal.SIGKILL == (await program.ended()).code
    return queue, holding


async def finish(
    ground: Ground, moment: Moment, queue: str, api: str, media: Path, hours: float
) -> Holding:
    """Let another worker go on, when all leases are over; what it asked the API for. A purchase in
    doubt is left to a person.
    """
    let_uploads_end(queue, hours)
    async with Holding(api) as holding:
        program = await ground.start(
            "drain", database_url=queue, api_url=holding.wire.url, upload_roots=media
        )
        ended = await program.ended(patience=FINISH_SECONDS)
        assert (1 if moment.step == NEW_JOB else 0) == ended.code, ended.err
    return holding


def check(
    moment: Moment, queue: str, before: Counter[str], later: Counter[str], hours: float
) -> None:
    """Assert what was asked of the API before the kill and later, and what became of the video."""
    is_doubtful = moment.step == NEW_JOB
    state = "in_doubt" if is_doubtful else "submitted"
    assert [state] == [row["state"] for row in videos(queue)], moment
    begun = before[INITIALIZE] + later[INITIALIZE]
    assert begun == 1 if is_doubtful else begun <= 2, moment
    if moment.step == FINALIZE:  # which is in doubt, so all is done anew
        assert (1, CHUNKS, 1) == (later[INITIALIZE], later[CHUNK], later[FINALIZE]), moment
    if hours and not is_doubtful:
        assert (1, CHUNKS) == (later[INITIALIZE], later[CHUNK]), moment


@pytest.mark.timeout(times(300, 3_600))
async def test_kill_9_at_every_step_of_an_upload(ground: Ground, media: Path) -> None:
    """Wherever a worker dies: the file is bought whole and once. An upload that is old is begun
    anew, one whose finalize is in doubt too; one whose purchase is in doubt never is.
    """
    api = await imitate(ground)
    count = times(1, 30)
    paths = {
        moment: write(media, count, moment.name.replace(" ", "-"), CHUNKS - 1) for moment in MOMENTS
    }
    for number in range(count):
        for moments in (MOMENTS[::2], MOMENTS[1::2]):  # ten workers at once would be slow
            hours = OLD_HOURS * (number % 2)
            kills = [kill(ground, moment, paths[moment][number], api) for moment in moments]
            killed = await together(*kills)
            ends = [
                finish(ground, moment, queue, api, media, hours)
                for moment, (queue, _) in zip(moments, killed, strict=True)
            ]
            after = await together(*ends)
            for moment, (queue, before), later in zip(moments, killed, after, strict=True):
                check(moment, queue, before.came, later.came, hours)
    everything = [path for own in paths.values() for path in own]
    uploaded = contents(ground.book, everything)
    for moment in MOMENTS:
        urls = addresses_of(paths[moment])
        verdict = ground.judged(17, f"kill -9 {moment.name}", urls, uploaded=uploaded)
        is_bought = moment.step != NEW_JOB or moment.is_done
        assert (urls if is_bought else []) == verdict.once
        assert (urls if moment.step == NEW_JOB else []) == verdict.in_doubt


def edit(path: Path) -> None:
    """Write other bytes into the file."""
    with path.open("r+b") as file:
        file.seek(10)
        file.write(os.urandom(100))


def cut(path: Path) -> None:
    """Take the end off."""
    os.truncate(path, path.stat().st_size - CHUNK_BYTES)


def grow(path: Path) -> None:
    """Write on at the end."""
    with path.open("ab") as file:
        file.write(os.urandom(3 * CHUNK_BYTES))


def replace(path: Path) -> None:
    """Put another file in its place, of the same size and time."""
    other, found = path.with_suffix(".new"), path.stat()
    other.write_bytes(os.urandom(found.st_size))
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.rename(path)


def link_out(path: Path) -> None:
    """Put a link to somebody else's file in its place."""
    other = path.parent.parent / f"secret-{path.name}"
    other.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(other)


def link_twice(path: Path) -> None:
    """Give it a second name."""
    path.with_suffix(".twin").hardlink_to(path)


def empty(path: Path) -> None:
    """Take all bytes out."""
    os.truncate(path, 0)


def become_folder(path: Path) -> None:
    """Put a folder in its place, which nobody can read as a file, not even root."""
    path.unlink()
    path.mkdir()


def vanish(path: Path) -> None:
    """Take it away."""
    path.unlink()


FINE, FAILED, LEFT = 0, 1, 75
"""The code of a drain by what became of the video; it leaves one to those who have its file."""

CHANGES: dict[Callable[[Path], None], int] = dict.fromkeys((edit, cut, grow, replace), FINE)
CHANGES |= dict.fromkeys((link_out, link_twice, empty, become_folder), FAILED) | {vanish: LEFT}
"""The ways in which a file changes while it is read, with the code of the drain."""


async def change(ground: Ground, way: Callable[[Path], None], path: Path, api: str) -> Holding:
    """Let the file change while its second chunk is on the way."""
    queue = ground.database(path.stem, addresses_of([path]))
    held = Moment(name="", step=CHUNK, number=2, is_done=True)
    async with Holding(api, held) as holding:
        program = await ground.start(
            *("drain", "--wait"),
            database_url=queue,
            api_url=holding.wire.url,
            upload_roots=path.parent,
            backoff_base_seconds=0.05,
        )
        await asyncio.wait_for(holding.reached.wait(), FINISH_SECONDS)
        way(path)
        holding.go.set()
        ended = await program.ended(patience=FINISH_SECONDS)
        assert CHANGES[way] == ended.code, ended.err
    return holding


@pytest.mark.timeout(times(300, 1_800))
async def test_a_file_that_changes_while_it_is_sent(ground: Ground, media: Path) -> None:
    """It is bought as it is in the end, whole, or not at all: never a part of two files."""
    api, count = await imitate(ground), times(1, 10)
    ways = list(CHANGES)
    paths = {way: write(media, count, way.__name__.replace("_", "-")) for way in ways}
    for number in range(count):
        for some in (ways[:5], ways[5:]):
            await together(*(change(ground, way, paths[way][number], api) for way in some))
    everything = [path for own in paths.values() for path in own]
    left = [path for path in everything if path.is_file() and not path.is_symlink()]
    uploaded = contents(ground.book, left)
    for way, code in CHANGES.items():
        urls = addresses_of(paths[way])
        verdict = ground.judged(17, f"a file changes: {way.__name__}", urls, uploaded=uploaded)
        assert (urls if code == FINE else []) == verdict.once
        assert [] == verdict.in_doubt


FAULTS = {
    "initialize": ("500", "lost", "reset", "unknown", "no-chunks"),
    "chunk": ("429", "500", "lost", "lost-502", "reset", "half", "forgotten", "unkept", "doubled"),
    "finalize": ("503", "lost", "lost-fin", "reset", "forgotten", "not-json"),
}
SHARE = 0.01


async def cut_off(ground: Ground, queue: str, worker: dict[str, Any]) -> int:
    """Kill a worker at a random moment of its work, if it has not ended by itself; its code."""
    program = await ground.start("drain", "--wait", database_url=queue, **worker)
    reached = asyncio.create_task(program.logged("upload_ended", random.randrange(1, 6)))
    ended = asyncio.create_task(program.ended(patience=FINISH_SECONDS))
    await asyncio.wait({reached, ended}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(random.uniform(0, 0.1))  # not to wait: to hit any step of the next ones
    if not ended.done():
        program.kill()
    await asyncio.gather(reached, ended, return_exceptions=True)
    return ended.result().code


@pytest.mark.timeout(times(300, 3_600))
async def test_two_workers_are_killed_among_faults(ground: Ground, media: Path) -> None:
    """Two workers with the same root, killed at random and robbed of their leases: no file is
    bought twice or in part, and none is lost. One whose upload ends without an address fails, and
    one whose end is refused at last, as where the API has lost a chunk.
    """
    count, restarts = times(20, 300), times(3, 40)
    paths = write(media, count, "any", chunks=6)
    urls = addresses_of(paths)
    queue = ground.database("queue", urls)
    faults = [f"{step}:{kind}={SHARE}" for step, kinds in FAULTS.items() for kind in kinds]
    words = [word for fault in faults for word in ("--upload-fail", fault)]
    seed = str(random.randrange(1_000_000))
    worker: dict[str, Any] = {
        "api_url": await imitate(ground, "--seed", seed, "--fail", "lost=0.02", *words),
        "upload_roots": media,
        "timeout_seconds": 2,
        "backoff_base_seconds": 0.05,
        "max_attempts": 20,
    }
    codes: list[int] = []
    for _ in range(restarts):
        codes += await together(*(cut_off(ground, queue, worker) for _ in range(2)))
        let_uploads_end(queue)
    for _ in range(10):
        last = await ground.start("drain", "--wait", database_url=queue, **worker)
        await last.ended(patience=FINISH_SECONDS)
        let_uploads_end(queue)
        if {"submitted", "failed", "in_doubt"} >= set(states(queue)):
            break
    uploaded = contents(ground.book, paths)
    verdict = ground.judged(17, "two workers, kill -9 and faults", urls, uploaded=uploaded)
    assert -signal.SIGKILL in codes
    odd = [row["url"] for row in videos(queue) if row["state"] == "failed" and row["error"]]
    assert count == len({*verdict.once, *verdict.in_doubt, *odd})
    assert len(verdict.in_doubt) + len(odd) < count / 2
    assert len(uploaded) >= len({*uploaded.values()}) >= count - len(odd)
