"""Judge a queue: one state for all that is known of it, with a sentence and a way out.

Pure: the facts of one snapshot go in, a verdict comes out. Moments are UTC.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

from worker.core import advice, host, relocation
from worker.core.host import HeldHost
from worker.core.model import Fact, State, value
from worker.core.reasons import ClaimResult, WaitReason

WITH_UPLOADS = {WaitReason.NOTHING, WaitReason.LATER, WaitReason.HOSTS, WaitReason.UPLOADS}
"""What holds videos, and no upload."""

LISTED = {WaitReason.LATER, WaitReason.LIST}
"""What holds videos that are due, after a 500, until a list is read."""

UNCLEAR = frozenset({Fact.NOT_SENT, Fact.TRY_LATER, Fact.THROTTLED})
"""Answers after which a video is where it was before."""

START = "valossa-ingest run, or valossa-ingest drain"
RESUME = "valossa-ingest resume ends the pause"
END_COOL_DOWN = "valossa-ingest resume --cool-down ends it"
ASK_VALOSSA = "look in the Valossa Portal what became of them, or ask Valossa"
WHY = "valossa-ingest why says what helps"
ONLINE = "valossa-ingest check --online says what is wrong"
FOR_LIST = "wait for the API's list of jobs"
BY_HAND = "in doubt that only a person can settle"
GIVE_ROOT = "start a worker that may read the file, with its folder in upload_roots"
LOOK_UP = (
    f"valossa-ingest list --state in_doubt names them; {advice.remedy(State.IN_DOUBT, None, '')}"
)


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

    @property
    def ways_out(self) -> tuple[str, ...]:
        """Return what a person can do, a sentence each."""
        told = self.remedy is None or any(self.remedy in need for need in self.needs)
        return self.needs if told else (str(self.remedy), *self.needs)


@value
class LastAnswer:
    """The last answer of the API, or the last failure to get one."""

    fact: Fact
    at: datetime
    message: str


@value
class Cause:
    """A trouble and the way out of it."""

    words: str
    remedy: str


@value
class Facts:
    """The facts of one snapshot of a queue.

    Attributes:
        held: Why nothing can be claimed; None where something can, or is to be written.
        due, pending, in_flight, failed: Numbers of videos.
        for_person: Doubts that only a person can settle.
        answer: The last one; None before the first.
        alive: Number of workers with a recent heartbeat.
        silent: Workers that should be alive.
        ready_at: Since when at the latest nothing has held what can move.
        moved_at: When a video last moved on; None if none ever did.
        patience: A longer standstill is a stall.
        next_drain_at: When the next drain is due; None where no schedule is known.
        pace: The pace in force, for people.
        cause: What keeps the database from being written; None if not known.
        hosts: Those that are held, with videos.
        overdue: Jobs that should have ended long ago, such as ``overdue_job``.
        uploads, homeless: Files that are to be uploaded first, by some worker and by none.
        stuck, stuck_on: Those of the first that have had an error for long, and such an error.
        uploads_at: When one was last under way, or could go on.
        unlisted: Those of the due ones that a list holds, after a 500.
        unanswered_since: Since when the API, which asked for no longer wait, gives no answer.
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
    silent: Sequence[Cause]
    ready_at: datetime
    moved_at: datetime | None
    paused_at: datetime | None
    patience: timedelta
    next_drain_at: datetime | None
    pace: str
    cause: Cause | None = None
    hosts: Sequence[HeldHost] = ()
    overdue: int = 0
    overdue_job: str | None = None
    uploads: int = 0
    homeless: int = 0
    stuck: int = 0
    stuck_on: str = ""
    uploads_at: datetime | None = None
    unlisted: int = 0
    unanswered_since: datetime | None = None

    @property
    def uploads_go_on(self) -> bool:
        """Return True if a file was lately being uploaded: it may take longer than any patience."""
        at = self.uploads_at
        return at is not None and self.now - at <= self.patience

    @property
    def stuck_cause(self) -> Cause | None:
        """Return why files are not uploaded, while none is; None if that is not for long."""
        words = f"{self.stuck} cannot be uploaded ({self.stuck_on})"
        return Cause(words=words, remedy=WHY) if self.stuck and not self.uploads_go_on else None

    @property
    def awaits_list(self) -> bool:
        """Return True if nothing but a list holds what is due."""
        return self.unlisted > 0 and self.held is not None and self.held.reason in LISTED

    @property
    def still_since(self) -> datetime:
        """Return since when nothing has moved that could: our own waits for an API that gives no
        answer are no reason to be calm.
        """
        since = max(self.ready_at, self.moved_at or self.ready_at)
        return min(since, self.unanswered_since or since)

    @property
    def stands_still(self) -> bool:
        """Return True if nothing has moved for longer than the patience."""
        return self.now - self.still_since > self.patience

    @property
    def refusal(self) -> LastAnswer | None:
        """Return the last answer if it refuses the key or the address and keeps videos back."""
        refuses = self.answer is not None and self.answer.fact in REFUSED
        return self.answer if refuses and self.pending else None


