"""Measure the memory of a drain, which does not grow with its length."""

from pathlib import Path

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import drain, make_queue, server

SLOTS = 256
FEW = 20_000
MANY = 200_000
MOST_BYTES = 120e6
GROWTH_BYTES = 4e6


@pytest.mark.timeout(1200)
def test_memory_is_small_and_does_not_grow(tmp_path: Path, tell: Tell) -> None:
    """The highest resident size of a drain of many videos, beside that of a tenth of them."""
    peaks = {}
    with server() as at:
        for count in (FEW, MANY):
            queue = make_queue(tmp_path / f"{count}.db", count)
            peaks[count] = drain(queue, at, slots=SLOTS).peak_bytes
            assert len(at.book()) == count
    grown = peaks[MANY] - peaks[FEW]
    tell(
        f"memory, {SLOTS} slots: {peaks[MANY] / 1e6:.0f} MB for {MANY:,} videos (wanted 120), "
        f"{grown / 1e6:+.1f} MB beside {FEW:,}"
    )
    assert peaks[MANY] < MOST_BYTES
    assert grown < GROWTH_BYTES
