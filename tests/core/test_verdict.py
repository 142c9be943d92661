from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core import relocation
from worker.core.host import HeldHost
from worker.core.model import Fact
from worker.core.reasons import ClaimResult, WaitReason
from worker.core.verdict import (
    END_COOL_DOWN,
    GIVE_ROOT,
    RESUME,
    START,
    UNCLEAR,
    WHY,
    Cause,
    Facts,
    LastAnswer,
    VerdictState,
    judge,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PATIENCE = timedelta(seconds=150)


def ago(seconds: float) -> datetime:
    """Return a moment before now."""
    return NOW - timedelta(seconds=seconds)


SOON, JUST_NOW, LONG_AGO = ago(-600), ago(5), ago(151)
BUSY = Facts(
    now=NOW,
    held=None,
    due=5,
    pending=7,
    in_flight=2,
    failed=0,
    for_person=0,
    answer=LastAnswer(fact=Fact.ACCEPTED, at=JUST_NOW, message=""),
    alive=1,
    silent=(),
    ready_at=LONG_AGO,
    moved_at=JUST_NOW,
    paused_at=None,
    patience=PATIENCE,
    next_drain_at=None,
    pace="40 per 1 s",
)
STUCK = replace(BUSY, moved_at=LONG_AGO)
QUIET = replace(BUSY, due=0, pending=0, in_flight=0, held=ClaimResult(reason=WaitReason.NOTHING))
UNSENT, WORKS = "0 due, 2 in flight, 3 to upload", "working: 5 due, 2 in flight, 3 to upload"
LOCKED = Cause(words="another program has locked it", remedy="end it")
MOMENT = "2026-11-01 12:10:00 UTC"
STANDS = "stalled: 5 due, 2 in flight, nothing has moved since 2026-11-01 11:57:29 UTC"
LISTLESS = "5 wait for the API's list of jobs"
SILENCE = "run on alpha, pid 7, is silent"
SILENT = Cause(words=SILENCE, remedy="kill -CONT 7")


def answered(fact: Fact, message: str = "HTTP 401") -> LastAnswer:
    """Return a last answer."""
    return LastAnswer(fact=fact, at=JUST_NOW, message=message)


def held(reason: WaitReason, until: datetime | None = SOON, **more: object) -> Facts:
    """Return a queue that something holds."""
    return replace(BUSY, held=ClaimResult(reason=reason, until=until, **more))  # type: ignore[arg-type]


UPLOADING = replace(
    held(WaitReason.UPLOADS, NOW), due=0, moved_at=LONG_AGO, uploads=3, uploads_at=SOON
)
IN_VAIN = replace(UPLOADING, uploads_at=LONG_AGO, stuck=1, stuck_on="HTTP 401")
ABSENT = replace(QUIET, moved_at=LONG_AGO, uploads=2, uploads_at=LONG_AGO, stuck=2, stuck_on="gone")
ALONE = "not running: 0 due, 0 in flight, 2 to upload"
STATES = [
    (BUSY, "working: 5 due, 2 in flight, at 40 per 1 s", None),
    (held(WaitReason.PACE), "working: 5 due, 2 in flight, at 40 per 1 s", None),
    (held(WaitReason.OTHERS), "working: 5 due, 2 in flight, at 40 per 1 s", None),
    (QUIET, "idle: nothing is due", None),
    (replace(QUIET, uploads=3), "working: 0 due, 0 in flight, 3 to upload, at 40 per 1 s", None),
    (
        replace(UPLOADING, held=ClaimResult(reason=WaitReason.LATER)),
        f"working: {UNSENT}, at 40 per 1 s",
        None,
    ),
    (UPLOADING, f"working: {UNSENT}, at 40 per 1 s", None),
    (replace(UPLOADING, uploads_at=ago(150)), f"working: {UNSENT}, at 40 per 1 s", None),
    (replace(UPLOADING, stuck=3), f"working: {UNSENT}, at 40 per 1 s", None),
    (replace(ABSENT, alive=0, stuck=0), f"{ALONE}, no worker is alive", START),
    (replace(UPLOADING, alive=0), f"not running: {UNSENT}, no worker is alive", START),
    (replace(held(WaitReason.LATER, ago(1)), uploads=3), f"{WORKS}, at 40 per 1 s", None),
    (replace(held(WaitReason.PACE), uploads=3), f"{WORKS}, at 40 per 1 s", None),
    (
        replace(held(WaitReason.PAUSE, None, detail="wrong list"), paused_at=LONG_AGO),
        "waiting: paused since 2026-11-01 11:57:29 UTC (wrong list)",
        RESUME,
    ),
    (
        held(WaitReason.COOL_DOWN, detail=f"a cool-down until {MOMENT} (HTTP 429)"),
        f"waiting: a cool-down until {MOMENT} (HTTP 429) holds all",
        END_COOL_DOWN,
    ),
    (
        held(
            WaitReason.CAP, detail=f"max_per_day = 3 is reached until {MOMENT}: wait, or raise it"
        ),
        f"waiting: max_per_day = 3 is reached until {MOMENT}",
        "wait, or raise it",
    ),
    (
        held(WaitReason.CAP, None, detail="max_total = 3 is reached: raise it", submitting=1),
        "waiting: max_total = 3, all in flight or used",
        None,
    ),
    (
        held(WaitReason.JOBS, None, detail="max_in_progress = 3 is reached: it goes on"),
        "waiting: max_in_progress = 3 is reached",
        "it goes on",
    ),
    (
        held(WaitReason.JOBS, None, detail="max_in_progress = 3 is reached: no", submitting=1),
        "waiting: max_in_progress = 3, all in flight or used",
        None,
    ),
    (
        replace(held(WaitReason.JOBS, None, detail="max_in_progress = 3 is reached"), alive=0),
        "not running: 5 due, 2 in flight, no worker is alive",
        START,
    ),
    (
        held(WaitReason.HOSTS),
        f"waiting: only videos of held hosts are left, the next probe goes at {MOMENT}",
        None,
    ),
    (
        replace(held(WaitReason.PACE), moved_at=LONG_AGO),
        f"waiting: 40 per 1 s allows the next start at {MOMENT}",
        None,
    ),
    (held(WaitReason.LATER), f"waiting: 7 due later, the next at {MOMENT}", None),
    (
        replace(held(WaitReason.LATER), alive=0),
        f"waiting: 7 due later, the next at {MOMENT}; no worker is alive",
        None,
    ),
    (
        replace(held(WaitReason.OTHERS), moved_at=LONG_AGO),
        f"waiting: 2 in flight, in doubt from {MOMENT} without an answer",
        None,
    ),
    (held(WaitReason.DOUBTS), f"waiting: a doubt may be repeated at {MOMENT}", None),
    (
        held(WaitReason.LIST),
        f"waiting: the API's list of jobs is asked about doubts at {MOMENT}",
        None,
    ),
    (
        replace(held(WaitReason.LATER), unlisted=5),
        f"waiting: {LISTLESS}, the next look is at {MOMENT}",
        None,
    ),
    (
        replace(held(WaitReason.LIST), unlisted=5, moved_at=LONG_AGO, alive=0),
        f"waiting: {LISTLESS}, the next look is at {MOMENT}; no worker is alive",
        None,
    ),
    (
        replace(held(WaitReason.LATER), unlisted=5, moved_at=LONG_AGO),
        f"{STANDS}: {LISTLESS}, which is not read",
        "valossa-ingest check --online says what is wrong",
    ),
    (
        replace(held(WaitReason.LATER), due=0, moved_at=LONG_AGO),
        f"waiting: 7 due later, the next at {MOMENT}",
        None,
    ),
    (
        replace(held(WaitReason.PAUSE, None), unlisted=5, moved_at=LONG_AGO, paused_at=LONG_AGO),
        "waiting: paused since 2026-11-01 11:57:29 UTC",
        RESUME,
    ),
    (held(WaitReason.HELD), "waiting: another program holds the rows", None),
    (
        STUCK,
        f"{STANDS}: its workers claim nothing",
        "see their settings and log (valossa-ingest workers says where), then start them anew",
    ),
    (
        replace(UPLOADING, uploads_at=LONG_AGO),
        f"{STANDS.replace('5 due, 2 in flight', UNSENT)}: its workers claim nothing",
        "see their settings and log (valossa-ingest workers says where), then start them anew",
    ),
    (
        replace(STUCK, cause=LOCKED),
        f"{STANDS}: another program has locked it",
        "end it",
    ),
    (
        replace(STUCK, answer=answered(Fact.NOT_SENT, "no route")),
        f"{STANDS}: no clear answer from the API (no route)",
        "valossa-ingest check --online says what is wrong",
    ),
    (
        replace(BUSY, alive=0),
        "not running: 5 due, 2 in flight, no worker is alive",
        START,
    ),
    (
        replace(BUSY, alive=0, next_drain_at=SOON),
        f"waiting: 5 due, 2 in flight, the next drain is expected at {MOMENT}",
        None,
    ),
    (
        replace(BUSY, alive=0, next_drain_at=JUST_NOW),
        "not running: 5 due, 2 in flight, no worker is alive",
        START,
    ),
    (
        held(WaitReason.MOVED, None, detail="sqlite:////new.db"),
        f"not running: this queue {relocation.sentence('sqlite:////new.db')}",
        None,
    ),
]


@pytest.mark.parametrize(("facts", "sentence", "remedy"), STATES)
def test_a_queue_is_judged(facts: Facts, sentence: str, remedy: str | None) -> None:
    """Each state has its sentence and its way out, and needs nobody."""
    verdict = judge(facts)
    assert (sentence, remedy, ()) == (verdict.sentence, verdict.remedy, verdict.needs)
    assert verdict.state == sentence.partition(":")[0]


DEAD = HeldHost(
    host="dead.example",
    since=LONG_AGO,
    why="3 of the last 4 jobs of dead.example could not be downloaded",
    videos=7,
    first=1,
    failed=5,
    probe_at=SOON,
    probes=0,
    probe_video=None,
)
NEEDS = [
    (
        replace(STUCK, answer=answered(Fact.ACCOUNT_REFUSED), failed=1),
        "needs a person: the API refuses the key or the account (HTTP 401); stalled: 5 due",
        "put the right key in VALOSSA_API_KEY",
    ),
    (
        replace(BUSY, answer=answered(Fact.WRONG_ADDRESS, "")),
        "needs a person: what answers at api_url is not the API; working: 5 due",
        "correct api_url",
    ),
    (
        replace(BUSY, alive=0, silent=[SILENT]),
        f"needs a person: {SILENCE}; not running: 5 due",
        "kill -CONT 7",
    ),
    (
        replace(BUSY, silent=[SILENT], cause=LOCKED),
        f"needs a person: {SILENCE}; working: 5 due",
        "kill -CONT 7",
    ),
    (
        replace(BUSY, for_person=2, failed=3),
        "needs a person: 2 in doubt that only a person can settle; working: 5 due",
        "valossa-ingest list --state in_doubt names them",
    ),
    (replace(QUIET, failed=3), "needs a person: 3 failed", "valossa-ingest why"),
    (
        IN_VAIN,
        (
            f"stalled: {UNSENT}, nothing has moved since 2026-11-01 11:57:29 UTC: "
            "1 cannot be uploaded (HTTP 401)"
        ),
        WHY,
    ),
    (ABSENT, "needs a person: 2 cannot be uploaded (gone)", WHY),
    (replace(ABSENT, uploads=3, moved_at=JUST_NOW), "needs a person: 2 cannot be uploaded", WHY),
    (replace(BUSY, stuck=1, stuck_on="gone", uploads=1), "needs a person: 1 cannot be", WHY),
    (replace(ABSENT, alive=0), ALONE, START),
    (
        replace(QUIET, homeless=2, failed=3),
        "needs a person: 2 to upload, but in upload_roots of no worker",
        GIVE_ROOT,
    ),
    (
        replace(held(WaitReason.HOSTS), hosts=[DEAD], overdue=1, overdue_job="j", failed=3),
        (
            "needs a person: 7 held, since 3 of the last 4 jobs of dead.example could not be "
            "downloaded; waiting: only videos of held hosts are left, the next probe goes at "
            f"{MOMENT}"
        ),
        "a probe goes at 2026-11-01 12:10:00 UTC; valossa-ingest release --host dead.example",
    ),
    (
        replace(QUIET, overdue=2, overdue_job="job-1", failed=3),
        "needs a person: 2 in progress for far longer than other jobs, such as job job-1",
        "look in the Valossa Portal what became of them",
    ),
    (
        replace(STUCK, silent=[SILENT], alive=0),
        f"needs a person: {SILENCE}; not running: 5 due, 2 in flight, no worker is alive",
        "kill -CONT 7",
    ),
    (
        replace(STUCK, silent=[SILENT]),
        f"{STANDS}: {SILENCE}",
        "kill -CONT 7",
    ),
    (replace(STUCK, failed=3), "stalled: 5 due", "see their settings"),
    (replace(BUSY, alive=0, failed=3), "not running: 5 due", "valossa-ingest run"),
]


@pytest.mark.parametrize(("facts", "sentence", "remedy"), NEEDS)
def test_what_needs_a_person_is_said(facts: Facts, sentence: str, remedy: str) -> None:
    """The most urgent trouble names the state; every need has its way out."""
    verdict = judge(facts)
    assert verdict.sentence.startswith(sentence)
    assert (verdict.remedy or "").startswith(remedy)
    assert verdict.needs
    assert all(": " in need for need in verdict.needs)


def test_every_way_out_is_named() -> None:
    """A pause, which a person alone can end, is a need beside others; a start is said first."""
    paused = replace(held(WaitReason.PAUSE, None), paused_at=LONG_AGO, failed=3)
    told = "paused since 2026-11-01 11:57:29 UTC"
    verdict = judge(paused)
    assert f"needs a person: 3 failed; waiting: {told}" == verdict.sentence
    assert (f"3 failed: {WHY}", f"{told}: {RESUME}") == verdict.ways_out
    assert (START, f"3 failed: {WHY}") == judge(replace(BUSY, alive=0, failed=3)).ways_out
    assert (RESUME,) == judge(replace(paused, failed=0)).ways_out


def test_a_refusal_that_keeps_nothing_back_needs_nobody() -> None:
    """The last answer of an empty queue is no need."""
    assert VerdictState.IDLE is judge(replace(QUIET, answer=answered(Fact.WRONG_ADDRESS))).state


def test_a_queue_that_never_moved_is_stalled_from_the_first_due_video_on() -> None:
    """Without any move, the standstill begins when something could have moved."""
    assert VerdictState.STALLED is judge(replace(BUSY, moved_at=None)).state
    assert VerdictState.WORKING is judge(replace(BUSY, moved_at=None, ready_at=JUST_NOW)).state


def test_a_wait_whose_end_has_come_is_no_wait() -> None:
    """A moment that has passed holds nothing: without a move the queue is stalled."""
    assert (
        VerdictState.STALLED
        is judge(replace(held(WaitReason.LIST, JUST_NOW), moved_at=LONG_AGO)).state
    )


MOMENTS = st.sampled_from([LONG_AGO, JUST_NOW, NOW, SOON])
NUMBERS = st.sampled_from([0, 1, 7])
WAITS = st.builds(
    ClaimResult,
    reason=st.sampled_from(WaitReason),
    until=st.none() | MOMENTS,
    detail=st.sampled_from(["", "max_total = 3 is reached: raise it", "{odd}"]),
    submitting=NUMBERS,
)
ANY = st.builds(
    Facts,
    now=st.just(NOW),
    held=st.none() | WAITS,
    due=NUMBERS,
    pending=NUMBERS,
    in_flight=NUMBERS,
    failed=NUMBERS,
    for_person=NUMBERS,
    answer=st.none()
    | st.builds(LastAnswer, fact=st.sampled_from(Fact), at=MOMENTS, message=st.text()),
    alive=NUMBERS,
    silent=st.lists(st.just(SILENT), max_size=2),
    ready_at=MOMENTS,
    moved_at=st.none() | MOMENTS,
    paused_at=st.none() | MOMENTS,
    patience=st.just(PATIENCE),
    next_drain_at=st.none() | MOMENTS,
    pace=st.just("1 per 1 s"),
    cause=st.none() | st.just(LOCKED),
    hosts=st.just(()) | st.just((DEAD,)),
    overdue=NUMBERS,
    overdue_job=st.just("job"),
    uploads=NUMBERS,
    stuck=NUMBERS,
    uploads_at=st.none() | MOMENTS,
)


@given(ANY)
def test_no_verdict_is_calm_while_something_due_does_not_move(facts: Facts) -> None:
    """Law 18: every state has exactly one verdict, never a calm one over a standstill."""
    verdict = judge(facts)
    assert verdict.state in VerdictState
    assert verdict.sentence.startswith(f"{verdict.state}: ")
    could_move = facts.held is None or (facts.held.until or SOON) <= NOW
    if verdict.state is VerdictState.WORKING:
        assert facts.alive
        uploads = facts.uploads and facts.uploads_go_on and not facts.due
        assert uploads or not facts.stands_still
    if verdict.state is VerdictState.IDLE:
        assert (facts.due, could_move) == (0, False)
    if verdict.state in {VerdictState.STALLED, VerdictState.NOT_RUNNING} and facts.held is None:
        assert verdict.remedy
    if facts.held and facts.held.reason is WaitReason.JOBS and not facts.alive:
        is_expected = facts.next_drain_at is not None and facts.next_drain_at > NOW
        assert verdict.state is not VerdictState.WAITING or is_expected
    persons = (facts.failed, facts.for_person, facts.silent, facts.refusal)
    if any((*persons, facts.hosts, facts.overdue, facts.stuck_cause)):
        assert verdict.needs
        assert verdict.state not in {VerdictState.WORKING, VerdictState.IDLE, VerdictState.WAITING}


@pytest.mark.parametrize("fact", sorted(UNCLEAR))
def test_an_api_that_gives_no_clear_answer_is_named(fact: Fact) -> None:
    """A stall after answers that move nothing names the last one."""
    assert "(HTTP 401)" in judge(replace(STUCK, answer=answered(fact))).sentence
