"""A whole list of jobs against what the table knows: what neither of them says of the other.

Pure. What it finds is for a person: nothing follows from it by itself.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.core.job_list import Entry, Listing
from worker.core.model import State

WAITING = frozenset({"queued", "on_hold"})
"""The states of a job that can still be cancelled (valossa-api.md, sections 4 and 7)."""

FAILED = frozenset({"error"})
"""The states of a job that brings no result (valossa-api.md, section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the table says of a video. ``identifier``: what was, or would be, sent as its own;
    ``made``: it is a random one of ours; ``submitted_at`` (UTC): when its job became known.
    """

    video_id: int
    state: State
    claims: int
    url: str
    identifier: str
    made: bool
    job_id: str | None
    submitted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A job that is, or may be, this video's, though the table does not say so. ``sure``: the two
    name each other and nothing else.
    """

    row: Row
    entry: Entry
    sure: bool

    @property
    def waits(self) -> bool:
        """Whether the job can still be cancelled."""
        return self.entry.job_id is not None and self.entry.status in WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What does not fit: ``bought`` pending videos that have a job already, ``twice`` videos with
    another job beside their own, ``duplicates`` those of them that may be cancelled, since their
    own is shown and has not failed, ``unknown`` jobs of videos in any other state, ``gone``
    submitted videos whose job is not shown (None where the list may be a part only).
    ``strangers``: how many jobs are of no video here, which another queue with the same key would
    explain.
    """

    bought: Sequence[Match]
    twice: Sequence[Match]
    duplicates: Sequence[Match]
    unknown: Sequence[Match]
    gone: Sequence[Row] | None
    strangers: int

    @property
    def clean(self) -> bool:
        """Whether everything fits."""
        return not (self.bought or self.twice or self.unknown or self.gone)


def compare(listing: Listing, rows: Sequence[Row], settled_at: datetime) -> Audit:
    """The list against ``rows``: the videos that it may speak of, and all that have a job. It has
    to show only what was submitted before ``settled_at`` (UTC).
    """
    held = {row.job_id for row in rows if row.job_id is not None}
    free = [entry for entry in listing.entries if entry.job_id not in held]
    matches = list(_matches(free, rows))
    shown = {entry.job_id for entry in listing.entries}
    known = {id(match.entry) for match in matches}
    gone = [
        row
        for row in rows
        if row.job_id is not None
        and row.job_id not in shown
        and (row.submitted_at is None or row.submitted_at < settled_at)
    ]
    twice = [m for m in matches if m.row.job_id is not None]
    living = {entry.job_id for entry in listing.entries if entry.status not in FAILED}
    return Audit(
        bought=[m for m in matches if m.row.state is State.PENDING],
        twice=twice,
        duplicates=[m for m in twice if m.sure and m.waits and m.row.job_id in living],
        unknown=[m for m in matches if m.row.job_id is None and m.row.state is not State.PENDING],
        gone=None if listing.paged else gone,
        strangers=sum(1 for entry in free if id(entry) not in known),
    )


def _matches(free: Sequence[Entry], rows: Sequence[Row]) -> Iterator[Match]:
    """Each job that no video has, with the videos that it names; a pending video also by its
    address, as it stands in the jobs of a program that sent other identifiers.
    """
    by_identifier, by_url = _by_identifier(rows), _by_url(rows)
    named = Counter(identifier for entry in free for identifier in entry.identifiers)
    shown = Counter(url for entry in free for url in entry.urls)
    for entry in free:
        its = [
            row
            for identifier in entry.identifiers
            for row in by_identifier.get(identifier, ())
            if _may_be(row, entry)
        ]
        like = [] if its else [row for url in entry.urls for row in by_url.get(url, ())]
        for row in its:
            proven = row.made or row.url in entry.urls
            alone = len(its) == len(entry.identifiers) == named[row.identifier] == 1
            yield Match(row=row, entry=entry, sure=proven and alone and bool(entry.job_id))
        for row in like:
            alone = len(like) == shown[row.url] == 1
            yield Match(row=row, entry=entry, sure=alone and bool(entry.job_id))


def _may_be(row: Row, entry: Entry) -> bool:
    """Whether the job can be this video's: another database may send the same media id."""
    return row.made or not entry.urls or row.url in entry.urls


def _by_identifier(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.identifier, []).append(row)
    return found


def _by_url(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.state is State.PENDING:
            found.setdefault(row.url, []).append(row)
    return found
