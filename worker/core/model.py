"""The values of the queue, from a video to its settlement. Knows no HTTP and no database."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Self, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make a value that the type checker alone freezes: at run time that triples its making."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)


class State(StrEnum):
    """A video's place in its life (README.md, The life of a video)."""

    PENDING = "pending"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"


class Fact(StrEnum):
    """The kinds of rows in the history: outcomes of attempts, and later events."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    INVALID = "invalid"
    ACCOUNT_REFUSED = "account_refused"
    WRONG_ADDRESS = "wrong_address"
    THROTTLED = "throttled"
    TRY_LATER = "try_later"
    IN_DOUBT = "in_doubt"
    NOT_SENT = "not_sent"
    RELEASED = "released"
    LATE_ANSWER = "late_answer"
    FOUND = "found"
    ABSENT = "absent"
    RETRY = "retry"
    RESOLVE = "resolve"
    CANCEL = "cancel"
    JOB_STATUS = "job_status"
    JOB_FINISHED = "job_finished"
    JOB_ERROR = "job_error"
    JOB_GONE = "job_gone"


@value
class Video:
    """The request columns of one row; a None is left out of the request."""

    url: str
    media_id: str | None = None
    title: str | None = None
    description: str | None = None
    language: str | None = None
    transcript_url: str | None = None
    face_min_relative_height: float | None = None
    face_gallery_id: str | None = None
    email_group: str | None = None
    callback_url: str | None = None


REQUEST_COLUMNS = tuple(Video.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Twin:
    """A video of the same address that has a job, or may have one (law 17)."""

    video_id: int
    state: State
    job_id: str | None = None


@value
class Claim:
    """One video taken for sending.

    Attributes:
        attempt: Number of this claim of the video, from 1; never repeated.
        attempts: Counted attempts before this one, since a person's last retry.
        token: Random; the row carries it while the claim is in force.
        lease_until: End of the lease (UTC).
        may_buy_twice: A person has said on the row that its address may be bought again.
        twin: Another video that may have bought the address; None where the row may buy it.
    """

    video_id: int
    video: Video
    attempt: int
    attempts: int
    token: str
    request_id: str
    lease_until: datetime
    may_buy_twice: bool = False
    twin: Twin | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The API made a job."""

    fact: ClassVar[Fact] = Fact.ACCEPTED
    job_id: str
    status: int
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The API turned this video away for good."""

    fact: ClassVar[Fact] = Fact.REFUSED
    message: str
    status: int


@dataclass(frozen=True, slots=True)
class Invalid:
    """The row cannot be sent as it is; no request was made."""

    fact: ClassVar[Fact] = Fact.INVALID
    message: str
    status: None = None


@dataclass(frozen=True, slots=True)
class AccountRefused:
    """The API turned the key or the account away, not the video."""

    fact: ClassVar[Fact] = Fact.ACCOUNT_REFUSED
    message: str
    status: int


@dataclass(frozen=True, slots=True)
class WrongAddress:
    """The server that answered is not the API, or not at this address."""

    fact: ClassVar[Fact] = Fact.WRONG_ADDRESS
    message: str
    status: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many requests. ``retry_after``: seconds, None where the API named no time."""

    fact: ClassVar[Fact] = Fact.THROTTLED
    message: str
    status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class TryLater:
    """Clearly turned away for now. ``spent`` is False while the API is in trouble (law 13)."""

    fact: ClassVar[Fact] = Fact.TRY_LATER
    message: str
    status: int
    retry_after: float | None = None
    spent: bool = True


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Perhaps sent, answer unknown."""

    fact: ClassVar[Fact] = Fact.IN_DOUBT
    message: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class NotSent:
    """Certainly nothing reached the API."""

    fact: ClassVar[Fact] = Fact.NOT_SENT
    message: str
    status: None = None


@dataclass(frozen=True, slots=True)
class Released:
    """Given back before the request: our own stop, or too little of the lease left."""

    fact: ClassVar[Fact] = Fact.RELEASED
    message: str
    status: None = None


Outcome = (
    Accepted
    | Refused
    | Invalid
    | AccountRefused
    | WrongAddress
    | Throttled
    | TryLater
    | InDoubt
    | NotSent
    | Released
)


@value
class Transition:
    """The next state of a claimed row, a constructor an arrow (README.md, The life of a video)."""

    state: State
    spent: bool
    due_at: datetime | None = None
    job_id: str | None = None
    error: str | None = None

    @classmethod
    def submit(cls, job_id: str, note: str | None = None, *, spent: bool = True) -> Self:
        """Write the job id that the API gave."""
        return cls(state=State.SUBMITTED, spent=spent, job_id=job_id, error=note)

    @classmethod
    def postpone(cls, why: str, due_at: datetime) -> Self:
        """Make it due again at ``due_at``, unspent."""
        return cls(state=State.PENDING, spent=False, due_at=due_at, error=why)

    @classmethod
    def release(cls) -> Self:
        """Give it back, unspent and due as before."""
        return cls(state=State.PENDING, spent=False)

    @classmethod
    def retry(cls, why: str, due_at: datetime) -> Self:
        """Make it due again at ``due_at``, spent."""
        return cls(state=State.PENDING, spent=True, due_at=due_at, error=why)

    @classmethod
    def fail(cls, why: str) -> Self:
        """Fail it: refused for good, or attempts used up."""
        return cls(state=State.FAILED, spent=True, error=why)

    @classmethod
    def reject(cls, why: str) -> Self:
        """Fail it before any request, unspent."""
        return cls(state=State.FAILED, spent=False, error=why)

    @classmethod
    def park(cls, why: str, *, spent: bool = True) -> Self:
        """Put it in doubt, with a reason for a person."""
        return cls(state=State.IN_DOUBT, spent=spent, error=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A claim whose lease ran out."""

    video_id: int
    attempt: int
    claimed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """At most ``most`` attempts in any ``window``, None for all time, by the setting ``name``.
    ``of_jobs``: at most so many jobs that have not ended, those that there may be among them.
    """

    name: str
    most: int
    window: timedelta | None
    of_jobs: bool = False


