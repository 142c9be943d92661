"""Tests of what is said of a run: each is a table of facts and lines."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.conftest import START
from worker.core.model import Accepted, Claim, InDoubt, Outcome, Video
from worker.core.progress import Progress, block, is_due, sentences, story
from worker.core.reasons import ClaimResult, WaitReason
from worker.core.run_state import Counts
from worker.core.verdict import Verdict, VerdictState

CLAIM = Claim(
    video_id=17,
    video=Video(url="https://user:pw@example.org/a.mp4?token=secret", media_id="talk-3"),
    attempt=1,
    attempts=0,
    token="token",
    request_id="ours-17",
    lease_until=START,
)

YOUNG = Progress(
    at=START,
    seconds=1.2,
    counts=Counts(),
    in_flight=1,
    left=100,
    rate=20,
    allowed=20,
    used=None,
    period_seconds=1.0,
    full_pace_at=None,
    money=("0 today",),
    last={},
    held=None,
    verdict=Verdict(state=VerdictState.WORKING, sentence="working: 99 due, 1 in flight"),
)

BUSY = replace(
    YOUNG,
    seconds=83.9,
    counts=Counts(submitted=117, failed=2, in_doubt=1, postponed=4),
    in_flight=3,
    left=220,
    allowed=7.5,
    used=4.126,
    full_pace_at=START + timedelta(seconds=40),
    money=("417 today", "max_per_day 417 of 1000"),
    last=story(CLAIM, Accepted("job-1", 200)),
    held=ClaimResult(reason=WaitReason.COOL_DOWN, until=START + timedelta(seconds=9)),
    verdict=Verdict(
        state=VerdictState.NEEDS_PERSON,
        sentence="needs a person: 2 failed; waiting: a cool-down until 12:00:09 UTC holds all",
        needs=("2 failed: valossa-ingest why says what helps", "1 in doubt: look it up"),
    ),
)

REST = [
    "3 in flight, 117 submitted, 2 failed, 1 in doubt, 4 postponed",
    "pace 7.5 per 1 s (4.13 in the last minute), 20 again at 12:00:40 UTC",
    "bought 117, perhaps 1 more, 417 today, max_per_day 417 of 1000",
    "last answer accepted, video 17, media id talk-3, job id job-1, url https://example.org/a.mp4?…",
    f"{BUSY.verdict.sentence} | 2 failed: valossa-ingest why says what helps",
]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (120, [f"[{'#' * 17}{'.' * 33}]  120/340  0:01:23  ETA 20 s to 62 s", *REST]),
        (80, [f"[{'#' * 14}{'.' * 28}]  120/340  0:01:23  ETA 20 s to 62 s", *REST]),
        (60, [f"[{'#' * 7}{'.' * 15}]  120/340  0:01:23  ETA 20 s to 62 s", *REST]),
        (59, [f"120/340  0:01:23  ETA 20 s to 62 s  {BUSY.verdict.sentence}"]),
        (20, [f"120/340  0:01:23  ETA 20 s to 62 s  {BUSY.verdict.sentence}"]),
    ],
)
def test_a_block_has_six_lines_or_one(width: int, lines: list[str]) -> None:
    """A block has six lines, the bar alone depends on the width; below 60 columns it has one."""
    assert lines == block(BUSY, width)


def test_a_young_run_says_what_it_knows() -> None:
    """Before the first answer nothing is said of one, and of the starts so far."""
    assert [
        f"[{'.' * 50}]  0/100  0:00:01  ETA 5 s",
        "1 in flight, 0 submitted, 0 failed, 0 in doubt, 0 postponed",
        "pace 20 per 1 s",
        "bought 0, perhaps 0 more, 0 today",
        "working: 99 due, 1 in flight",
    ] == block(YOUNG, 120)


def test_the_sentences_are_those_of_the_block() -> None:
    """Lines say the same as the block, without its bar."""
    assert ["120/340  0:01:23  ETA 20 s to 62 s", *REST] == sentences(BUSY)


def test_the_way_out_of_a_state_is_said() -> None:
    """The way out of the state itself is said if no row needs a person."""
    paused = Verdict(state=VerdictState.WAITING, sentence="waiting: paused", remedy="resume it")
    assert "waiting: paused | resume it" == sentences(replace(YOUNG, verdict=paused))[-1]


def held(reason: WaitReason, seconds: float | None = None) -> ClaimResult:
    """Return the result of a claim that brought no start."""
    until = None if seconds is None else START + timedelta(seconds=seconds)
    return ClaimResult(reason=reason, until=until)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"left": 0}, "nothing due"),
        ({"left": 0, "held": held(WaitReason.NOTHING)}, "nothing due"),
        ({}, "ETA 5 s"),
        ({"used": 10.0}, "ETA 5 s to 10 s"),
        ({"used": 40.0}, "ETA 2 s to 5 s"),
        ({"used": 0.0}, "ETA 5 s"),
        ({"allowed": 0.0}, "ETA 5 s to 83 min"),
        ({"left": 3_600, "used": 10.0}, "ETA 3 min to 6 min"),
        ({"left": 360_000, "used": 10.0}, "ETA 5 h to 10 h"),
        ({"left": 36_000_000}, "ETA 21 d"),
        ({"held": held(WaitReason.PAUSE)}, "ETA unknown"),
        ({"verdict": Verdict(state=VerdictState.STALLED, sentence="no disk")}, "ETA unknown"),
        ({"held": held(WaitReason.PACE)}, "ETA 5 s"),
        ({"held": held(WaitReason.COOL_DOWN, 10_800)}, "ETA 3 h"),
        ({"held": held(WaitReason.COOL_DOWN, -10)}, "ETA 5 s"),
    ],
)
def test_the_time_left_is_a_range(facts: dict[str, object], shown: str) -> None:
    """The time left goes from the best pace to the worst one, after what holds all."""
    assert shown == sentences(replace(YOUNG, **facts))[0].split("  ")[2]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "due"),
    [
        ({"seconds": 60.0, "counts": Counts(submitted=1)}, False),
        ({"seconds": 61.2}, True),
        ({"seconds": 11.0, "held": held(WaitReason.PAUSE)}, False),
        ({"seconds": 11.2, "held": held(WaitReason.PAUSE)}, True),
        ({"seconds": 11.2, "held": held(WaitReason.PACE)}, False),
        ({"seconds": 11.2, "full_pace_at": START}, True),
    ],
)
def test_a_line_is_due_each_minute_and_at_a_change(facts: dict[str, object], due: bool) -> None:  # noqa: FBT001
    """A line is due at first, each minute, and when the brake has changed, at most each 10 s."""
    assert due is is_due(replace(YOUNG, **facts), YOUNG)  # type: ignore[arg-type]
    assert is_due(YOUNG, None)
    assert not is_due(None, None)


@pytest.mark.parametrize(
    ("outcome", "answer", "job"),
    [
        (Accepted("job-1", 200), "accepted", "job-1"),
        (InDoubt("no answer"), "in_doubt: no answer", None),
    ],
)
def test_a_story_has_no_secret(outcome: Outcome, answer: str, job: str | None) -> None:
    """The story of an attempt names the video by all it has, its address without the query."""
    assert {
        "video": 17,
        "media_id": "talk-3",
        "url": "https://example.org/a.mp4?…",
        "answer": answer,
        "job_id": job,
    } == story(CLAIM, outcome)


def test_uploads_have_a_line_of_their_own() -> None:
    """Where files are left to upload, and there alone."""
    left = "3, 2 under way: 7.2 GB (1:00:00) left"
    assert f"uploads: {left}" in sentences(replace(BUSY, uploads=left))
    assert not any("uploads" in line for line in sentences(BUSY))


def test_the_end_is_not_told_before_the_last_upload() -> None:
    """A run ends after its requests and its uploads, whatever takes longer."""
    soonest, latest = BUSY.eta or (0.0, 0.0)
    between, beyond = (soonest + latest) / 2, latest + 1
    assert (between, latest) == replace(BUSY, upload_seconds=between).eta
    assert (beyond, beyond) == replace(BUSY, upload_seconds=beyond).eta
    assert "ETA unknown" in sentences(replace(BUSY, upload_seconds=None))[0]


def test_a_file_that_is_uploaded_is_not_waited_for_until_its_lease_ends() -> None:
    """While there are uploads, the moments at which other videos become due say nothing."""
    later = ClaimResult(reason=WaitReason.LATER, until=START + timedelta(hours=1))
    held = replace(BUSY, held=later)
    assert replace(BUSY, held=None).eta == replace(held, uploads="3, 2 under way").eta
