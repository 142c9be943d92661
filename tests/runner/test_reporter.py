import pytest

from tests.conftest import START
from tests.parts import later, listener
from worker.core.evidence import Absent, Ambiguous, Doubt, Found, NoEvidence, Resolvable, Verdict
from worker.core.job_list import Entry, Listing, Unlisted
from worker.core.model import (
    Accepted,
    Claim,
    ClaimStatus,
    CoolDown,
    Expired,
    InDoubt,
    Outcome,
    Refused,
    Released,
    Result,
    Settlement,
    Start,
    Transition,
    Video,
)
from worker.core.reasons import ClaimResult, WaitReason
from worker.db.address import DatabaseProblem
from worker.runner.reporter import Reporter
from worker.runner.verdicts import JudgedDoubt

CLAIM = Claim(
    video_id=7,
    video=Video(url="https://example.org/a.mp4"),
    attempt=3,
    attempts=1,
    token="the-token",
    request_id="ours-7",
    lease_until=later(START, 70),
)


class Bench:
    """A reporter with its log lines."""

    def __init__(self) -> None:
        self.log, self.said = listener()
        self.reporter = Reporter(self.log)


@pytest.fixture
def bench() -> Bench:
    """Return a new bench."""
    return Bench()


def settled(outcome: Outcome, transition: Transition, *, lost: bool = False) -> Settlement:
    """Return a result that was written."""
    return Settlement(
        result=Result(claim=CLAIM, outcome=outcome, started_at=START),
        status=ClaimStatus(holds=not lost),
        transition=transition,
    )


@pytest.mark.parametrize(
    ("outcome", "level", "status", "job_id", "message"),
    [
        (Accepted("job-1", 200), "info", 200, "job-1", None),
        (Released("our own stop"), "info", None, None, "our own stop"),
        (Refused("no such format", 400), "warning", 400, None, "no such format"),
        (InDoubt("no answer"), "warning", None, None, "no answer"),
    ],
)
def test_the_closing_line_says_everything(
    bench: Bench, outcome: Outcome, level: str, status: int | None, job_id: str, message: str
) -> None:
    """The closing line names all that finds the job again. On a full disk it is the only copy."""
    bench.reporter.ended(CLAIM, outcome, 1.23456)
    assert [
        {
            "event": "attempt_ended",
            "log_level": level,
            "video": 7,
            "attempt": 3,
            "outcome": outcome.fact,
            "status": status,
            "seconds": 1.235,
            "request_id": "ours-7",
            "job_id": job_id,
            "message": message,
        }
    ] == bench.said


def test_a_settled_attempt_needs_no_line(bench: Bench) -> None:
    """The line of an attempt's end is the only one of an attempt that was settled."""
    bench.reporter.settled(settled(Accepted("job-1", 200), Transition.submit("job-1")))
    assert [] == bench.said


def test_a_lost_claim_is_logged(bench: Bench) -> None:
    """An answer that comes too late for its claim is in the log."""
    bench.reporter.settled(settled(Refused("no", 400), Transition.fail("no"), lost=True))
    lost = {"event": "claim_lost", "log_level": "warning", "video": 7, "attempt": 3}
    assert [lost] == bench.said


def test_a_row_that_was_closed_is_told(bench: Bench) -> None:
    """A video that fails without a request is in the log."""
    bench.reporter.refused(7, "url: is empty")
    refused = {"event": "video_refused", "log_level": "warning", "video": 7}
    assert [{**refused, "message": "url: is empty"}] == bench.said


def test_a_lease_that_ran_out_is_told(bench: Bench) -> None:
    """A doubt that another process left is in the log and in the counts of the process that
    found it.
    """
    bench.reporter.expired(Expired(video_id=7, attempt=3, claimed_by="worker-0"))
    expired = {"event": "lease_expired", "log_level": "warning", "video": 7, "attempt": 3}
    assert [{**expired, "claimed_by": "worker-0"}] == bench.said


def test_a_cool_down_is_told(bench: Bench) -> None:
    """A cool-down is logged with its length and its reason."""
    bench.reporter.cool_down(CoolDown(12.34, "too fast"))
    cooling = {"event": "cool_down", "log_level": "warning", "seconds": 12.3, "reason": "too fast"}
    assert [cooling] == bench.said


def test_a_trouble_of_the_database_is_told_once_and_so_is_its_end(bench: Bench) -> None:
    """A night without a disk is two log lines: its begin and its end."""
    bench.reporter.database(None)
    for problem in (DatabaseProblem("the disk is full"), DatabaseProblem("and still"), None, None):
        bench.reporter.database(problem)
    assert [
        {"event": "database_trouble", "log_level": "error", "problem": "the disk is full"},
        {"event": "database_works", "log_level": "warning"},
    ] == bench.said
    bench.reporter.database(DatabaseProblem("again"))
    assert ["database_trouble", "again"] == [bench.said[-1][key] for key in ("event", "problem")]


