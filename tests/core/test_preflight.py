from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.preflight import (
    COMPARED,
    NAMED,
    Compared,
    Tally,
    Weight,
    judge,
    waste,
)

NOW = datetime(2026, 7, 4, 12, tzinfo=UTC)
MARGIN = timedelta(hours=6)
GOOD = "https://host.example/talk.mp4"


def found(url: str, **row: object) -> list[tuple[Weight, str]]:
    """Return weight and reason of all that speaks against a row."""
    return [(each.weight, each.reason) for each in judge({"url": url, **row}, NOW, MARGIN)]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"{GOOD}?Expires=1367619688&Signature=S&AWSAccessKeyId=A", "signed link ended 2013-05-03"),
        (f"{GOOD}?token=T&expires=1783170000", "signed link ends too soon"),
        ("ftp://host.example/talk.mp4", "must begin with http"),
        ("/srv/talk.mp4", "must begin with http"),
        ("http://localhost/talk.mp4", "the API cannot reach"),
        ("http://localhost:8080/talk.mp4", "the API cannot reach"),
        ("http://127.0.0.1/talk.mp4", "the API cannot reach"),
        ("http://127.1/talk.mp4", "the API cannot reach"),
        ("http://10.1.2.3/talk.mp4", "the API cannot reach"),
        ("http://192.168.1.7:8000/talk.mp4", "the API cannot reach"),
        ("http://172.16.0.9/talk.mp4", "the API cannot reach"),
        ("http://169.254.1.1/talk.mp4", "the API cannot reach"),
        ("http://[::1]/talk.mp4", "the API cannot reach"),
        ("http://[fe80::1]/talk.mp4", "the API cannot reach"),
        ("http://[fd00::1]/talk.mp4", "the API cannot reach"),
        ("https://nas.local/talk.mp4", "the API cannot reach"),
        ("https://nas.local./talk.mp4", "the API cannot reach"),
        ("https://www.youtube.com/watch?v=AAAAAAAAAAA", "is a page of youtube.com"),
        ("https://m.youtube.com/shorts/AAAAAAAAAAA", "is a page of youtube.com"),
        ("https://YouTu.be/AAAAAAAAAAA", "is a page of youtu.be"),
        ("https://vimeo.com/12345", "is a page of vimeo.com"),
        ("https://player.vimeo.com/video/12345", "is a page of player.vimeo.com"),
        ("https://archive.org/details/item", "is a page of archive.org"),
        ("https://archive.org/details/item/talk.mp4", "is a page of archive.org"),
        ("https://drive.google.com/file/d/ID/view?usp=sharing", "is a page of drive.google.com"),
        ("https://drive.google.com/drive/folders/ID", "is a page of drive.google.com"),
        ("https://drive.google.com/open?id=ID", "is a page of drive.google.com"),
        ("https://docs.google.com/file/d/ID/edit", "is a page of docs.google.com"),
        ("https://www.dropbox.com/sh/ID/KEY?dl=1", "is a page of dropbox.com"),
        ("https://www.dropbox.com/scl/fo/ID/KEY?dl=0", "is a page of dropbox.com"),
        ("https://host.example/live/index.m3u8?token=T", "is a playlist"),
        ("https://host.example/live/manifest.MPD", "is a playlist"),
        (f"{GOOD} {GOOD}", "holds two links"),
        (f"{GOOD},{GOOD}", "holds two links"),
        (f"{GOOD};{GOOD}", "holds two links"),
        ("na", "stands for no value"),
        ("null", "stands for no value"),
        ("#N/A", "stands for no value"),
        (" N/A ", "stands for no value"),
        ("", "is empty"),
    ],
)
def test_what_is_surely_wasted_is_said_with_the_way_out(url: str, reason: str) -> None:
    """An address from which the API can fetch no video is surely wasted, for one reason."""
    (only,) = judge({"url": url}, NOW, MARGIN)
    assert Weight.SURELY is only.weight
    assert reason in only.reason
    assert only.remedy


@pytest.mark.parametrize(
    "url",
    [
        GOOD,
        "https://8.8.8.8/talk.mp4",
        "https://host2.example7/talk.mp4",
        "https://[2606:4700::1111]/talk.mp4",
        "https://local.example/talk.mp4",
        "https://archive.org/download/item/talk.mp4",
        "https://player.vimeo.com/external/12345.hd.mp4?s=S",
        "https://www.dropbox.com/s/KEY/talk.mp4?dl=1",
        "https://www.dropbox.com/scl/fi/KEY/talk.mp4?rlkey=R&raw=1",
        "https://notyoutube.com/talk.mp4",
        "https://host.example/get?file=talk.MP4",
        "https://host.example/get?file=talk.mp4&v=2",
        "https://host.example/v/na.mp4",
        f"{GOOD}?token=T&expires=1793160000",
        "valossaupload://0a1b2c",
    ],
)
def test_nothing_speaks_against_the_link_of_a_file(url: str) -> None:
    """A public link of a whole file is not found fault with."""
    assert [] == found(url, language="en-US")


