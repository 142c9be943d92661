"""Judge a queue: one state for all that is known of it, with a sentence and a way out.

Pure: the facts of one snapshot go in, a verdict comes out. Moments are UTC.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from worker.core import advice, relocation
from worker.core.model import UNCLEAR, Fact, State, value
from worker.core.reasons import ClaimResult, WaitReason

START = "valossa-ingest run or valossa-ingest drain begins"
DOUBTS_FOR_PERSON = "in doubt that only a person can settle"


class VerdictState(StrEnum):
    """The states of a queue."""

    WORKING = "working"
    IDLE = "idle"
    WAITING = "waiting"
    STALLED = "stalled"
    NEEDS_PERSON = "needs a person"
    NOT_RUNNING = "not running"


@value
class Verdict:
    """The judgement on a queue.

    Attributes:
        sentence: The state and its reason.
        since: When the state began; None where that is not known.
        until: When a wait ends by itself; None where it does not.
        needs: A sentence, with its way out, for each thing that only a person can do.
        remedy: The way out of the state; None where none is needed.
    """

    state: VerdictState
    sentence: str
    since: datetime | None = None
    until: datetime | None = None
    needs: tuple[str, ...] = ()
    remedy: str | None = None


@value
class LastAnswer:
    """The last answer of the API, or the last failure to get one."""

    fact: Fact
    at: datetime
    message: str


@value
class SilentWorker:
    """A worker that should be alive and shows nothing: ``name``: its command, host and pid."""

    name: str
    seen_at: datetime
    in_flight: int


@value
class Cause:
    """A cause of a stall that the tables do not show, with the way out."""

    words: str
    remedy: str


@value
class Facts:
    """The facts of one snapshot of a queue.

    Attributes:
        held: Why nothing can be claimed; None where something can, or is to be written.
        due, pending, in_flight, failed: Numbers of videos.
        for_person: Doubts that only a person can settle.
        answer: None before the first.
        alive: Number of workers with a recent heartbeat.
        ready_at: Since when at the earliest something could move.
        moved_at: When a video last moved on; None if none ever did.
        paused_at: None without a pause.
        patience: A longer standstill is a stall.
        next_drain_at: When a drain is expected at the latest; None where none is.
        pace: The pace in force, for people.
    """

    now: datetime
    held: ClaimResult | None
    due: int
    pending: int
    in_flight: int
    failed: int
    for_person: int
    answer: LastAnswer | None
    alive: int
    silent: Sequence[SilentWorker]
    ready_at: datetime
    moved_at: datetime | None
    paused_at: datetime | None
    patience: timedelta
    next_drain_at: datetime | None
    pace: str
    cause: Cause | None = None

    @property
    def still_since(self) -> datetime:
        """Return since when nothing has moved that could."""
        return max(self.ready_at, self.moved_at or self.ready_at)

    @property
    def stands_still(self) -> bool:
        """Return True if nothing has moved for longer than patience has."""
        return self.now - self.still_since > self.patience

    @property
    def refusal(self) -> LastAnswer | None:
        """Return the last answer if it refuses the key or the address and keeps videos back."""
        refused = self.pending and self.answer and self.answer.fact in _REFUSED
        return self.answer if refused else None


_REFUSED = {
    Fact.ACCOUNT_REFUSED: Cause(
        words="the API refuses the key or the account",
        remedy="put the right key in VALOSSA_API_KEY or settle it with Valossa, then drain again "
        "or restart the daemon",
    ),
    Fact.WRONG_ADDRESS: Cause(
        words="what answers at api_url is not the API",
        remedy="correct it, look with valossa-ingest check --online, then drain again or restart "
        "the daemon",
    ),
}


def judge(facts: Facts) -> Verdict:
    """Return the one verdict on these facts."""
    # The first of these cases holds.
    # 1. The key or the address is refused. 2. Nothing moves that could. 3. A worker is silent.
    # 4. No worker is there for what is due. 5. A doubt or a failure waits for a person.
    # 6. The queue waits, works or is idle by itself.
    own, needs = _by_itself(facts), list(_needs(facts))
    urgent = facts.refusal or (facts.silent and own.state is not VerdictState.STALLED)
    alone = own.state in {VerdictState.STALLED, VerdictState.NOT_RUNNING}
    told = tuple(f"{need.sentence}: {need.remedy}" for need in needs)
    if not needs or (alone and not urgent):
        return replace(own, sentence=f"{own.state}: {own.sentence}", needs=told)
    beside = "" if own.state is VerdictState.IDLE else f"; {own.state}: {own.sentence}"
    sentence = f"{VerdictState.NEEDS_PERSON}: {needs[0].sentence}{beside}"
    return replace(needs[0], sentence=sentence, until=own.until, needs=told)


def _by_itself(facts: Facts) -> Verdict:
    """Return the state without regard to what only a person can do."""
    held = facts.held
    if held is None or (held.until is not None and held.until <= facts.now):
        return _free(facts)
    moves = facts.alive > 0 and not facts.stands_still
    match held.reason:
        case WaitReason.MOVED:
            sentence = f"this queue {relocation.sentence(held.detail)}"
            return Verdict(state=VerdictState.NOT_RUNNING, sentence=sentence)
        case WaitReason.NOTHING:
            if facts.due:
                return _free(facts)
            return Verdict(state=VerdictState.IDLE, sentence="nothing is due", since=facts.moved_at)
        case WaitReason.PACE | WaitReason.OTHERS if moves:
            return _free(facts)
        case _:
            return _waiting(facts, held)


def _waiting(facts: Facts, held: ClaimResult) -> Verdict:
    sentence, remedy = _hold(
        facts, held, f"{held.until:%Y-%m-%d %H:%M:%S} UTC" if held.until else ""
    )
    if not facts.alive:
        sentence += "; no worker is alive"
    return Verdict(
        state=VerdictState.WAITING,
        sentence=sentence,
        since=facts.paused_at,
        until=held.until,
        remedy=remedy,
    )


def _hold(facts: Facts, held: ClaimResult, until: str) -> tuple[str, str | None]:
    """Return the words for what holds all, and the way out."""
    match held.reason:
        case WaitReason.PAUSE:
            reason = f" ({held.detail})" if held.detail else ""
            return f"paused since {facts.paused_at:%Y-%m-%d %H:%M:%S} UTC{reason}", (
                "valossa-ingest resume ends the pause"
            )
        case WaitReason.COOL_DOWN:
            return f"{held.detail} holds all", "valossa-ingest resume --cool-down ends it"
        case WaitReason.CAP:
            words, _, remedy = held.detail.partition(": ")
            if held.submitting:
                return f"{words.removesuffix(' is reached')} holds room for those in flight", None
            return words, remedy
        case WaitReason.PACE:
            return f"the pace ({facts.pace}) allows the next start at {until}", None
        case WaitReason.LATER:
            return f"{facts.pending} due later, the next at {until}", None
        case WaitReason.OTHERS:
            return f"{facts.in_flight} in flight, in doubt at {until} if no answer comes", None
        case WaitReason.DOUBTS:
            return f"a doubt may be repeated at {until}", None
        case WaitReason.LIST:
            return f"the API's list of jobs is asked for the doubts at {until}", None
        case WaitReason.HELD | WaitReason.MOVED | WaitReason.NOTHING:
            return f"waits for {held.reason}", None
        case _:
            assert_never(held.reason)


def _free(facts: Facts) -> Verdict:
    """Return the state of a queue in which something can move."""
    numbers = f"{facts.due} due, {facts.in_flight} in flight"
    if (facts.alive or facts.silent) and facts.stands_still:
        cause = facts.cause or _cause(facts)
        since = f"{facts.still_since:%Y-%m-%d %H:%M:%S} UTC"
        return Verdict(
            state=VerdictState.STALLED,
            sentence=f"{numbers}, and nothing has moved since {since}: {cause.words}",
            since=facts.still_since,
            remedy=cause.remedy,
        )
    if facts.alive:
        return Verdict(state=VerdictState.WORKING, sentence=f"{numbers}, at {facts.pace}")
    if facts.next_drain_at is not None and facts.next_drain_at > facts.now:
        sentence = f"{numbers}; the next drain is expected by {facts.next_drain_at:%H:%M:%S} UTC"
        return Verdict(state=VerdictState.WAITING, sentence=sentence, until=facts.next_drain_at)
    return Verdict(
        state=VerdictState.NOT_RUNNING,
        sentence=f"{numbers}, and no worker is alive",
        since=facts.still_since,
        remedy=START,
    )


def _cause(facts: Facts) -> Cause:
    """Return the cause of a stall as far as the tables show it."""
    if facts.answer is not None and facts.answer.fact in UNCLEAR:
        return Cause(
            words=f"no clear answer from the API ({facts.answer.message})",
            remedy="valossa-ingest check --online says what is wrong",
        )
    return Cause(
        words="its workers claim nothing",
        remedy="see their log (valossa-ingest workers says where they run), then start them anew",
    )


def _needs(facts: Facts) -> Iterator[Verdict]:
    """Yield a verdict for each thing that only a person can do, the most urgent first."""
    if (refusal := facts.refusal) is not None:
        known = _REFUSED[refusal.fact]
        message = f" ({refusal.message})" if refusal.message else ""
        yield _need(known.words + message, known.remedy, refusal.at)
    for worker in facts.silent:
        words = f"{worker.name} is silent since {worker.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        found = facts.cause
        yield _need(
            f"{words}: {found.words}" if found else words,
            found.remedy if found else "see its log, end it if it hangs, then start it anew",
            worker.seen_at,
        )
    if facts.for_person:
        yield _need(f"{facts.for_person} {DOUBTS_FOR_PERSON}", LOOK_UP)
    if facts.failed:
        yield _need(f"{facts.failed} failed", "valossa-ingest why says what helps")


LOOK_UP = (
    f"valossa-ingest list --state in_doubt names them; {advice.remedy(State.IN_DOUBT, None, '')}"
)


def _need(words: str, remedy: str, since: datetime | None = None) -> Verdict:
    return Verdict(state=VerdictState.NEEDS_PERSON, sentence=words, since=since, remedy=remedy)
