import asyncio
import re
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes.programs import (
    PATIENCE_SECONDS,
    Program,
    Programs,
    add_videos,
    bought_twice,
    execute,
    let_leases_end,
    states,
    unknown,
    videos,
    within,
)
from worker.simulator import Options, Simulator

VIDEOS = 12_000
FACTS = 6 * VIDEOS
"""So many that a move is at them for longer than a busy machine needs to kill it."""


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Return the address to move to; nothing is there."""
    return tmp_path / "new.db"


def number(path: Path, question: str) -> int:
    """Return the number of rows; 0 while there is no such file or table."""
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(path, timeout=10)) as plain:
            return int(plain.execute(question).fetchone()[0])
    except sqlite3.OperationalError:
        return 0


async def seen(true: Callable[[], object]) -> None:
    """Poll until the condition holds: a database sends no news."""
    clock = asyncio.get_running_loop()
    give_up = clock.time() + PATIENCE_SECONDS
    while not true():
        await asyncio.sleep(0.002)
        assert clock.time() < give_up


async def cut_off(program: Program, with_: int, true: Callable[[], object]) -> None:
    """Kill the process as soon as the condition holds."""
    await seen(true)
    program.signal(with_)
    assert {signal.SIGKILL: -9, signal.SIGINT: 130}[with_] == (await program.ended()).code  # type: ignore[index]


@pytest.mark.slow
async def test_a_move_that_is_killed_again_and_again_ends_whole(
    worker: Programs, path: Path, new: Path
) -> None:
    """A move that was killed goes on with the same command, and no video is lost or doubled."""
    add_videos(path, VIDEOS)
    execute(
        path,
        "INSERT INTO history (video_id, attempt, at, who, fact)"
        " SELECT videos.id, value, created_at, 'w', 'retry' FROM videos,"
        " json_each('[1, 2, 3, 4, 5, 6]')",
    )
    before = [row["request_id"] for row in videos(path)]
    typed = ("move", "--json", "--from", str(path), "--to", str(new))
    marked = "SELECT count(moved_to) FROM account"
    copied = "SELECT coalesce(max(id), 0) FROM {}"
    for with_, file, question, reached in (
        (signal.SIGKILL, new, marked, 1),
        (signal.SIGKILL, path, marked, 1),
        (signal.SIGKILL, new, copied.format("videos"), 1_000),
        (signal.SIGINT, new, copied.format("videos"), 5_000),
        (signal.SIGKILL, new, copied.format("history"), 1),
    ):
        program = await worker.start(*typed, measured=False)
        await cut_off(
            program,
            with_,
            lambda f=file, q=question, n=reached: number(f, q) >= n,  # type: ignore[misc]
        )
        refused = await worker.run("drain", database_url=new)
        assert 78 == refused.code
    done = await worker.run(*typed)
    assert (0, []) == (done.code, done.sentences)
    assert (VIDEOS, FACTS) == (done.told["videos"]["pending"], done.told["history"])  # type: ignore[index]
    assert before == [row["request_id"] for row in videos(new)]
    assert FACTS == number(new, "SELECT count(*) FROM history")


@pytest.mark.slow
async def test_a_queue_moves_under_its_workers(
    worker: Programs, simulator: Simulator, path: Path, new: Path
) -> None:
    """Two daemons and an idle drain never send a video that has moved.

    A killed worker leaves a doubt, and no video is bought twice.
    """
    simulator.options = Options(script={1: "stall"}, latency_seconds=0.05)
    add_videos(path, 1)
    killed = await worker.start("run")
    await within(simulator.wait_for_requests(1))
    killed.kill()
    await killed.ended()
    add_videos(path, 400)
    daemons = [await worker.start("run", rate=25) for _ in range(2)]
    await within(simulator.wait_for_accepted(20))
    move = await worker.start("move", "--json", "--from", str(path), "--to", str(new))
    for daemon in daemons:
        ended = await daemon.ended()
        assert 78 == ended.code
        assert f"this queue is moving to sqlite:///{new}" in "".join(ended.sentences)
    assert 78 == (await worker.run("drain")).code
    assert {"submitting", "submitted", "pending"} == {*states(path)}
    let_leases_end(path)
    moved = await move.ended()
    assert 0 == moved.code
    waits = (
        rf"valossa-ingest: [1-9]\d* in flight in sqlite:///{re.escape(str(path))}: waiting until"
    )
    assert re.search(waits, moved.err)
    assert 78 == (await worker.run("drain")).code
    assert 1 == (await worker.run("drain", "--json", database_url=new)).code
    assert {"submitted": 400, "in_doubt": 1} == states(new)
    assert [] == bought_twice(simulator.accepted)
    assert [] == unknown(new, simulator.accepted)
