import pytest

from worker.core.transfer import Transfer, amount


def test_nothing_left_is_nothing_to_say() -> None:
    """A queue without local files has no sentence."""
    assert "" == Transfer().sentence


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        (Transfer(files=2, unseen=2), "2, 0 under way: 0.0 GB and 2 files of unknown size left"),
        (
            Transfer(files=3, uploading=2, size=9_000_000_000, sent=1_800_000_000, per_second=2e6),
            "3, 2 under way: 7.2 GB (1:00:00) left",
        ),
        (
            Transfer(files=1_200, homeless=1_100, unseen=1, size=9_000_000_000),
            (
                "1,200, 0 under way: 9.0 GB and 1 files of unknown size left; "
                "1,100 in upload_roots of no worker"
            ),
        ),
    ],
)
def test_what_is_left_is_said(shown: Transfer, sentence: str) -> None:
    """Files, bytes and time, and what stands in the way."""
    assert sentence == shown.sentence


def test_bytes_have_their_time_where_the_speed_is_known() -> None:
    """In GB, as the API counts."""
    assert "1.5 GB" == amount(1_500_000_000, None)
    assert "1.5 GB (0:25:00)" == amount(1_500_000_000, 1e6)
