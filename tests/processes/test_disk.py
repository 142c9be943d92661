# ruff: noqa: ASYNC240 - moving a small file holds up nobody
import asyncio
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes.programs import (
    LIMIT_FILES,
    OBEY_MODES,
    Ended,
    Programs,
    add_videos,
    bought_twice,
    let_leases_end,
    states,
    unknown,
    videos,
    within,
)
from worker.simulator import Limit, Options, Simulator

pytestmark = pytest.mark.slow

SMALLEST_BYTES = 32_768
"""Of a file, with which SQLite can work at all: its shared memory has this size."""


def trace(done: Ended) -> list[str]:
    """Return the lines of stderr with a traceback."""
    return [line for line in done.err.splitlines() if "Traceback" in line or "exception" in line]


@contextmanager
def long_log(path: Path) -> Iterator[Path]:
    """Keep the database's write-ahead log open, at the size that SQLite needs; yield its path."""
    log = path.with_name(f"{path.name}-wal")
    other = sqlite3.connect(path, isolation_level=None)
    while not log.exists() or log.stat().st_size < SMALLEST_BYTES:
        other.execute("UPDATE account SET id = id")
        other.execute("INSERT INTO videos (url, state) VALUES ('u', 'cancelled')")
    other.execute("DELETE FROM videos WHERE state = 'cancelled'")
    yield log
    other.close()


def limit_files(pid: int, size: int) -> None:
    """Limit the files of a process to ``size`` bytes from now on."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make a file and its folder read-only."""
    path.chmod(0o444)
    path.parent.chmod(0o555)
    yield
    path.parent.chmod(0o755)


async def test_no_disk_no_request(worker: Programs, simulator: Simulator, path: Path) -> None:
    """An intent that cannot be written is not sent, and the full disk is named once (law 9)."""
    add_videos(path, 3)
    with long_log(path) as log:
        size = str(log.stat().st_size)
        done = await worker.run(
            "drain", program=("-c", LIMIT_FILES, size, "-m", "worker"), measured=False
        )
        assert (78, []) == (done.code, trace(done))
        [sentence] = done.sentences
        assert f"database {path}: the disk" in sentence
        assert 1 == len(done.events("database_trouble"))
        assert [] == simulator.requests
        assert [("pending", 0)] * 3 == [(row["state"], row["claims"]) for row in videos(path)]


async def test_an_answer_that_cannot_be_written_stands_in_the_log(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A drain whose disk fills while a request is in flight ends.

    Its log has the answer, and after the lease the video is a doubt.
    """
    simulator.options = Options(script={2: "stall"})
    add_videos(path, 9)
    with long_log(path) as log:
        program = await worker.start("drain", concurrency=1, grace_seconds=0.2, measured=False)
        await within(simulator.wait_for_requests(2))
        limit_files(program.pid, log.stat().st_size)
        simulator.release()
        done = await program.ended()
        assert (78, []) == (done.code, trace(done))
        assert 2 == len(simulator.requests) == len(simulator.accepted)
        assert {"submitted": 1, "submitting": 1, "pending": 7} == states(path)
        told = [line["job_id"] for line in done.events("attempt_ended")]
        assert [job.job_id for job in simulator.accepted] == told
        assert 1 == len(done.events("settle_given_up"))

        let_leases_end(path)
        again = await worker.run("drain")
        assert 1 == again.code
        assert {"submitted": 8, "in_doubt": 1} == states(path)
        assert [] == bought_twice(simulator.accepted)
        assert [] == unknown(path, simulator.accepted)


async def test_a_display_names_the_full_disk(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """While the run knows that the disk is full, its verdict says so, and no API is blamed."""
    simulator.options = Options(script={1: "stall"})
    add_videos(path, 9)
    with long_log(path) as log:
        program = await worker.start(
            "drain", concurrency=1, grace_seconds=60, progress="lines", measured=False
        )
        await within(simulator.wait_for_requests(1))
        limit_files(program.pid, log.stat().st_size)
        simulator.release()
        await program.logged("database_trouble")
        program.signal(signal.SIGUSR1)
        said = await program.said(f"; stalled: database {path}: the disk ")
        assert said.rindex("ETA") == said.rindex("ETA unknown")
        program.kill()
        await program.ended()


async def test_a_daemon_goes_on_when_there_is_room_again(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A daemon sends nothing while the disk is full, and goes on afterwards.

    It logs the trouble once and its end once.
    """
    with long_log(path) as log:
        program = await worker.start("run", measured=False)
        add_videos(path, 1)
        await within(simulator.wait_for_requests(1))
        await program.logged("attempt_ended")
        limit_files(program.pid, log.stat().st_size)
        add_videos(path, 2)
        await program.logged("database_trouble")
        assert 1 == len(simulator.requests)
        limit_files(program.pid, resource.RLIM_INFINITY)
        await within(simulator.wait_for_requests(3))
        await program.logged("attempt_ended", 3)
        program.signal(signal.SIGTERM)
        done = await program.ended()
    assert (143, []) == (done.code, trace(done))
    assert {"submitted": 3} == states(path)
    assert [] == bought_twice(simulator.accepted)
    assert (1, 1) == (len(done.events("database_trouble")), len(done.events("database_works")))


async def test_a_read_only_database_is_told_as_such(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A database without write permission is named, and nothing is sent."""
    add_videos(path, 1)
    with read_only(path):
        done = await worker.run("drain", program=("-c", OBEY_MODES, "-m", "worker"), measured=False)
    assert (78, []) == (done.code, trace(done))
    [sentence] = done.sentences
    assert f"database {path}: it is read-only" in sentence
    assert [] == simulator.requests


async def test_a_file_that_is_no_database_is_told_as_such(worker: Programs, path: Path) -> None:
    """A path that is no database is named, and is not changed."""
    content = "no database\n" * 100
    path.write_text(content)
    started = [await worker.start(command) for command in ("drain", "run", "migrate", "status")]
    for done in await asyncio.gather(*(program.ended() for program in started)):
        assert (78, []) == (done.code, trace(done))
        [sentence] = done.sentences
        assert f"database {path}: it is no SQLite database" in sentence
    assert content == path.read_text()


async def test_nothing_is_bought_for_a_database_that_is_gone(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A drain whose database file is removed sends nothing more and names the cause."""
    simulator.options = Options(limit=Limit(1, 50))
    add_videos(path, 9)
    program = await worker.start(
        "drain", "--json", "--wait", concurrency=1, grace_seconds=0.2, measured=False
    )
    await program.logged("attempt_ended", outcome="throttled")
    for part in path.parent.glob("videos.db*"):
        part.unlink()
    done = await program.ended()
    assert (78, []) == (done.code, trace(done))
    assert any("was removed or replaced while it was in use" in told for told in done.sentences)
    assert (1, None, None) == tuple(done.told[name] for name in ("submitted", "due", "waiting"))
    assert 2 == len(simulator.requests)
    assert not path.exists()


async def test_a_daemon_goes_on_when_its_database_is_back(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A daemon whose database file is moved away waits until it is back, and makes no new one."""
    program = await worker.start("run", measured=False)
    add_videos(path, 1)
    await program.logged("attempt_ended")
    aside = path.with_name("aside.db")
    path.rename(aside)
    await program.logged("database_trouble")
    assert not path.exists()
    aside.rename(path)
    add_videos(path, 1)
    await program.logged("attempt_ended", 2)
    program.signal(signal.SIGTERM)
    done = await program.ended()
    assert (143, []) == (done.code, trace(done))
    assert {"submitted": 2} == states(path)
    assert 2 == len(simulator.requests)