@dataclass(frozen=True, slots=True)
class CoolDown:
    """A pause of all processes, asked for by an outcome: seconds from now."""

    seconds: float
    reason: str


@value
class Start:
    """A claim to send. ``at`` and ``lease_ends``: monotonic seconds of its start and lease end."""

    claim: Claim
    at: float
    lease_ends: float


@value
class Result:
    """The end of one attempt, as the writer gets it.

    Attributes:
        started_at: Start of the request (UTC); None where nothing was sent.
        cool_down: The pause that the breaker asks for; None where it asks for none.
    """

    claim: Claim
    outcome: Outcome
    started_at: datetime | None = None
    cool_down: CoolDown | None = None


@value
class ClaimStatus:
    """A claim's row at the moment of settling.

    Attributes:
        state: None where the row is gone.
        holds: True while the row carries the claim's token.
        in_doubt: True while another attempt of the video is in doubt (law 5).
        holder: The other video that has the job id of the outcome.
        job_id: The job id that the row has already (law 6).
    """

    state: State | None = State.SUBMITTING
    holds: bool = True
    in_doubt: bool = False
    holder: int | None = None
    job_id: str | None = None

    @property
    def own(self) -> bool:
        """Return True while the claim is in force."""
        return self.holds and self.state is State.SUBMITTING

    @property
    def late(self) -> bool:
        """Return True for an expired claim whose doubt has not been judged since."""
        return self.holds and self.state is State.IN_DOUBT


@value
class Settlement:
    """A result with the transition that was decided for it."""

    result: Result
    status: ClaimStatus
    transition: Transition

    @property
    def written(self) -> Transition | None:
        """The transition; None where the claim was lost, since the row's state stays then."""
        return self.transition if self.status.own or self.status.late else None
