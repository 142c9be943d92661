"""What a list of jobs proves about a doubt: a job found, its absence, or nothing.

Pure: the list and what the table knows go in, a verdict comes out. Nothing here trusts the list to
be whole, fresh or in order (valossa-api.md, section 15, lines 1 to 6): a job that it shows exists,
and absence counts only where the list shows everything that was accepted around it.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from worker.core.job_list import Entry, Listing, Unlisted

_MADE = re.compile(r"[0-9a-f]{32}")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What an API takes as an identifier without changing it (valossa-api.md, section 15, line 3)."""

SHOWN_JOBS = 3
"""Jobs that a reason names."""


def is_made(request_id: str, media_id: str | None) -> bool:
    """Whether an identifier is a random one of ours: a video with a media id is sent with that."""
    return not media_id and bool(_MADE.fullmatch(request_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourAcceptance:
    """A video of ours of which the API said that it made ``job_id``, and the identifier that was
    sent (None where the row is gone); ``at``: when the answer was written down (UTC).
    """

    job_id: str
    request_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A video that was perhaps bought, and what the table knows around it; moments are UTC.

    ``attempt`` is its last one, ``attempts`` how many count; ``began_at`` when the earliest of its
    attempts in doubt can have begun, ``recorded_at`` when the last one was over. ``unique``: no
    other video has this identifier. ``before`` and ``after``: whether a video was accepted before
    the one and begun after the other; ``witnesses`` are those two and all accepted between them.
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

    @property
    def made(self) -> bool:
        """Whether we made the identifier, so that no other database sends the same."""
        return is_made(self.request_id, self.media_id)

    @property
    def plain(self) -> bool:
        """Whether the identifier can be expected to come back as it was sent."""
        return self.made or bool(_PLAIN.fullmatch(self.request_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A list, arranged for questions. ``asked_at``: when it was asked for (UTC); ``held``: those of
    its job ids that videos of ours have; absence counts for doubts that are ``settle`` older.
    """

    asked_at: datetime
    settle: timedelta
    paged: str | None
    held: Collection[str]
    by_job: Mapping[str | None, Entry]
    by_identifier: Mapping[str, Sequence[Entry]]
    free_by_url: Mapping[str, Sequence[Entry]]
    """Jobs that no video of ours has."""
    nameless: int
    """How many of them have no identifier."""

    @classmethod
    def of(
        cls, listing: Listing, asked_at: datetime, held: Collection[str], settle: timedelta
    ) -> Self:
        """Arrange a list."""
        by_identifier: dict[str, list[Entry]] = {}
        for entry in listing.entries:
            for identifier in entry.identifiers:
                by_identifier.setdefault(identifier, []).append(entry)
        free = [entry for entry in listing.entries if entry.job_id not in held]
        free_by_url: dict[str, list[Entry]] = {}
        for entry in free:
            for url in entry.urls:
                free_by_url.setdefault(url, []).append(entry)
        return cls(
            asked_at=asked_at,
            settle=settle,
            paged=listing.paged,
            held=held,
            by_job={entry.job_id: entry for entry in listing.entries},
            by_identifier=by_identifier,
            free_by_url=free_by_url,
            nameless=sum(1 for entry in free if not entry.identifiers),
        )

    def shows(self, witness: NeighbourAcceptance) -> bool:
        """Whether the list shows this job under the identifier that we sent."""
        entry = self.by_job.get(witness.job_id)
        return entry is not None and witness.request_id in entry.identifiers


@dataclass(frozen=True, slots=True)
class Found:
    """The job of this doubt."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Absent:
    """The API has no job of this doubt."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The list shows jobs that may be this doubt's; a person has to say."""

    reason: str


class Resolvable(StrEnum):
    """What may still settle a doubt."""

    TIME = "time"
    NEWS = "a later acceptance, or a better list"
    NONE = "a person"


@dataclass(frozen=True, slots=True)
class NoEvidence:
    """The list proves nothing, so far."""

    reason: str
    hope: Resolvable


Verdict = Found | Absent | Ambiguous | NoEvidence


def judge(doubt: Doubt, evidence: Evidence) -> Verdict:
    """What the list proves about a doubt that was recorded before it was asked for."""
    seen = sighted(doubt, evidence)
    return _absence(doubt, evidence) if seen is None else seen


def sighted(doubt: Doubt, evidence: Evidence) -> Found | Ambiguous | None:
    """The job of this doubt, if the list shows one; None where it shows nothing of the kind."""
    named = evidence.by_identifier.get(doubt.request_id, ())
    free = [entry for entry in named if entry.job_id not in evidence.held]
    if len(free) == 1 and free[0].job_id is not None and _is_ours(doubt, free[0]):
        return Found(free[0].job_id)
    like = named or [e for e in evidence.free_by_url.get(doubt.url, ()) if _may_be(doubt, e)]
    return Ambiguous(_which(doubt, like)) if like else None


def unlisted(doubt: Doubt, why: Unlisted, asked_at: datetime, settle: timedelta) -> NoEvidence:
    """What it means for a doubt that there was no list."""
    young = asked_at < doubt.recorded_at + settle
    later = Resolvable.TIME if young else Resolvable.NEWS
    return NoEvidence(f"no list of jobs: {why.reason}", Resolvable.NONE if why.lasting else later)


def _is_ours(doubt: Doubt, entry: Entry) -> bool:
    """The entry carries this identifier alone, no other video has it, no other database can."""
    alone = doubt.unique and entry.identifiers == {doubt.request_id}
    return alone and (doubt.made or doubt.url in entry.urls)


def _may_be(doubt: Doubt, entry: Entry) -> bool:
    """Whether a job with the same address may be this doubt's under another identifier, or none: of
    those that we did not make, an API may have changed one.
    """
    return not (doubt.made and entry.identifiers)


def _which(doubt: Doubt, entries: Sequence[Entry]) -> str:
    jobs = ", ".join(e.job_id or "one without a job id" for e in entries[:SHOWN_JOBS])
    more = f" and {len(entries) - SHOWN_JOBS} more" if len(entries) > SHOWN_JOBS else ""
    return (
        f"the API's list shows {jobs}{more}, perhaps of this video: look, then "
        f"valossa-ingest resolve {doubt.video_id} --job-id X"
    )


def _absence(doubt: Doubt, evidence: Evidence) -> Absent | NoEvidence:
    """Absent, only if nothing speaks against it."""
    counts_from = doubt.recorded_at + evidence.settle
    if evidence.asked_at < counts_from:
        return NoEvidence(
            f"not in the API's list yet; it counts as absent from {counts_from:%H:%M:%S} UTC on",
            Resolvable.TIME,
        )
    against = _against(doubt, evidence)
    if against is not None:
        return NoEvidence(against, Resolvable.NONE)
    if not doubt.after:
        return NoEvidence(
            "not in the API's list, which counts when a video begun later is accepted",
            Resolvable.NEWS,
        )
    hidden = next((w for w in doubt.neighbours if not evidence.shows(w)), None)
    if hidden is not None:
        why = f"the API's list does not show job {hidden.job_id}, accepted around it"
        late = evidence.asked_at < hidden.at + evidence.settle
        return NoEvidence(why, Resolvable.TIME if late else Resolvable.NONE)
    return Absent()


def _against(doubt: Doubt, evidence: Evidence) -> str | None:
    """Why no list like this one will ever prove an absence."""
    if evidence.paged is not None:
        return f"the API's list may be a part only: {evidence.paged}"
    if not doubt.unique:
        return f"another video has the identifier {doubt.request_id} too"
    if not doubt.plain:
        return f"the identifier {doubt.request_id!r} may come back changed"
    if doubt.began_at is None:
        return "its history does not say when what is in doubt began"
    if not doubt.before:
        return "no video was accepted before it, so a list that begins later would not show"
    if evidence.nameless:
        return f"the API's list shows {evidence.nameless} jobs without an identifier"
    return None
