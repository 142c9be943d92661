"""The life of a job, from its acceptance to its end."""

import re
from itertools import groupby
from typing import Any

import pytest

from worker.simulator import JOB_KINDS, Options, Span, parse_job_failure, parse_span
from worker.simulator.lives import (
    UNKNOWN_STATUSES,
    Life,
    Shown,
    ended_life,
    is_dead,
    life_of,
    shown,
)

URL = "https://videos.example/a.mp4"
TEN = Span(10, 10)


def born(url: str = URL, nth: int = 1, **more: object) -> Life:
    """Return a life of ten seconds without trouble, but for what is given."""
    how: dict[str, Any] = {"span": TEN, "dead_hosts": (), "failures": {}, "scripted": None}
    return life_of(url, nth, **{**how, "seed": 0, **more})


def story(kind: str | None) -> list[str]:
    """Return what a job of ten seconds shows, second by second, equal ones once."""
    life = Life(kind, 10)
    seen = []
    for age in range(12):
        ended = life.ends_as is not None and age >= life.ends_after
        now = shown(life, age, ended=ended)
        absent = "" if now.found else " 404"
        seen.append(f"{now.status}/{now.transfer_status}{absent}{'' if now.listed else ' hidden'}")
    return [each for each, _ in groupby(seen)]


BEGIN = ["queued/queued", "preparing_analysis/downloading"]


@pytest.mark.parametrize(
    ("kind", "ends_as", "seen"),
    [
        (None, "finished", [*BEGIN, "processing/finished", "finished/finished"]),
        ("error", "error", [*BEGIN, "processing/finished", "error/finished"]),
        ("error-bare", "error", [*BEGIN, "processing/finished", "error/None"]),
        ("transfer-error", "error", [*BEGIN, "error/error"]),
        (
            "on-hold",
            "finished",
            ["queued/queued", "on_hold/queued", "processing/finished", "finished/finished"],
        ),
        (
            "unknown",
            "finished",
            [
                "queued/queued",
                "transcoding/downloading",
                "transcoding/finished",
                "finished/finished",
            ],
        ),
        ("unknown-end", None, [*BEGIN, "processing/finished", "transcoding/finished"]),
        ("forever", None, [*BEGIN, "processing/finished"]),
        ("gone", "gone", [*BEGIN, "processing/finished", "processing/finished 404 hidden"]),
        (
            "missing",
            "finished",
            [
                *BEGIN,
                "processing/finished",
                "processing/finished 404 hidden",
                "processing/finished",
                "finished/finished",
            ],
        ),
        (
            "denied",
            "finished",
            [
                *BEGIN,
                "processing/finished",
                "processing/finished 404",
                "processing/finished",
                "finished/finished",
            ],
        ),
    ],
)
def test_a_job_passes_through_its_statuses(
    kind: str | None, ends_as: str | None, seen: list[str]
) -> None:
    """Each kind of life has its statuses on the way, and its end."""
    assert (ends_as, seen) == (Life(kind, 10).ends_as, story(kind))


def test_a_job_that_no_list_shows_lives_like_any_other() -> None:
    """An unlisted job differs in the list alone."""
    assert story(None) == [each.removesuffix(" hidden") for each in story("unlisted")]
    assert all(each.endswith(" hidden") for each in story("unlisted"))


def test_every_kind_has_its_story() -> None:
    """No kind in the help is unknown to the story, and each is told in one line."""
    plain = story(None)
    assert [] == [kind for kind in JOB_KINDS if plain == story(kind)]
    assert not any("\n" in meaning for meaning in JOB_KINDS.values())


def test_an_error_says_why_but_for_the_bare_one() -> None:
    """Details come with an error, and with nothing else."""
    ends = {kind: shown(Life(kind, 10), 10, ended=True).details for kind in (None, *JOB_KINDS)}
    assert {"error", "transfer-error"} == {kind for kind, details in ends.items() if details}


def test_no_end_is_shown_before_it_is_in_the_book() -> None:
    """Whatever the age, a job without an end in the book shows none."""
    late = shown(Life(None, 10), 99, ended=False)
    assert Shown("processing", "finished") == late
    assert "queued" == shown(Life(None, 0), 0, ended=False).status


def test_an_end_in_the_book_stays() -> None:
    """A job whose end was read back shows it at any age."""
    for ended_as in ("finished", "error", "gone"):
        assert ended_as == ended_life(ended_as).ends_as
        now = shown(ended_life(ended_as), 0, ended=True)
        assert (ended_as != "gone") == now.found == now.listed


