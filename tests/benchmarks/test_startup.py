"""Measure a cold drain of an empty queue against importing its two libraries."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import KEY, make_queue, run, settings

PAIRS = 11
WANTED = 2.0
LIBRARIES = ("-c", "import aiohttp, sqlalchemy")


@dataclass(frozen=True, slots=True)
class Start:
    """Return the duration of one process in seconds."""

    wall: float
    cpu: float


def _started(arguments: Sequence[str], queue: Path) -> Start:
    """Return one Python with ``arguments``, which may keep what it has compiled."""
    began = time.monotonic()
    told = {"PYTHONDONTWRITEBYTECODE": "", "VALOSSA_API_KEY": KEY}
    used = run(
        [sys.executable, *arguments],
        queue.with_suffix(".log"),
        {**settings(database_url=queue), **told},
    )
    return Start(time.monotonic() - began, used.cpu_seconds)


def test_a_drain_of_nothing_begins_and_ends_at_once(tmp_path: Path, tell: Tell) -> None:
    """In turns, after a first pair that compiles what is not compiled yet."""
    queue = make_queue(tmp_path / "empty.db", 0)
    pairs = [
        (_started(("-m", "worker", "drain"), queue), _started(LIBRARIES, queue))
        for _ in range(PAIRS + 1)
    ][1:]
    wall = [ours.wall / theirs.wall for ours, theirs in pairs]
    cpu = [ours.cpu / theirs.cpu for ours, theirs in pairs]
    tell(
        f"start-up: {median(wall):.2f} [{min(wall):.2f}-{max(wall):.2f}] of its libraries' import "
        f"(wanted {WANTED}); {median(ours.wall for ours, _ in pairs) * 1_000:,.0f} of "
        f"{median(theirs.wall for _, theirs in pairs) * 1_000:,.0f} ms; CPU {median(cpu):.2f}"
    )
    assert median(wall) <= WANTED
    assert median(cpu) <= WANTED
