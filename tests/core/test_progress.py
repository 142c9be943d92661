"""Tests of what is said of a run: each is a table of facts and lines."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.conftest import START
from worker.core.breaker import Breaker
from worker.core.model import Accepted, Claim, InDoubt, Outcome, Video
from worker.core.progress import Progress, block, is_due, sentence, story, waits
from worker.core.reasons import ClaimResult, WaitReason
from worker.core.run_state import Counts, RunState

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
    rate=20,
    period_seconds=1.0,
    allowed=20,
)

BUSY = Progress(
    at=START,
    seconds=83.9,
    counts=Counts(submitted=117, failed=2, in_doubt=1, postponed=4),
    in_flight=3,
    rate=20,
    period_seconds=1.0,
    allowed=7.5,
    used=4.126,
    full_pace_at=START + timedelta(seconds=40),
    left=220,
    waits_for=WaitReason.COOL_DOWN,
    waits_until=START + timedelta(seconds=9),
    why=f"a cool-down until {START:%Y-%m-%d} 12:00:09 UTC (HTTP 429)",
    money=("417 today", "max_per_day 417 of 1000"),
    last=story(CLAIM, Accepted("job-1", 200)),
    last_at=START - timedelta(seconds=2),
    needs=("2 failed: valossa-ingest why says what helps", "1 in doubt: look it up"),
)

REST = [
    "3 in flight, 117 submitted, 2 failed, 1 in doubt, 4 postponed",
    (
        "a cool-down until 12:00:09 UTC (HTTP 429) | pace 4.13 of 7.5 per 1 s "
        "(20 again at 12:00:40 UTC)"
    ),
    "bought 117, perhaps 1 more | 417 today | max_per_day 417 of 1000",
    "last answer 11:59:58 UTC: accepted, video 17 (talk-3), job job-1",
    "needs you: 2 failed: valossa-ingest why says what helps (and 1 more: see status)",
]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (120, [f"[{'#' * 17}{'.' * 33}]  120/340  0:01:23  ETA 20 to 62 s", *REST]),
        (80, [f"[{'#' * 15}{'.' * 29}]  120/340  0:01:23  ETA 20 to 62 s", *REST]),
        (60, [f"[{'#' * 8}{'.' * 16}]  120/340  0:01:23  ETA 20 to 62 s", *REST]),
        (
            59,
            [
                (
                    "120/340  0:01:23  ETA 20 to 62 s  needs you  "
                    "a cool-down until 12:00:09 UTC (HTTP 429)"
                )
            ],
        ),
        (30, ["120/340  0:01:23  ETA 20 to 62 s  needs you  " + REST[1].partition(" | ")[0]]),
    ],
)
def test_a_block_has_six_lines_or_one(width: int, lines: list[str]) -> None:
    """A block has at most six lines, none but the bar of another length; below 60 columns one."""
    assert lines == block(BUSY, width)


def test_a_young_run_says_what_it_knows() -> None:
    """Before the queue is seen and an answer is there, nothing is said of them."""
    assert [
        f"[{'.' * 50}]  0/?  0:00:01  ETA unknown",
        "1 in flight, 0 submitted, 0 failed, 0 in doubt, 0 postponed",
        "pace 20 per 1 s",
        "bought 0, perhaps 0 more",
    ] == block(YOUNG, 120)
    assert ["0/?  0:00:01  ETA unknown"] == block(YOUNG, 50)


def test_the_sentence_says_what_the_block_does() -> None:
    """The sentence has the words of the block, without its bar."""
    assert "; ".join(("120/340  0:01:23  ETA 20 to 62 s", *REST)) == sentence(BUSY)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({}, "ETA unknown"),
        ({"left": 0}, "nothing due"),
        ({"left": 0, "waits_for": WaitReason.NOTHING}, "nothing due"),
        ({"left": 100}, "ETA 5 s"),
        ({"left": 100, "used": 10.0}, "ETA 5 to 10 s"),
        ({"left": 100, "used": 40.0}, "ETA 2 to 5 s"),
        ({"left": 100, "used": 0.0}, "ETA 5 s"),
        ({"left": 100, "allowed": 0.0}, "ETA 5 s to 83 min"),
        ({"left": 3_600, "used": 10.0}, "ETA 3 to 6 min"),
        ({"left": 360_000, "used": 10.0}, "ETA 5 to 10 h"),
        ({"left": 36_000_000}, "ETA 21 d"),
        ({"left": 100, "waits_for": WaitReason.PAUSE}, "ETA unknown"),
        ({"left": 100, "waits_for": "x", "waits_until": START + timedelta(hours=3)}, "ETA 3 h"),
    ],
)
def test_the_time_left_is_a_range(facts: dict[str, object], shown: str) -> None:
    """The time left goes from the best pace to the worst one, after what holds all."""
    assert shown == block(replace(YOUNG, **facts), 50)[0].split("  ")[2]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"waits_for": WaitReason.PAUSE, "why": "wrong list"}, "paused (wrong list)"),
        (
            {"waits_for": WaitReason.CAP, "why": "max_total = 5 is reached: raise it"},
            "max_total = 5 is reached: raise it",
        ),
        (
            {
                "waits_for": WaitReason.LIST,
                "waits_until": START + timedelta(seconds=300),
                "why": "to settle 2 in doubt",
            },
            "waits for the API's list of jobs until 12:05:00 UTC (to settle 2 in doubt)",
        ),
        (
            {"waits_for": WaitReason.LATER, "waits_until": START + timedelta(days=1)},
            (
                f"waits for videos that are due later until {START + timedelta(days=1):%Y-%m-%d} "
                "12:00:00 UTC"
            ),
        ),
    ],
)
def test_what_holds_a_run_stands_before_the_pace(facts: dict[str, object], shown: str) -> None:
    """What holds a run is named with its end and its cause."""
    lines = block(replace(YOUNG, **facts), 120)  # type: ignore[arg-type]
    assert f"{shown} | pace 20 per 1 s" == lines[2]


def met(reason: WaitReason, seconds: float | None = 60.0, detail: str = "") -> ClaimResult:
    """Return the result of a claim that brought no start."""
    until = None if seconds is None else START + timedelta(seconds=seconds)
    return ClaimResult(reason=reason, until=until, detail=detail)


UNTIL = START + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ("", None, "")),
        ({"claimed": met(WaitReason.PACE)}, ("", None, "")),
        ({"claimed": met(WaitReason.LATER, -1)}, ("", None, "")),
        ({"claimed": met(WaitReason.LATER)}, (WaitReason.LATER, UNTIL, "")),
        ({"claimed": met(WaitReason.LATER), "in_flight": 1}, ("", None, "")),
        ({"claimed": met(WaitReason.NOTHING, None)}, (WaitReason.NOTHING, None, "")),
        (
            {"claimed": met(WaitReason.LIST), "doubts": {4, 9}},
            (WaitReason.LIST, UNTIL, "to settle 2 in doubt"),
        ),
        ({"reads_list": True}, ("the API's list of jobs", None, "")),
        (
            {"claimed": met(WaitReason.PAUSE, None, "wrong list"), "in_flight": 1},
            (WaitReason.PAUSE, None, "wrong list"),
        ),
        (
            {"claimed": met(WaitReason.CAP, 60, "max_total = 5 is reached"), "doubts": {4}},
            (WaitReason.CAP, UNTIL, "max_total = 5 is reached"),
        ),
        (
            {"breaker": Breaker(cool_until=70.0), "last_unclear": "HTTP 500"},
            (
                WaitReason.COOL_DOWN,
                UNTIL,
                f"a cool-down until {START:%Y-%m-%d} 12:01:00 UTC (HTTP 500)",
            ),
        ),
        (
            {"breaker": Breaker(cool_until=70.0), "database_lost_at": 5.0},
            ("the database", None, ""),
        ),
    ],
)
def test_a_run_is_held_by_one_thing(facts: dict[str, object], expected: tuple[object, ...]) -> None:
    """What holds a run comes from its own state, and is over when its time is."""
    run = RunState(began_at=0.0, **facts)  # type: ignore[arg-type]
    assert expected == waits(run, START, 10.0)


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


@pytest.mark.parametrize(
    ("facts", "due"),
    [
        ({"seconds": 60.0, "counts": Counts(submitted=1)}, False),
        ({"seconds": 61.2}, True),
        ({"seconds": 11.0, "waits_for": WaitReason.PAUSE}, False),
        ({"seconds": 11.2, "waits_for": WaitReason.PAUSE}, True),
        ({"seconds": 11.2, "full_pace_at": START}, True),
    ],
)
def test_a_line_is_due_each_minute_and_at_a_change(facts: dict[str, object], due: bool) -> None:  # noqa: FBT001
    """A line is due at first, each minute, and when the brake has changed, at most each 10 s."""
    assert due is is_due(replace(YOUNG, **facts), YOUNG)  # type: ignore[arg-type]
    assert is_due(YOUNG, None)
