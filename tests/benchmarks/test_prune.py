"""A million finished rows are pruned beside a drain, whose claims get no slower by it."""

import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import Server, drain, program, program_command, rate, server, settings
from tests.benchmarks.test_million import ACCEPTED, DUE, FINISHED, MILLION, made

VIDEOS = 10_000
ROUNDS = 3
SLOTS = 64
DAYS_OLD = 200
OLD = (
    "UPDATE videos "
    "SET updated_at = datetime(updated_at, ?), submitted_at = datetime(submitted_at, ?)"
)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a queue with a million rows that were finished long ago, and some that are due."""
    aged = tuple(f"-{DAYS_OLD} days" for _ in range(2))
    statements = [(FINISHED, (MILLION, MILLION)), (OLD, aged), (ACCEPTED, ())]
    return made(
        tmp_path_factory.mktemp("old") / "old.db", [*statements, (DUE, (VIDEOS, "+0 days", 0))]
    )


def left(queue: Path) -> int:
    """Count the rows that were finished long ago."""
    with closing(sqlite3.connect(queue)) as connection:
        (number,) = connection.execute(
            "SELECT count(*) FROM videos WHERE id <= ?", (MILLION,)
        ).fetchone()
    return int(number)


def drained(crowd: Path, scratch: Path, at: Server, *, beside: bool) -> tuple[float, float]:
    """Return the rate of a drain of a copy, by the server's book, and the rows pruned a second."""
    for each in scratch.glob("copy.db*"):
        each.unlink()
    copy = Path(shutil.copy(crowd, scratch / "copy.db"))
    command = program_command("prune", "--older-than", "90d", "--yes")
    pruner = None
    if beside:
        pruner = subprocess.Popen(
            command, env=settings(database_url=copy), stdout=subprocess.DEVNULL
        )
        while left(copy) == MILLION:
            assert pruner.poll() is None
            time.sleep(0.1)
    before, began = left(copy), time.monotonic()
    drain(copy, at, slots=SLOTS)
    pruned = (before - left(copy)) / (time.monotonic() - began)
    if pruner is not None:
        assert pruner.poll() is None
        pruner.terminate()
        pruner.wait()
    moments = at.book()
    assert len(moments) == VIDEOS
    return rate(moments), pruned


@pytest.mark.timeout(3600)
def test_a_prune_slows_no_claim(crowd: Path, tmp_path: Path, tell: Tell) -> None:
    """In turns on the same server, with a prune of a million rows beside the drain and without."""
    ratios, pruned = [], []
    with server() as at:
        for turn in range(ROUNDS):
            order = [True, False] if turn % 2 else [False, True]
            done = {beside: drained(crowd, tmp_path, at, beside=beside) for beside in order}
            ratios.append(done[True][0] / done[False][0])
            pruned.append(done[True][1])
    tell(
        f"a drain beside a prune of a million rows: {median(ratios):.2f} [{min(ratios):.2f}-"
        f"{max(ratios):.2f}] of its rate alone (wanted 0.90); {median(pruned):,.0f} rows/s pruned"
    )
    assert median(ratios) >= 0.90


@pytest.mark.timeout(7200)
def test_a_million_rows_are_pruned_to_the_end(crowd: Path, tmp_path: Path, tell: Tell) -> None:
    """Without a worker beside: every row that was finished long ago, and no other."""
    copy, began = Path(shutil.copy(crowd, tmp_path / "copy.db")), time.monotonic()
    usage = program(["prune", "--older-than", "90d", "--yes"], tmp_path / "log", database_url=copy)
    took = time.monotonic() - began
    with closing(sqlite3.connect(copy)) as connection:
        counts = "SELECT (SELECT count(*) FROM videos), count(*) FROM pruned"
        assert (VIDEOS, MILLION) == connection.execute(counts).fetchone()
    tell(
        f"a million rows pruned without a worker beside: {took / 60:.1f} min, "
        f"{usage.cpu_seconds:.0f} s of processor time, at most {usage.peak_bytes / 1e6:.0f} MB"
    )
