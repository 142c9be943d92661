"""The API's own time is hidden: with slow answers, every slot is always in use."""

from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import bare_loop, drain, make_queue, rate, server

LATENCY_SECONDS = 0.1
SLOTS = 64
VIDEOS = 6_000
ROUNDS = 5
WANTED = 0.98
HELD = 0.80


@pytest.mark.timeout(600)
def test_slots_are_always_in_use(tmp_path: Path, tell: Tell) -> None:
    """The rate by the server's book, as a share of slots divided by latency, from the first answer
    on: until then a run sends one request.
    """
    most = SLOTS / LATENCY_SECONDS
    shares, bare = [], []
    with server(LATENCY_SECONDS) as at:
        for turn in range(ROUNDS):
            bare_loop(at, VIDEOS, SLOTS, tmp_path / "bare.log")
            bare.append(rate(at.book()[1:]) / most)
            drain(make_queue(tmp_path / f"{turn}.db", VIDEOS), at, slots=SLOTS)
            shares.append(rate(at.book()[1:]) / most)
    tell(
        f"latency of {LATENCY_SECONDS * 1e3:.0f} ms, {SLOTS} slots: {median(shares):.3f} "
        f"[{min(shares):.3f}-{max(shares):.3f}] of slots / latency (wanted {WANTED}); a bare loop "
        f"{median(bare):.3f}"
    )
    assert median(shares) >= HELD