_AGAIN = "valossa-ingest resume --cool-down, and drain again or restart the daemon"
REFUSED: Mapping[Fact, Cause] = {
    Fact.ACCOUNT_REFUSED: Cause(
        words="the API refuses the key or the account",
        remedy=f"put the right key in {{key}} or settle it with Valossa, then {_AGAIN}",
    ),
    Fact.WRONG_ADDRESS: Cause(
        words="what answers at {address} is not the API",
        remedy=f"correct api_url, look with valossa-ingest check --online, then {_AGAIN}",
    ),
}
"""The refusals that keep all videos back, for the names of the key's and the address' place."""

_HOLDS: Mapping[WaitReason, tuple[str, str | None]] = {
    WaitReason.PAUSE: ("paused since {since}{why}", RESUME),
    WaitReason.COOL_DOWN: ("{detail} holds all", END_COOL_DOWN),
    WaitReason.PACE: ("{facts.pace} allows the next start at {until}", None),
    WaitReason.LATER: ("{facts.pending} due later, the next at {until}", None),
    WaitReason.OTHERS: (
        "{facts.in_flight} in flight, in doubt from {until} without an answer",
        None,
    ),
    WaitReason.DOUBTS: ("a doubt may be repeated at {until}", None),
    WaitReason.LIST: ("the API's list of jobs is asked about doubts at {until}", None),
    WaitReason.HOSTS: ("only videos of held hosts are left, the next probe goes at {until}", None),
    WaitReason.UPLOADS: ("local files are being uploaded", None),
    WaitReason.HELD: ("another program holds the rows", None),
}


def judge(facts: Facts) -> Verdict:
    """Return the one verdict on these facts."""
    # The first of these cases holds.
    # 1. The key or the address is refused. 2. Nothing moves that could. 3. A worker is silent.
    # 4. No worker is there for what is due. 5. A doubt or a failure waits for a person.
    # 6. The queue waits, works or is idle by itself.
    own, needs = _by_itself(facts), list(_needs(facts))
    alone = [own] if needs and own.remedy == RESUME else []
    told = tuple(f"{need.sentence}: {need.remedy}" for need in (*needs, *alone))
    grave = own.state in {VerdictState.STALLED, VerdictState.NOT_RUNNING}
    first = facts.refusal or (facts.silent and own.state is not VerdictState.STALLED)
    if not needs or (grave and not first):
        return replace(own, sentence=f"{own.state}: {own.sentence}", needs=told)
    beside = "" if own.state is VerdictState.IDLE else f"; {own.state}: {own.sentence}"
    sentence = f"{VerdictState.NEEDS_PERSON}: {needs[0].sentence}{beside}"
    return replace(needs[0], sentence=sentence, until=own.until, needs=told)


def _by_itself(facts: Facts) -> Verdict:
    """Return the state without regard to what only a person can do."""
    # 1. The queue has moved. 2. Local files alone are left. 3. Something can move, or a moment to
    # move at has come. 4. Nothing is left to do. 5. The pace or answers are awaited, as always at
    # work. 6. Something holds all.
    held = facts.held
    if held is not None and held.reason is WaitReason.JOBS and not facts.alive:
        return _free(facts)  # no worker asks about them
    if held is not None and held.reason is WaitReason.MOVED:
        words = f"this queue {relocation.sentence(held.detail)}"
        return Verdict(state=VerdictState.NOT_RUNNING, sentence=words)
    is_left = facts.uploads > (facts.stuck if facts.alive and facts.stuck_cause else 0)
    if is_left and not facts.due and held is not None and held.reason in WITH_UPLOADS:
        return _free(facts)
    if held is None or (held.until is not None and held.until <= facts.now):
        return _free(facts)
    if held.reason is WaitReason.NOTHING:
        idle = Verdict(state=VerdictState.IDLE, sentence="nothing is due", since=facts.moved_at)
        return _free(facts) if facts.due else idle
    if held.reason in {WaitReason.PACE, WaitReason.OTHERS} and not facts.stands_still:
        return _free(facts)
    is_ours = held.reason is WaitReason.COOL_DOWN and facts.unanswered_since is not None
    if (is_ours or facts.awaits_list) and facts.alive and facts.stands_still:
        return _free(facts)
    return _waiting(facts, held)


