from dataclasses import replace
from datetime import timedelta

import pytest

from worker.core.transfer import Transfer, amount


def test_nothing_left_is_nothing_to_say() -> None:
    """A queue without local files has no sentence."""
    assert "" == Transfer().sentence


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        (Transfer(files=2, unseen=2), "2, 0 under way, 2 of unknown size left"),
        (
            Transfer(files=3, uploading=2, size=9_000_000_000, sent=1_800_000_000, per_second=2e6),
            "3, 2 under way, 7.2 GB (1:00:00) left",
        ),
        (
            Transfer(files=1_200, homeless=1_100, unseen=1, size=9_000_000_000),
            (
                "1,200, 0 under way, 9.0 GB and 1 of unknown size left; "
                "1,100 in upload_roots of no worker"
            ),
        ),
    ],
)
def test_what_is_left_is_said(shown: Transfer, sentence: str) -> None:
    """Files, bytes and time, and what stands in the way."""
    assert sentence == shown.sentence


def test_bytes_have_their_time_where_the_speed_is_known() -> None:
    """In GB, as the API counts; a little in MB."""
    assert "1.5 GB" == amount(1_500_000_000, None)
    assert "1.5 GB (0:25:00)" == amount(1_500_000_000, 1e6)
    assert ("0.1 GB", "99.9 MB") == (amount(100_000_000, None), amount(99_900_000, None))


KNOWN = Transfer(files=1, size=3_000, sent=1_000, per_second=10.0)


@pytest.mark.parametrize(
    ("shown", "seconds"),
    [
        (Transfer(), 0),
        (KNOWN, 200),
        (replace(KNOWN, files=4, unseen=2), 500),
        (replace(KNOWN, files=4, unseen=2, homeless=1), 350),
        (replace(KNOWN, per_second=1e-12), 1_000_000_000),
        (Transfer(files=2, unseen=2, homeless=2), 0),
    ],
)
def test_the_time_left_is_that_of_all_bytes(shown: Transfer, seconds: int) -> None:
    """A file of unknown size is as large as the others; one that no worker uploads takes none."""
    assert timedelta(seconds=seconds) == shown.left


@pytest.mark.parametrize(
    "shown", [replace(KNOWN, per_second=None), Transfer(files=2, unseen=2, per_second=9.0)]
)
def test_the_time_left_is_not_known_without_a_speed_and_a_size(shown: Transfer) -> None:
    """Before the first chunk is there, nothing says how long the uploads take."""
    assert shown.left is None
