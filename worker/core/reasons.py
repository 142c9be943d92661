"""Name the reasons to wait and to stop, and the values that carry them to the run."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from worker.core.model import Start


class WaitReason(StrEnum):
    """Reasons why a claim brought no start."""

    PACE = "the pace"
    COOL_DOWN = "a cool-down"
    PAUSE = "a pause"
    CAP = "a cap"
    LATER = "videos that are due later"
    OTHERS = "claims that are not settled yet"
    HELD = "rows that another program holds"
    DOUBTS = "doubts that may be repeated later"
    LIST = "the API's list of jobs"
    HOSTS = "hosts that are held"
    UPLOADS = "local files that are being uploaded"
    JOBS = "jobs that have not ended"
    NOTHING = "new videos"
    MOVED = "nothing here: the queue has moved"


class StopReason(StrEnum):
    """Reasons why a run is over."""

    EMPTY = "nothing is due"
    LIMIT = "the limit of requests is reached"
    TIME = "the time is over"
    STOPPED = "stopped by a signal"
    PAUSED = "paused"
    CAP = "a cap is reached"
    COOL_DOWN = "the API asked for a longer pause"
    UNREACHABLE = "no clear answer from the API"
    ACCOUNT = "the API refuses the account"
    ADDRESS = "the address is not the API's"
    EQUAL_REFUSALS = "the same refusal again and again"
    DATABASE = "the database cannot be used"
    HELD = "the database was held by somebody else"
    MOVED = "the queue has moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The end of a run. ``videos``: the rows that failed by it, empty if it charged none."""

    reason: StopReason
    message: str = ""
    videos: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """The outcome of one try to claim.

    Attributes:
        until: The next moment with more (UTC); None if only another process can bring it.
        submitting: Claims of all processes for which a full cap holds room.
        starts: Claims to send, in the order of their start times.
    """

    reason: WaitReason
    until: datetime | None = None
    detail: str = ""
    submitting: int = 0
    starts: Sequence[Start] = ()

    @property
    def no_end_known(self) -> bool:
        """Return True if a full cap holds all, and no time makes room in it."""
        return self.reason is WaitReason.CAP and self.until is None
