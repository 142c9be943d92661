"""The pace: nearly all that is allowed is used, and no sliding period holds more, by the server's
own log, with one process and with four on one file.
"""

import subprocess
from pathlib import Path

import pytest

from tests.arrivals import JITTER, fullest, used
from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import KEY, Server, make_queue, program_command, server, settings


def paced(
    queue: Path, at: Server, processes: int, rate: int, period: float, seconds: float
) -> None:
    """Drain with so many processes for that long."""
    told = settings(
        database_url=queue,
        api_url=at.url,
        concurrency=64,
        rate=rate,
        period_seconds=period,
        log_level="error",
    )
    command = program_command("drain", "--max-seconds", f"{seconds:.1f}")
    running = [
        subprocess.Popen(command, env={**told, "VALOSSA_API_KEY": KEY}, stdout=subprocess.DEVNULL)
        for _ in range(processes)
    ]
    assert {process.wait() for process in running} <= {0, 75}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize(
    ("rate", "period", "seconds", "wanted"),
    [(50, 1.0, 60.0, 0.97), (5, 1.0, 60.0, 0.97), (100, 60.0, 180.0, 0.99), (500, 1.0, 20.0, 0.97)],
)
def test_the_pace_is_used_and_kept(
    tmp_path: Path,
    tell: Tell,
    processes: int,
    rate: int,
    period: float,
    seconds: float,
    wanted: float,
) -> None:
    """A second more than is judged, so that no process ends within what is judged."""
    queue = make_queue(tmp_path / "videos.db", int(rate * (seconds + 5) / period) + rate)
    with server() as at:
        paced(queue, at, processes, rate, period, seconds + 3)
        moments = at.book()
    second, end = moments[0] + period, moments[0] + seconds
    share, most = used(moments, rate, period, second, end), fullest(moments, period)
    tell(
        f"pace, {rate} per {period:g} s, {processes} at once: {share:.3f} used (wanted {wanted}), "
        f"{most} in the fullest period (allowed {rate} + {JITTER})"
    )
    assert most <= rate + JITTER
    assert share >= wanted - 0.01