@pytest.mark.parametrize(
    ("url", "language", "reason"),
    [
        ("https://host.example/talk.html", None, "url: has no file ending of a video"),
        ("https://host.example/talk.jpg?x=a.mp4.txt", None, "url: has no file ending of a video"),
        ("https://drive.google.com/uc?id=I", None, "url: has no file ending of a video"),
        ("http://host.example/talk.mp4", None, "url: is plain http"),
        ("https://www.dropbox.com/s/KEY/talk.mp4?dl=0", None, "url: leads to a page (dl=0)"),
        ("https://www.dropbox.com/scl/fi/KEY/talk.mp4", None, "url: leads to a page (dl=0)"),
        (GOOD, "english", "language: 'english' is not of the form xx-XX"),
        (GOOD, "en_US", "language: 'en_US' is not of the form xx-XX"),
        (GOOD, "n/a", "language: 'n/a' stands for no value"),
        (GOOD, "Unknown", "language: 'Unknown' stands for no value"),
    ],
)
def test_what_is_probably_wasted_is_said(url: str, language: str | None, reason: str) -> None:
    """A row that probably ends in an error says why."""
    assert [(Weight.PROBABLY, reason)] == found(url, language=language)


@given(st.text(st.characters(exclude_categories=())), st.text())
def test_any_row_is_judged(url: str, language: str) -> None:
    """No value of a row makes the judge raise."""
    for link in (url, f"https://{url}", f"https://[{url}"):
        list(judge({"url": link, "language": language}, NOW, MARGIN))
        waste({"url": link})
        list(Compared().look({"url": link, "media_id": language}))


@pytest.mark.parametrize(
    ("rows", "reasons"),
    [
        ([(GOOD, "a"), (GOOD, "a")], []),
        ([(GOOD, "a"), ("https://host.example/other.mp4", "b")], []),
        ([(f"{GOOD}?token=1", None), (f"{GOOD}?token=2", None)], ["under another signature"]),
        ([(GOOD, "a"), (GOOD.replace("mp4", "webm"), "a")], ["in another format"]),
        ([(GOOD, None), (GOOD.replace("mp4", "webm"), None)], ["in another format"]),
        ([(GOOD, "a"), ("https://host.example/other.mp4", "a")], ["with another link"]),
        ([(GOOD, "a"), ("https://host.example/page", "a")], ["with another link"]),
    ],
)
def test_a_row_is_compared_with_those_before_it(
    rows: list[tuple[str, str | None]], reasons: list[str]
) -> None:
    """A second signature of an object, link of an id, or format of a talk is seen."""
    compared = Compared()
    looks = [
        finding for url, name in rows for finding in compared.look({"url": url, "media_id": name})
    ]
    assert {Weight.LOOK} >= {each.weight for each in looks}
    assert len(reasons) == len(looks)
    assert all(part in each.reason for part, each in zip(reasons, looks, strict=True))


def test_the_memory_of_compared_rows_has_a_bound() -> None:
    """Rows are compared with a fixed number before them, however many there are."""
    compared = Compared()
    for number in range(COMPARED):
        assert [] == list(compared.look({"url": f"https://host.example/{number}.mp4"}))
    assert list(compared.look({"url": f"https://host.example/{COMPARED - 1}.webm"}))
    assert [] == list(compared.look({"url": "https://host.example/0.webm"}))


def test_findings_of_one_kind_are_counted_together() -> None:
    """A tally counts by weight and kind, names the first rows, and has the heaviest first."""
    tally = Tally()
    for number in range(NAMED + 1):
        tally.add(number, GOOD, judge({"url": f"http://host.example/{number}.mp4"}, NOW, MARGIN))
    for end in ("1367619688", "1367619699"):
        url = f"{GOOD}?Expires={end}&Signature=S&AWSAccessKeyId=A"
        tally.add(f"list.csv:{end}", url, judge({"url": url}, NOW, MARGIN))
    (ended, two), (plain, many) = tally.sorted()
    assert (Weight.SURELY, "url: signed link ended", 2) == (ended.weight, ended.reason, two)
    assert "sign it anew" in ended.remedy
    assert ["list.csv:1367619688", "list.csv:1367619699"] == tally.rows[ended]
    assert (NAMED + 1, NAMED, NAMED + 3) == (many, len(tally.rows[plain]), tally.hosts.total())
    assert (2, NAMED + 1, 0) == tuple(map(tally.number, Weight))


def test_the_hosts_of_a_tally_have_a_bound() -> None:
    """Hosts are counted without www and port; beyond a thousand they are counted together."""
    tally = Tally()
    urls = ["https://www.Host.example:8443/a", "valossaupload://Ab", "https://host.example"]
    for url in (*urls, *(f"https://{number}.example" for number in range(NAMED))):
        tally.add(1, url, ())
    assert (2, 1, 2) == tuple(tally.hosts[h] for h in ("host.example", "valossaupload", "others"))
    assert NAMED + 1 == len(tally.hosts)


def test_a_host_is_named_whole() -> None:
    """Only what a name begins with is left out, not what looks alike within it."""
    tally = Tally()
    for url in ("https://stream.host.example/a", "https://m.host.example/a"):
        tally.add(1, url, ())
    assert ["stream.host.example", "host.example"] == [*tally.hosts]
