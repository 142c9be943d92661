"""Say how far the uploads of a queue's local files have come."""

from datetime import datetime, timedelta
from math import inf

from worker.core.model import value

GB, MB = 1_000_000_000, 1_000_000


@value
class Transfer:
    """The uploads that are not ready.

    Attributes:
        files, uploading: How many there are, and are under way.
        unseen: Those whose size is not known: no worker has opened them yet.
        homeless: Those below no folder of a living worker; 0 where none lives.
        stuck, stuck_on: Those that have had an error for long, and such an error.
        at: Until when one is under way, or waits, or since when it could go on; the last one.
        size, sent: Bytes of those whose size is known.
        per_second: Bytes; None where none were measured.
    """

    files: int = 0
    uploading: int = 0
    unseen: int = 0
    homeless: int = 0
    stuck: int = 0
    stuck_on: str = ""
    at: datetime | None = None
    size: int = 0
    sent: int = 0
    per_second: float | None = None

    @property
    def left(self) -> timedelta:
        """Return how long the seen ones take at this speed; 0 where it is not known."""
        return timedelta(seconds=round((self.size - self.sent) / (self.per_second or inf)))

    @property
    def sentence(self) -> str:
        """Return it for people; empty where nothing is left to upload."""
        if not self.files:
            return ""
        known = [amount(self.size - self.sent, self.per_second)] if self.size else []
        unseen = [f"{self.unseen:,} of unknown size"] if self.unseen else []
        homeless = f"; {self.homeless:,} in upload_roots of no worker" if self.homeless else ""
        left = " and ".join((*known, *unseen))
        return f"{self.files:,}, {self.uploading} under way, {left} left{homeless}"


def amount(size: int, per_second: float | None) -> str:
    """Return bytes for people, with the time that they take if the speed is known."""
    took = f" ({timedelta(seconds=round(size / per_second))})" if per_second else ""
    return (f"{size / GB:,.1f} GB" if size >= GB / 10 else f"{size / MB:,.1f} MB") + took
