from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.conftest import START
from worker.core.host import HeldHost
from worker.core.model import Fact
from worker.core.notices import QUIET_SECONDS, Notice, Told, needs, spent, tell, troubles
from worker.core.verdict import Cause, Facts, LastAnswer, VerdictState

WELL = Facts(
    now=START,
    held=None,
    due=3,
    pending=3,
    in_flight=0,
    failed=0,
    for_person=0,
    answer=None,
    alive=1,
    silent=(),
    ready_at=START,
    moved_at=START,
    paused_at=None,
    patience=timedelta(minutes=5),
    next_drain_at=None,
    pace="1 per 1 s",
)
HELD = HeldHost(
    host="dead.example",
    since=START,
    why="3 of 4",
    videos=7,
    failed=3,
    first=None,
    probe_at=START,
    probes=0,
    probe_video=None,
)
SILENT = Cause(words="run on here is silent", remedy="start it anew")


def refused(fact: Fact) -> LastAnswer:
    """Return a last answer that turns everything away."""
    return LastAnswer(fact=fact, at=START, message="no")


TROUBLES = [
    ({}, {}),
    ({"failed": 2}, {Notice.FAILED: 2}),
    ({"for_person": 1}, {Notice.DOUBTS: 1}),
    ({"silent": (SILENT,)}, {Notice.WORKER_SILENT: 1}),
    ({"answer": refused(Fact.ACCOUNT_REFUSED)}, {Notice.KEY: 1}),
    ({"answer": refused(Fact.WRONG_ADDRESS), "failed": 1}, {Notice.ADDRESS: 1, Notice.FAILED: 1}),
    ({"answer": refused(Fact.ACCOUNT_REFUSED), "pending": 0}, {}),
    ({"hosts": (HELD, HELD)}, {Notice.HELD_HOST: 2}),
    ({"overdue": 3}, {Notice.OVERDUE: 3}),
    ({"homeless": 2}, {Notice.UPLOADS: 2}),
    ({"stuck": 2}, {Notice.UPLOADS: 1}),
    ({"stuck": 2, "uploads_at": START}, {}),
]


@pytest.mark.parametrize(("changes", "expected"), TROUBLES)
def test_what_needs_a_person_is_counted_by_kind(
    changes: dict[str, object], expected: dict[Notice, int]
) -> None:
    """Every kind has its number, 0 as well, and those above 0 are the troubles."""
    facts = replace(WELL, **changes)  # type: ignore[arg-type]
    assert dict.fromkeys(needs(WELL), 0) | expected == needs(facts)
    assert set(expected) == troubles(VerdictState.NEEDS_PERSON, facts, set())


def test_a_state_has_its_troubles() -> None:
    """A stall is one trouble, also of a database that cannot be read; without a worker nothing
    ends or begins; every other state has none.
    """
    failing, known = replace(WELL, failed=2), {Notice.KEY}
    assert {Notice.STALLED, *known} == troubles(VerdictState.STALLED, failing, known)
    assert {Notice.STALLED, *known} == troubles(VerdictState.STALLED, None, known)
    assert known == troubles(VerdictState.NOT_RUNNING, failing, known)
    for state in (VerdictState.WORKING, VerdictState.IDLE, VerdictState.WAITING):
        assert set() == troubles(state, failing, known)


LIVES = {
    "a queue that is well is not told of": ("0 , 5 , 60 ", ""),
    "a trouble is told once": ("0 stalled, 1 stalled, 20 stalled, 60 stalled", "0 stalled"),
    "its end is told": ("0 stalled, 1 ", "0 stalled, 1 resolved"),
    "another trouble is told, and the end of the last one": (
        "0 failed, 1 failed+key, 2 failed, 3 failed, 4 ",
        "0 failed, 1 key, 4 resolved",
    ),
    "a kind that ended is told anew": (
        "0 failed+key, 1 failed, 20 failed+key",
        "0 key+failed, 20 key",
    ),
    "a trouble that comes back at once waits for its quarter of an hour": (
        "0 stalled, 1 , 2 stalled, 14 stalled, 15 stalled, 16 stalled",
        "0 stalled, 1 resolved, 15 stalled",
    ),
    "a trouble that went again meanwhile is not told": (
        "0 stalled, 1 , 2 stalled, 14 , 60 ",
        "0 stalled, 1 resolved",
    ),
    "an end is told as seldom": (
        "0 stalled, 1 , 2 key, 3 , 15 , 16 ",
        "0 stalled, 1 resolved, 2 key, 16 resolved",
    ),
    "the end of a drain with failures is told beside the state": (
        "0 failed, 1 failed drain, 2 failed drain, 16 failed drain",
        "0 failed, 1 drain_failed, 16 drain_failed",
    ),
    "the end of a drain tells the state as well": (
        "0 failed drain, 1 failed",
        "0 failed+drain_failed",
    ),
}


@pytest.mark.parametrize(("life", "said"), LIVES.values(), ids=LIVES)
def test_a_life_is_told_so(life: str, said: str) -> None:
    """Each change into or out of trouble is told, each reason at most once a quarter of an hour."""
    told, heard = Told(), []
    for moment in life.split(", "):
        minute, kinds, *ended = moment.split(" ")
        now = START + timedelta(minutes=int(minute))
        found = {Notice(kind) for kind in kinds.split("+") if kind}
        told, reasons = tell(told, found, now, drain_failed=bool(ended))
        if reasons:
            heard.append(f"{minute} {'+'.join(reasons)}")
    assert said == ", ".join(heard)


def test_a_clock_set_back_silences_for_a_quarter_at_most() -> None:
    """A reason that was told in what is the future now holds no notice back."""
    told = Told(at={Notice.STALLED: START.timestamp()})
    found, quiet = {Notice.STALLED}, timedelta(seconds=QUIET_SECONDS)
    assert [] == tell(told, found, START - quiet / 2, drain_failed=False)[1]
    assert [Notice.STALLED] == tell(told, found, START - quiet, drain_failed=False)[1]


def test_what_was_spent_for_nothing_is_told_when_there_is_more_of_it() -> None:
    """A job in error is told once, a later one again after a while; it is no open trouble."""

    def at(seconds: float) -> datetime:
        return START + timedelta(seconds=seconds)

    told, said = Told(), []
    for now, wasted_at in (
        (at(0), None),
        (at(1), at(0)),
        (at(2), at(0)),
        (at(60), at(50)),
        (at(QUIET_SECONDS + 1), at(50)),
        (at(3 * QUIET_SECONDS), at(50)),
    ):
        told, reasons = tell(told, set(), now, drain_failed=False, wasted_at=wasted_at)
        said.append(bool(reasons))
        assert set(reasons) <= {Notice.SPENT}
    assert [False, True, False, False, True, False] == said
    assert frozenset() == told.open


@pytest.mark.parametrize(
    ("host", "details", "words"),
    [
        (
            "dead.example",
            "404",
            "2 jobs ended in error within a day and were paid for nothing, the",
        ),
        ("dead.example", "404", "the first of dead.example: 404; valossa-ingest list --job-status"),
        (None, None, "the first: the API gives no reason; valossa-ingest list"),
    ],
)
def test_what_was_spent_names_the_first(host: str | None, details: str | None, words: str) -> None:
    """The number, the host and the reason of the first job are in the sentence."""
    assert words in spent(2, host, details)
