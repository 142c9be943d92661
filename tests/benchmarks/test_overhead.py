"""Measure the cost of the worker's own work: a drain against aiohttp alone."""

from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import bare_loop, drain, make_queue, rate, server

VIDEOS = 20_000
ROUNDS = 5


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("slots", "wanted", "held", "log_level"),
    [
        (256, 1.3, 0.75, "info"),
        (64, 1.0, 0.60, "info"),
        (16, 0.7, 0.40, "info"),
        (64, 1.0, 0.65, "warning"),
    ],
)
def test_a_drain_keeps_up_with_a_bare_loop(
    tmp_path: Path, tell: Tell, slots: int, wanted: float, held: float, log_level: str
) -> None:
    """In turns on the same server; each drain has a new queue, ``synchronous=FULL``, its log; from
    "warning" on without a line for each attempt that went well. What is ``wanted`` is not reached;
    what is ``held`` must not be lost.
    """
    ratios, bare, drained = [], [], []
    with server() as at:
        for turn in range(ROUNDS):
            bare_loop(at, VIDEOS, slots, tmp_path / "bare.log")
            bare.append(rate(at.book()))
            queue = make_queue(tmp_path / f"{turn}.db", VIDEOS)
            drain(queue, at, slots=slots, log_level=log_level)
            moments = at.book()
            assert len(moments) == VIDEOS
            drained.append(rate(moments))
            ratios.append(drained[-1] / bare[-1])
    tell(
        f"overhead, {slots} slots, log from {log_level}: {median(ratios):.2f} "
        f"[{min(ratios):.2f}-{max(ratios):.2f}] of a bare loop (wanted {wanted}); "
        f"{median(drained):,.0f} of {median(bare):,.0f} videos/s"
    )
    assert median(ratios) >= held
