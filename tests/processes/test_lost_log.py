"""An SQLite file whose log is deleted while workers use it."""

import signal
from pathlib import Path

import pytest

from tests.processes.programs import Programs, add_videos, bought_twice, states, unknown
from worker.simulator import Options, Simulator

pytestmark = pytest.mark.slow

LOST = "its log (-wal) was deleted or replaced: videos in flight may be in doubt"


def delete(path: Path, *endings: str) -> None:
    """Delete files that SQLite keeps beside its own."""
    for ending in endings:
        path.with_name(f"{path.name}{ending}").unlink()


@pytest.mark.parametrize("command", ["drain", "run"])
@pytest.mark.parametrize("endings", [("-wal",), ("-wal", "-shm")])
async def test_a_run_ends_when_its_log_is_deleted(
    worker: Programs, simulator: Simulator, path: Path, command: str, endings: tuple[str, ...]
) -> None:
    """The run claims no more, saves what it has in the file, and ends with 78. The next one goes
    on, and nothing is bought twice.
    """
    simulator.options = Options(latency_seconds=0.05)
    add_videos(path, 200)
    program = await worker.start(command)
    await program.logged("attempt_ended", 20)
    delete(path, *endings)
    done = await program.ended()

    assert 78 == done.code
    assert LOST in done.err
    bought = len(simulator.accepted)
    assert 200 > bought
    assert {"submitted": bought, "pending": 200 - bought} == states(path)
    assert 0 == (await worker.run("drain")).code
    assert {"submitted": 200} == states(path)
    assert [] == bought_twice(simulator.accepted)
    assert [] == unknown(path, simulator.accepted)


async def test_an_idle_daemon_notices_it_too(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A daemon that has nothing to do ends with 78 as well, before the next video."""
    program = await worker.start("run")
    await program.logged("run_started")
    add_videos(path, 1)
    await program.logged("attempt_ended")
    delete(path, "-wal")
    done = await program.ended()
    assert (78, {"submitted": 1}, 1) == (done.code, states(path), len(simulator.accepted))
    assert LOST in done.err


@pytest.mark.parametrize("command", ["drain", "status", "migrate", "list"])
async def test_a_file_whose_log_was_deleted_is_not_opened(
    worker: Programs, simulator: Simulator, path: Path, command: str
) -> None:
    """Beside the index of a log that is gone no command begins a new log, until a person has taken
    the index away.
    """
    simulator.options = Options(latency_seconds=1)
    add_videos(path, 20)
    program = await worker.start("drain")
    await simulator.wait_for_requests(4)
    program.kill()
    await program.ended()
    delete(path, "-wal")

    refused = await worker.run(command)
    assert 78 == refused.code
    assert f"{path}-shm is left then, the last commits are lost: delete it, and go on as" in (
        refused.err
    )
    assert not path.with_name(f"{path.name}-wal").exists()
    delete(path, "-shm")
    assert 0 == (await worker.run("status")).code


async def test_a_second_worker_does_not_begin_a_log_of_its_own(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A worker that starts after a log was deleted under another is refused until that one has
    saved it, and no video is bought twice.
    """
    add_videos(path, 20)
    simulator.options = Options(latency_seconds=1)
    first = await worker.start("drain")
    await simulator.wait_for_requests(4)
    first.signal(signal.SIGSTOP)
    delete(path, "-wal")
    second = await worker.run("drain")
    assert (78, True) == (second.code, LOST in second.err)
    first.signal(signal.SIGCONT)
    assert 78 == (await first.ended()).code
    simulator.options = Options()
    assert 0 == (await worker.run("drain")).code
    assert [] == bought_twice(simulator.accepted)
    assert {"submitted": 20} == states(path)