@pytest.mark.parametrize(
    ("url", "hosts", "dead"),
    [
        ("https://dead.example/a.mp4", ["dead.example"], True),
        ("https://DEAD.example:8443/a.mp4", ["dead.example"], True),
        ("https://not.dead.example/a.mp4", ["dead.example"], False),
        ("https://s3.example/bucket/a.mp4", ["s3.example/bucket"], True),
        ("https://s3.example/other/a.mp4", ["s3.example/bucket"], False),
        ("https://s3.example", ["s3.example/bucket"], False),
        ("https://[", ["dead.example"], False),
    ],
)
def test_a_dead_host_is_known_by_its_name(url: str, hosts: list[str], *, dead: bool) -> None:
    """A host is matched whole, whatever its port and case, and a bucket by the first folder."""
    assert dead == is_dead(url, hosts)


def test_a_job_of_a_dead_host_cannot_be_downloaded() -> None:
    """A dead host wins over the dice, and the script over both."""
    dead: dict[str, Any] = {"dead_hosts": ["videos.example"], "failures": {"on-hold": 1.0}}
    assert "transfer-error" == born(**dead).kind
    assert "on-hold" == born("https://else.example/a.mp4", **dead).kind
    assert "unknown" == born(**dead, scripted="unknown").kind


def test_durations_are_by_dice_of_seed_and_job() -> None:
    """The same seed gives the same lives, and the second job of an address has one of its own."""

    def lives(seed: int) -> list[Life]:
        span, failures = Span(10, 30), {"error": 0.3}
        return [
            born(f"{URL}?{n}", nth, span=span, failures=failures, seed=seed)
            for n in range(200)
            for nth in (1, 2)
        ]

    assert lives(1) == lives(1) != lives(2)
    seconds = [life.seconds for life in lives(1)]
    assert 10 <= min(seconds) < 11
    assert 29 < max(seconds) <= 30
    assert 80 < sum(life.kind == "error" for life in lives(1)) < 160
    assert set(UNKNOWN_STATUSES) == {life.word for life in lives(1)}
    assert all(first != second for first, second in zip(lives(1)[::2], lives(1)[1::2], strict=True))


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("20", Span(20, 20)),
        ("1.5s", Span(1.5, 1.5)),
        ("10-30", Span(10, 30)),
        ("5-15m", Span(300, 900)),
        ("1h", Span(3600, 3600)),
        ("0", Span(0, 0)),
    ],
)
def test_a_duration_is_read_from_text(text: str, span: Span) -> None:
    """A duration or a range is read, with a unit or in seconds."""
    assert span == parse_span(text)


@pytest.mark.parametrize(
    ("text", "way_out"),
    [("", "write for example 20"), ("-5", "write for"), ("5d", "write for"), ("9-3", "shorter")],
)
def test_a_duration_that_is_none_is_named_with_the_way_out(text: str, way_out: str) -> None:
    """A mistyped duration is an error that names it and the right form."""
    with pytest.raises(ValueError, match=re.escape(way_out)) as raised:
        parse_span(text)
    assert repr(text) in str(raised.value)


def test_a_kind_of_life_that_is_none_is_named() -> None:
    """An unknown kind is an error, in text and in options, and so are too large shares."""
    assert ("error", 0.05) == parse_job_failure("error=0.05")
    with pytest.raises(ValueError, match="did you mean 'error'"):
        parse_job_failure("eror=0.05")
    with pytest.raises(ValueError, match=r"write for example error=0\.05"):
        parse_job_failure("error")
    with pytest.raises(ValueError, match="'lost' is no kind of life"):
        Options(job_seconds=TEN, job_script={1: "lost"})
    with pytest.raises(ValueError, match="outside 0 to 1"):
        Options(job_seconds=TEN, job_failures={"error": 0.6, "gone": 0.6})


@pytest.mark.parametrize(
    "more",
    [{"dead_hosts": {"a"}}, {"job_failures": {"error": 0.1}}, {"job_script": {1: "error"}}],
)
def test_ends_need_a_duration(more: dict[str, object]) -> None:
    """An end that would never come is an error that names the way out."""
    with pytest.raises(ValueError, match="such as 20 or 10-30"):
        Options(**more)  # type: ignore[arg-type]
