"""The nouns: a video, a claim on it, what an attempt can end in, what may happen to the row next.

Knows no HTTP library and no database; the words are those of design.md, sections 1 and 2.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Self


class State(StrEnum):
    """Where a video is in its life (design.md, section 2)."""

    PENDING = "pending"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"


class Fact(StrEnum):
    """What a row of the history records: an attempt's ending, or what happened to it later."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """What ``new_job`` takes of one row; None means that the row does not say."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One video taken for sending. ``attempt`` numbers its claims from 1 and never repeats;
    ``attempts`` counts what was spent before this one since the last retry by a person.
    """

    video_id: int
    video: Video
    attempt: int
    attempts: int
    token: str
    request_id: str
    lease_until: datetime


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
    """Whatever answered is not the API, or not at this address."""

    fact: ClassVar[Fact] = Fact.WRONG_ADDRESS
    message: str
    status: int


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many requests. ``retry_after``: seconds that the API asked for, if it did."""

    fact: ClassVar[Fact] = Fact.THROTTLED
    message: str
    status: int
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class TryLater:
    """Clearly turned away for now. ``spent`` is False while the trouble is everybody's (law 13)."""

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
    """Given back before its start: our own stop, or too little of the lease left."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What happens to a claimed row. Made only by the constructors below, one for each arrow that
    leaves ``submitting`` in design.md, section 2.
    """

    state: State
    spent: bool
    due_at: datetime | None = None
    job_id: str | None = None
    error: str | None = None

    @classmethod
    def submit(cls, job_id: str, note: str | None = None, *, spent: bool = True) -> Self:
        """The API gave a job id."""
        return cls(state=State.SUBMITTED, spent=spent, job_id=job_id, error=note)

    @classmethod
    def postpone(cls, why: str, due_at: datetime) -> Self:
        """Unspent, behind the others until ``due_at``."""
        return cls(state=State.PENDING, spent=False, due_at=due_at, error=why)

    @classmethod
    def release(cls) -> Self:
        """Unspent, due as it was."""
        return cls(state=State.PENDING, spent=False)

    @classmethod
    def retry(cls, why: str, due_at: datetime) -> Self:
        """Spent, again at ``due_at``."""
        return cls(state=State.PENDING, spent=True, due_at=due_at, error=why)

    @classmethod
    def fail(cls, why: str) -> Self:
        """Refused for good, or attempts used up."""
        return cls(state=State.FAILED, spent=True, error=why)

    @classmethod
    def reject(cls, why: str) -> Self:
        """Refused by ourselves before any request: nothing was spent."""
        return cls(state=State.FAILED, spent=False, error=why)

    @classmethod
    def park(cls, why: str, *, spent: bool = True) -> Self:
        """In doubt, with the reason that a person will read."""
        return cls(state=State.IN_DOUBT, spent=spent, error=why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A claim whose lease ran out."""

    video_id: int
    attempt: int
    claimed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """A limit of ``most`` attempts in any ``window`` of time; None for all time.

    ``name``: the setting that says so.
    """

    name: str
    most: int
    window: timedelta | None