def _free(facts: Facts) -> Verdict:
    """Return the state of a queue in which something can move."""
    # 1. Workers are there, and nothing moves. 2. They work. 3. None is there, but one is expected.
    # 4. None is there.
    numbers = f"{facts.due} due, {facts.in_flight} in flight"
    numbers += f", {facts.uploads} to upload" if facts.uploads else ""
    goes_on = facts.uploads and not facts.due and facts.uploads_go_on
    if facts.alive and facts.stands_still and not goes_on:
        cause, since = _standstill(facts), facts.still_since
        sentence = f"{numbers}, nothing has moved since {_at(since)}: {cause.words}"
        state, remedy = VerdictState.STALLED, cause.remedy
        return Verdict(state=state, sentence=sentence, since=since, remedy=remedy)
    if facts.alive:
        return Verdict(state=VerdictState.WORKING, sentence=f"{numbers}, at {facts.pace}")
    if facts.next_drain_at is not None and facts.next_drain_at > facts.now:
        sentence = f"{numbers}, the next drain is expected at {_at(facts.next_drain_at)}"
        return Verdict(state=VerdictState.WAITING, sentence=sentence, until=facts.next_drain_at)
    sentence, since = f"{numbers}, no worker is alive", facts.still_since
    return Verdict(state=VerdictState.NOT_RUNNING, sentence=sentence, since=since, remedy=START)


def _standstill(facts: Facts) -> Cause:
    """Return the cause of a standstill, as far as it is known."""
    if known := next(iter(facts.silent), facts.cause) or (not facts.due and facts.stuck_cause):
        return known
    if facts.awaits_list:
        return Cause(words=f"{facts.unlisted} {FOR_LIST}, which is not read", remedy=ONLINE)
    if facts.answer is not None and facts.answer.fact in UNCLEAR:
        words = f"no clear answer from the API ({facts.answer.message})"
        return Cause(words=words, remedy=ONLINE)
    remedy = "see their settings and log (valossa-ingest workers says where), then start them anew"
    return Cause(words="its workers claim nothing", remedy=remedy)


def _waiting(facts: Facts, held: ClaimResult) -> Verdict:
    """Return the state of a queue that something holds."""
    template, remedy = _HOLDS.get(held.reason, ("", None))
    why, until = f" ({held.detail})" if held.detail else "", _at(held.until)
    since = _at(facts.paused_at)
    words = template.format(facts=facts, detail=held.detail, why=why, since=since, until=until)
    if held.reason in {WaitReason.CAP, WaitReason.JOBS}:
        words, _, remedy = held.detail.partition(": ")
    if facts.awaits_list:
        words = f"{facts.unlisted} {FOR_LIST}, the next look is at {until}"
    if held.submitting:  # which may free their room
        words, remedy = f"{words.removesuffix(' is reached')}, all in flight or used", None
    return Verdict(
        state=VerdictState.WAITING,
        sentence=words if facts.alive else f"{words}; no worker is alive",
        since=facts.paused_at,
        until=held.until,
        remedy=remedy,
    )


def _needs(facts: Facts) -> Iterator[Verdict]:
    """Yield a verdict for each thing that only a person can do, the most urgent first."""
    if (refusal := facts.refusal) is not None:
        words = REFUSED[refusal.fact].words.format(address="api_url")
        remedy = REFUSED[refusal.fact].remedy.format(key="VALOSSA_API_KEY")
        yield _need(
            words + (f" ({refusal.message})" if refusal.message else ""), remedy, refusal.at
        )
    yield from (_need(worker.words, worker.remedy) for worker in facts.silent)
    if facts.for_person:
        yield _need(f"{facts.for_person} {BY_HAND}", LOOK_UP)
    if facts.hosts:
        yield _need(host.told(facts.hosts), facts.hosts[0].remedy, facts.hosts[0].since)
    if facts.overdue:
        words = f"{facts.overdue} in progress for far longer than other jobs"
        yield _need(f"{words}, such as job {facts.overdue_job}", ASK_VALOSSA)
    if facts.homeless:
        yield _need(f"{facts.homeless} to upload, but in upload_roots of no worker", GIVE_ROOT)
    if (cause := facts.stuck_cause) is not None:
        yield _need(cause.words, cause.remedy)
    if facts.failed:
        yield _need(f"{facts.failed} failed", WHY)


def _need(words: str, remedy: str, since: datetime | None = None) -> Verdict:
    return Verdict(state=VerdictState.NEEDS_PERSON, sentence=words, since=since, remedy=remedy)


def _at(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""
