"""Say how far the uploads of a queue's local files have come."""

from datetime import datetime, timedelta

from worker.core.model import value

GB, MB = 1_000_000_000, 1_000_000

LONGEST_SECONDS = 1_000_000_000
"""A longer time is in no calendar, and is that of an upload that stands."""


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
    def left(self) -> timedelta | None:
        """Return how long they take at this speed without the homeless ones, each of unknown size
        as large as the others; None where the speed or every size is unknown.
        """
        seen, unseen = self.files - self.unseen, max(0, self.unseen - self.homeless)
        if self.files == self.homeless:
            return timedelta(0)
        if not self.per_second or not seen:
            return None
        size = self.size - self.sent + unseen * self.size / seen
        return timedelta(seconds=min(LONGEST_SECONDS, round(size / self.per_second)))

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
