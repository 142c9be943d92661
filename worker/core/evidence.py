"""Judge a doubt by a list of jobs: the job is found, it is absent, or nothing is proven.

The list may be incomplete, stale or in any order (worker/api/README.md, section 15, lines 1 to 6).
So a job in it exists, but absence counts only if it shows every job accepted around the doubt.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from worker.core.job_list import Entry, Listing, Unlisted, grouped

_MADE = re.compile(r"[0-9a-f]{32}")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""An identifier that the API hardly changes (worker/api/README.md, section 15, line 3)."""

PERSON = "; only a person can settle it"
"""Ends the stored reason of a doubt that neither time nor a list can settle."""

LATER_VIDEO = "which counts when a video begun later is accepted"
"""Ends the reason of a doubt that waits for one, in vain while no video is pending."""

SHOWN_JOBS = 3
"""Number of jobs that a reason names."""


def is_made(request_id: str, media_id: str | None) -> bool:
    """Return True if the worker made the identifier: a video with a media id is sent with that."""
    return not media_id and bool(_MADE.fullmatch(request_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourAcceptance:
    """A job that the API accepted near a doubt. ``request_id``: the identifier that was sent, None
    if the row is gone; ``at``: when the answer was stored (UTC). ``renamed``: its video has been
    bought anew since, under another identifier, so that what was sent is unknown.
    """

    job_id: str
    request_id: str | None
    at: datetime
    renamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A video that was perhaps bought, and the acceptances around it; times are UTC.

    Attributes:
        attempt: The number of its last attempt.
        attempts: The number of attempts that count.
        unique: No other video has this identifier.
        began_at: The earliest possible start of its attempts in doubt; None if unknown.
        recorded_at: When the last attempt was over.
        before: A video was accepted before ``began_at``.
        after: A video was begun after ``recorded_at`` and accepted.
        neighbours: Those two videos and all accepted between them.
        earlier: The jobs that the video had before it was bought anew.
    """

    video_id: int
    attempt: int
    attempts: int
    url: str
    media_id: str | None
    request_id: str
    unique: bool
    began_at: datetime | None
    recorded_at: datetime
    before: bool = False
    after: bool = False
    neighbours: Sequence[NeighbourAcceptance] = ()
    earlier: Collection[str] = ()

    @property
    def made(self) -> bool:
        """Return True if the worker made the identifier, so that no other database sends it."""
        return is_made(self.request_id, self.media_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A list, indexed.

    Attributes:
        asked_at: When the list was requested (UTC).
        settle_after: Age of a doubt from which absence counts.
        held: The job ids in the list that our videos have.
        free_by_url: Jobs that none of our videos has.
        nameless: Number of those jobs without an identifier.
    """

    asked_at: datetime
    settle_after: timedelta
    paged: str | None
    held: Collection[str]
    by_job: Mapping[str | None, Entry]
    by_identifier: Mapping[str, Sequence[Entry]]
    free_by_url: Mapping[str, Sequence[Entry]]
    nameless: int

    @classmethod
    def of(
        cls, listing: Listing, asked_at: datetime, held: Collection[str], settle_after: timedelta
    ) -> Self:
        """Index a list."""
        entries = listing.entries
        free = [entry for entry in entries if entry.job_id not in held]
        return cls(
            asked_at=asked_at,
            settle_after=settle_after,
            paged=listing.paged,
            held=held,
            by_job={entry.job_id: entry for entry in entries},
            by_identifier=grouped((name, entry) for entry in entries for name in entry.identifiers),
            free_by_url=grouped((url, entry) for entry in free for url in entry.urls),
            nameless=sum(1 for entry in free if not entry.identifiers),
        )

    def shows(self, neighbour: NeighbourAcceptance) -> bool:
        """Return True if the list shows this job under the identifier that was sent, if known."""
        entry = self.by_job.get(neighbour.job_id)
        if neighbour.renamed:
            return entry is not None
        return entry is not None and neighbour.request_id in entry.identifiers


@dataclass(frozen=True, slots=True)
class Found:
    """The job of this doubt."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The API has no job of this doubt."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The list shows jobs that may be this doubt's; a person must decide."""

    reason: str


class Resolvable(StrEnum):
    """The event that may still settle a doubt."""

    TIME = "time"
    NEWS = "a later acceptance, or a better list"
    NONE = "a person"


@dataclass(frozen=True, slots=True)
class NoEvidence:
    """The list proves nothing yet."""

    reason: str
    resolvable: Resolvable


Verdict = Found | Absent | Ambiguous | NoEvidence


def judge(doubt: Doubt, evidence: Evidence) -> Verdict:
    """Return the verdict on a doubt that was recorded before the list was requested."""
    return sighted(doubt, evidence) or _absence(doubt, evidence)


def sighted(doubt: Doubt, evidence: Evidence) -> Found | Ambiguous | None:
    """Return the job of this doubt, or several that may be; None if the list shows none."""
    found = evidence.by_identifier.get(doubt.request_id, ())
    named = [entry for entry in found if entry.job_id not in doubt.earlier]
    free = [entry for entry in named if entry.job_id not in evidence.held]
    if len(free) == 1 and free[0].job_id is not None and _is_ours(doubt, free[0]):
        return Found(free[0].job_id)
    # The API may have changed an identifier that the worker did not make.
    by_url = evidence.free_by_url.get(doubt.url, ())
    like = named or [entry for entry in by_url if not (doubt.made and entry.identifiers)]
    return Ambiguous(_which(doubt, like)) if like else None


def unlisted(
    doubt: Doubt, why: Unlisted, asked_at: datetime, settle_after: timedelta
) -> NoEvidence:
    """Return the verdict on a doubt when there was no list."""
    young = asked_at < doubt.recorded_at + settle_after
    later = Resolvable.TIME if young else Resolvable.NEWS
    return NoEvidence(f"no list of jobs: {why.reason}", Resolvable.NONE if why.lasting else later)


def _is_ours(doubt: Doubt, entry: Entry) -> bool:
    """Return True if only this video, of all databases, can have made this entry."""
    alone = doubt.unique and entry.identifiers == {doubt.request_id}
    return alone and (doubt.made or doubt.url in entry.urls)


def _which(doubt: Doubt, entries: Sequence[Entry]) -> str:
    jobs = ", ".join(e.job_id or "one without a job id" for e in entries[:SHOWN_JOBS])
    more = f" and {len(entries) - SHOWN_JOBS} more" if len(entries) > SHOWN_JOBS else ""
    return (
        f"the API's list shows {jobs}{more}, perhaps of this video: look, then "
        f"valossa-ingest resolve id={doubt.video_id} --job-id X"
    )


def _absence(doubt: Doubt, evidence: Evidence) -> Absent | NoEvidence:
    """Return Absent only if nothing speaks against it."""
    # No absence in four cases; the first that holds is reported.
    # 1. The doubt is too young. 2. No list of this kind can prove it. 3. No later video was
    # accepted yet. 4. A neighbour is missing from the list.
    against = _against(doubt, evidence)
    counts_from = doubt.recorded_at + evidence.settle_after
    if evidence.asked_at < counts_from:
        day = "" if counts_from.date() == evidence.asked_at.date() else f"{counts_from:%Y-%m-%d} "
        why = f"; it counts as absent from {day}{counts_from:%H:%M:%S} UTC on"
        why += "" if doubt.after else ", once a video begun later is accepted"
        why = why if against is None else f", which alone proves no absence: {against}"
        return NoEvidence(f"not in the API's list yet{why}", Resolvable.TIME)
    if against is not None:
        return NoEvidence(against, Resolvable.NONE)
    if not doubt.after:
        return NoEvidence(f"not in the API's list, {LATER_VIDEO}", Resolvable.NEWS)
    hidden = next((n for n in doubt.neighbours if not evidence.shows(n)), None)
    if hidden is not None:
        why = f"the API's list does not show job {hidden.job_id}, accepted around it"
        late = evidence.asked_at < hidden.at + evidence.settle_after
        return NoEvidence(why, Resolvable.TIME if late else Resolvable.NONE)
    return Absent()


def _against(doubt: Doubt, evidence: Evidence) -> str | None:
    """Return why no list like this one can ever prove an absence; None if one can."""
    if evidence.paged is not None:
        return f"the API's list may be a part only: {evidence.paged}"
    if not doubt.unique:
        return f"another video has the identifier {doubt.request_id} too"
    if not (doubt.made or _PLAIN.fullmatch(doubt.request_id)):
        return f"the identifier {doubt.request_id!r} may come back changed"
    if doubt.began_at is None:
        return "its history does not say when what is in doubt began"
    if not doubt.before:
        return "no video was accepted before it, so a list that begins later would not show"
    if evidence.nameless:
        return f"the API's list shows {evidence.nameless} jobs without an identifier"
    return None