def test_why_work_beside_the_claims_failed_is_told_once_an_hour(bench: Bench) -> None:
    """A row that refuses is told with what was to be written, a database in trouble as always."""
    refused = ValueError("not this one")
    refused.add_note("to follow a job")
    tell = bench.reporter.unwritten
    for seconds in (0, 3599, 3600):
        for error in (refused, ValueError("nor this"), DatabaseProblem("no such table: theirs")):
            tell(error, later(START, seconds))
            bench.reporter.database(None)
    said = "the database refuses to write this row: "
    once = [
        ("write_refused", "to follow a job", f"{said}not this one"),
        ("write_refused", "", f"{said}nor this"),
        ("database_trouble", None, None),
        ("database_works", None, None),
    ]
    lines = [(each["event"], each.get("purpose"), each.get("reason")) for each in bench.said]
    assert [*once, *once] == lines


def judged(verdict: Verdict, *, is_recheck: bool = False, used_up: bool = False) -> JudgedDoubt:
    """Return a doubt with the verdict of a list."""
    doubt = Doubt(
        video_id=7,
        attempt=3,
        attempts=1,
        url="https://example.org/a.mp4",
        media_id=None,
        request_id="ours-7",
        unique=True,
        began_at=START,
        recorded_at=START,
    )
    return JudgedDoubt(doubt=doubt, verdict=verdict, is_recheck=is_recheck, used_up=used_up)


SHOWN = Listing(
    entries=(Entry(job_id="j", status=None, identifiers=frozenset(), urls=frozenset()),),
    paged="it says next",
    shape="[{job_id: str}]",
)
LIST_READ = {"event": "list_read", "log_level": "info", "jobs": 1}
FOUND_LINE = {"event": "doubt_found", "log_level": "info", "video": 7, "job_id": "job-7"}
ABSENT_LINE = {"event": "doubt_absent", "log_level": "info", "video": 7, "attempt": 3}


@pytest.mark.parametrize(
    ("each", "lines"),
    [
        (judged(Found("job-7")), [FOUND_LINE]),
        (judged(Absent()), [ABSENT_LINE]),
        (judged(Absent(), used_up=True), [ABSENT_LINE]),
        (judged(Ambiguous("two jobs")), []),
        (judged(NoEvidence("too young", Resolvable.TIME)), []),
    ],
)
def test_a_proof_is_logged(bench: Bench, each: JudgedDoubt, lines: list[dict[str, object]]) -> None:
    """Each doubt that a list proves found or absent is a line of the log."""
    bench.reporter.reconciled(SHOWN, [each])
    logged = [line for line in bench.said if line["event"] not in {"list_read", "list_shape"}]
    assert lines == logged


def test_the_shape_of_the_list_is_told_once(bench: Bench) -> None:
    """The shape of the undocumented list is logged once."""
    for _ in range(2):
        bench.reporter.reconciled(SHOWN, [judged(Found("job-7")), judged(Absent())])
    verdicts = {"Found": 1, "Absent": 1}
    told = [line for line in bench.said if str(line["event"]).startswith("list")]
    shape = {"event": "list_shape", "log_level": "info"}
    assert [
        {**LIST_READ, "verdicts": verdicts},
        {**shape, "shape": "[{job_id: str}]", "paged": "it says next"},
        {**LIST_READ, "verdicts": verdicts},
    ] == told


def test_a_list_that_cannot_be_had_is_told(bench: Bench) -> None:
    """A list that cannot be read is logged with the API's reason."""
    bench.reporter.reconciled(Unlisted(reason="HTTP 404"), [])
    read = {"event": "list_read", "log_level": "warning", "jobs": None, "reason": "HTTP 404"}
    assert [read] == bench.said


def cap(submitting: int = 0) -> ClaimResult:
    """Return the claim result of a full cap."""
    return ClaimResult(
        reason=WaitReason.CAP, detail="max_total = 3 is reached", submitting=submitting
    )


def test_a_full_cap_is_told_once(bench: Bench) -> None:
    """A full cap is logged once, as soon as no claim in flight can free room."""
    bench.reporter.claimed(cap(submitting=1))
    assert [] == bench.said
    for turn in (cap(), cap(), ClaimResult(reason=WaitReason.PACE), cap()):
        bench.reporter.claimed(turn)
    told = {
        "event": "cap_reached",
        "log_level": "warning",
        "reason": "max_total = 3 is reached",
    }
    assert [told] == bench.said
    start = Start(claim=CLAIM, at=0.0, lease_ends=0.0)
    bench.reporter.claimed(ClaimResult(reason=WaitReason.PACE, starts=[start]))
    bench.reporter.claimed(cap())
    assert [told, told] == bench.said
