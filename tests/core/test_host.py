from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.host import LONGEST, LONGEST_WAIT, host_of, is_dead, wait


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://videos.example/a/b.mp4?sig=1", "videos.example"),
        ("HTTPS://Videos.EXAMPLE./a.mp4", "videos.example"),
        ("http://user:p%40ss@videos.example:8080/a.mp4", "videos.example"),
        ("http://user:p@ss@videos.example/a.mp4", "videos.example"),
        ("https://videos.example:/a@b:1.mp4", "videos.example"),
        ("https://videos.example?a=/b", "videos.example"),
        ("https://videos.example#a", "videos.example"),
        ("https://videos.example", "videos.example"),
        ("https:\\\\videos.example\\a", "videos.example"),
        ("  https://videos.example/a", "videos.example"),
        ("//videos.example/a", "videos.example"),
        ("https://[2001:DB8::1]:8443/a.mp4", "[2001:db8::1]"),
        ("https://192.0.2.7:81/a.mp4", "192.0.2.7"),
        ("https://Bücher.example/a.mp4", "bücher.example"),
        ("s3://bucket/a.mp4", "bucket"),
        # Object stores whose buckets are in the path.
        ("https://s3.amazonaws.com/bucket/a.mp4", "s3.amazonaws.com/bucket"),
        ("https://s3.eu-west-1.amazonaws.com/bucket/a", "s3.eu-west-1.amazonaws.com/bucket"),
        ("https://s3-eu-west-1.amazonaws.com/bucket/a", "s3-eu-west-1.amazonaws.com/bucket"),
        (
            "https://s3.dualstack.us-east-2.amazonaws.com:443//bucket/a?X-Amz-Signature=1",
            "s3.dualstack.us-east-2.amazonaws.com/bucket",
        ),
        ("https://s3.cn-north-1.amazonaws.com.cn/b/a", "s3.cn-north-1.amazonaws.com.cn/b"),
        ("https://s3.wasabisys.com/bucket/a", "s3.wasabisys.com/bucket"),
        (
            "https://S3.us-west-002.backblazeb2.com/Bucket/a",
            "s3.us-west-002.backblazeb2.com/Bucket",
        ),
        ("https://storage.googleapis.com/bucket/a", "storage.googleapis.com/bucket"),
        ("https://storage.cloud.google.com/bucket/a", "storage.cloud.google.com/bucket"),
        ("https://storage.yandexcloud.net/bucket/a", "storage.yandexcloud.net/bucket"),
        ("https://nyc3.digitaloceanspaces.com/bucket/a", "nyc3.digitaloceanspaces.com/bucket"),
        ("https://acc.r2.cloudflarestorage.com/bucket/a", "acc.r2.cloudflarestorage.com/bucket"),
        ("https://s3.amazonaws.com", "s3.amazonaws.com"),
        ("https://s3.amazonaws.com/", "s3.amazonaws.com"),
        ("https://s3.amazonaws.com?bucket", "s3.amazonaws.com"),
        # And those whose buckets, or accounts, are in the host.
        ("https://bucket.s3.eu-west-1.amazonaws.com/a/b", "bucket.s3.eu-west-1.amazonaws.com"),
        ("https://s3-tv.s3.amazonaws.com/a/b", "s3-tv.s3.amazonaws.com"),
        ("https://bucket.storage.googleapis.com/a/b", "bucket.storage.googleapis.com"),
        ("https://account.blob.core.windows.net/box/a", "account.blob.core.windows.net"),
        ("https://bucket.nyc3.digitaloceanspaces.com/a", "bucket.nyc3.digitaloceanspaces.com"),
        # What names no host.
        ("", ""),
        ("a.mp4", ""),
        ("https:/videos.example/a.mp4", ""),
        ("file://localhost/a.mp4", ""),
        ("FILE:///srv/a.mp4", ""),
        ("valossaupload://u-1/a", ""),
        ("https://", ""),
        ("https://vid\x00eos.example/a", ""),
        ("https://vid\ud800eos.example/a", ""),
        ("https://s3.amazonaws.com/buc\x00ket/a", ""),
        (f"https://{'v' * (LONGEST + 1)}/a", ""),
    ],
)
def test_a_link_has_one_host(url: str, host: str) -> None:
    """The host of a link is in lower case, without port and credentials, with a shared bucket."""
    assert host == host_of(url)


@given(st.text() | st.text().map("https://{}".format) | st.text().map("https://s3.x.y/{}".format))
def test_any_text_has_a_host_that_a_database_takes(text: str) -> None:
    """Any text has a host, or none, that both databases can keep and index."""
    host = host_of(text)
    assert len(host) <= LONGEST
    assert host.isprintable()
    host.encode()


@pytest.mark.parametrize(
    ("failed", "dead"),
    [
        ([], False),
        ([True, True], False),
        ([True, True, True], True),
        ([True, False, True, True], True),
        ([False, True, True, True], True),
        ([True, True, False, False], False),
        ([False, False, False, False], False),
    ],
)
def test_three_of_the_last_four_hold_a_host(failed: list[bool], *, dead: bool) -> None:
    """Three failed downloads among the last four ended jobs hold a host; fewer jobs do not."""
    assert dead is is_dead(failed)


def test_each_wait_for_a_probe_is_twice_the_last_up_to_a_day() -> None:
    """The first probe goes after 15 minutes; each wait doubles, up to a day."""
    waits = [wait(probes) for probes in range(12)]
    assert timedelta(minutes=15) == waits[0]
    assert all(later == min(2 * before, LONGEST_WAIT) for before, later in pairwise(waits))
    assert LONGEST_WAIT == waits[-1] == wait(10**9)
