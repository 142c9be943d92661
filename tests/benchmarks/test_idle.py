"""Measure the cost of an idle daemon, and its delay to a row that another program inserts."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import FASTEST, HERE, KEY, Server, make_queue, server

IDLE_SECONDS = 25.0
ROWS = 100
BEGIN_SECONDS = 3.0
"""Seconds for the daemon to start, before it counts as idle."""
CORE_WANTED = 0.005
DELAY_WANTED = 0.150


@contextmanager
def _daemon(queue: Path, at: Server) -> Iterator[int]:
    """Yield the process id of a ``run`` with default settings except for the pace."""
    settings = {"DATABASE_URL": str(queue), "API_URL": at.url, "RATE": str(FASTEST)}
    told = {f"WORKER_{name}": value for name, value in settings.items()}
    with queue.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            env={**os.environ, **told, "VALOSSA_API_KEY": KEY},
            stdout=log,
            stderr=log,
        )
        try:
            time.sleep(BEGIN_SECONDS)
            yield process.pid
        finally:
            process.terminate()
            process.wait()
    assert process.returncode == 143


def _cpu_seconds(pid: int) -> float:
    """Return what a process has used of processors so far, with all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _wake_ups(pid: int) -> int:
    """Return how often its threads have slept so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(
        int(line.split()[1])
        for task in tasks
        for line in (task / "status").read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def _inserted(queue: Path) -> list[float]:
    """Return the times at which another process committed each of ``ROWS`` rows."""
    command = [sys.executable, str(HERE / "inserting.py"), str(queue), str(ROWS)]
    moments: list[float] = json.loads(subprocess.check_output(command))
    return moments


@pytest.mark.timeout(300)
def test_an_idle_daemon_is_cheap_and_awake(tmp_path: Path, tell: Tell) -> None:
    """An idle daemon uses little processor time and starts new rows quickly."""
    queue = make_queue(tmp_path / "idle.db", 0)
    with server() as at, _daemon(queue, at) as pid:
        began, cpu, wakes = time.monotonic(), _cpu_seconds(pid), _wake_ups(pid)
        time.sleep(IDLE_SECONDS)
        seconds = time.monotonic() - began
        core = (_cpu_seconds(pid) - cpu) / seconds
        wakes_per_second = (_wake_ups(pid) - wakes) / seconds
        committed = _inserted(queue)
        time.sleep(1)
        arrived = at.book()
    assert len(arrived) == ROWS
    delays = [arrival - commit for commit, arrival in zip(committed, arrived, strict=True)]
    late = quantiles(delays, n=20)[-1]
    tell(
        f"idle: {core:.2%} of a core (wanted {CORE_WANTED:.1%}), {wakes_per_second:.1f} wake-ups/s"
    )
    tell(
        f"idle, then a row: begun after {median(delays) * 1_000:.0f} ms, p95 {late * 1_000:.0f} "
        f"(wanted {DELAY_WANTED * 1_000:.0f}), at most {max(delays) * 1_000:.0f}; {ROWS} rows"
    )
    assert core < CORE_WANTED
    assert late <= DELAY_WANTED
