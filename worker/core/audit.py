"""Compare a whole list of jobs with the table. The result is for a person: no code acts on it."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.core.file_address import is_file
from worker.core.job_list import Entry, Listing, grouped
from worker.core.model import State
from worker.core.signed_link import unsigned
from worker.core.upload import ADDRESS

WAITING = frozenset({"queued", "on_hold"})
"""The states of a job that can still be cancelled (worker/api/README.md, sections 4 and 7)."""

FAILED = frozenset({"error"})
"""The states of a job that brings no result (worker/api/README.md, section 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """A video as the table knows it.

    Attributes:
        identifier: The identifier that was, or will be, sent.
        made: The worker made the identifier at random.
        submitted_at: When the job id was stored (UTC).
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
    """A job that may be this video's, though the row has another job id or none.

    ``sure``: the two name each other and nothing else.
    """

    row: AuditRow
    entry: Entry
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The differences between the list and the table.

    Attributes:
        bought: Pending videos that have a job already.
        twice: Videos with another job beside their own.
        duplicates: Those of ``twice`` to cancel: the video's own job is shown and has not failed.
        unknown: Jobs of videos without a job id in any other state.
        gone: Submitted videos whose job is not shown; None if the list may be incomplete.
        same_address: Number of jobs that videos have beyond the first of their address.
        foreign: Jobs of no video here, perhaps of another queue with the same key.
        uploads: Number of ``foreign`` that may be of a file that waits here for its upload.
        failed: Jobs of videos here that the list shows in error.
    """

    bought: Sequence[Match]
    twice: Sequence[Match]
    duplicates: Sequence[Match]
    unknown: Sequence[Match]
    gone: Sequence[AuditRow] | None
    same_address: int = 0
    foreign: Sequence[Entry] = ()
    uploads: int = 0
    failed: int = 0

    @property
    def unsure(self) -> Sequence[Match]:
        """Return those of ``bought`` that no code may take over."""
        return [match for match in self.bought if not match.sure]

    @property
    def clean(self) -> bool:
        """Return True if the list and the table agree."""
        return not (self.bought or self.twice or self.unknown or self.gone or self.uploads)


def compare(
    listing: Listing,
    rows: Sequence[AuditRow],
    settled_at: datetime,
    known: Collection[str] = (),
    *,
    files: bool = False,
) -> Audit:
    """Compare the list with ``rows``: the videos that its jobs may be of, and all that have a job.
    Only jobs submitted before ``settled_at`` (UTC) must be in the list. ``known``: jobs of the list
    that videos have, or had until they were pruned. ``files``: some wait for their upload.
    """
    holders = [row for row in rows if row.job_id is not None]
    held = {row.job_id for row in holders} | {*known}
    free = [entry for entry in listing.entries if entry.job_id not in held]
    matches = list(_matches(free, rows))
    shown = {entry.job_id for entry in listing.entries}
    matched = {id(match.entry) for match in matches}
    foreign = [entry for entry in free if id(entry) not in matched]
    gone = [
        row
        for row in holders
        if row.job_id not in shown and (row.submitted_at is None or row.submitted_at < settled_at)
    ]
    twice = [m for m in matches if m.row.job_id is not None]
    living = {entry.job_id for entry in listing.entries if entry.status not in FAILED}
    return Audit(
        bought=[m for m in matches if m.row.state is State.PENDING],
        twice=twice,
        duplicates=[
            m for m in twice if m.sure and m.entry.status in WAITING and m.row.job_id in living
        ],
        unknown=[m for m in matches if m.row.job_id is None and m.row.state is not State.PENDING],
        gone=None if listing.paged else gone,
        same_address=len(holders) - len({row.url for row in holders}),
        foreign=foreign,
        uploads=sum(any(map(ADDRESS.match, e.urls)) for e in foreign) if files else 0,
        failed=sum(e.status in FAILED for e in listing.entries if e.job_id in held),
    )


def _matches(free: Sequence[Entry], rows: Sequence[AuditRow]) -> Iterator[Match]:
    """Yield each job that no video has with each video that it names. A job that names no video may
    match pending videos by address: another program may have sent other identifiers.
    """
    by_identifier = grouped((row.identifier, row) for row in rows)
    by_address = grouped((_plain(row.url), row) for row in rows if row.state is State.PENDING)
    named = Counter(identifier for entry in free for identifier in entry.identifiers)
    addresses = [{*map(_plain, entry.urls)} for entry in free]
    shown = Counter(address for its in addresses for address in its)
    for entry, urls in zip(free, addresses, strict=True):
        its = [
            row
            for identifier in entry.identifiers
            for row in by_identifier.get(identifier, ())
            # Another database may send the same media id.
            if row.made or not urls or _may_be(row.url, urls)
        ]
        like = [] if its else [row for url in urls for row in by_address.get(url, ())]
        for row in its:
            proven = row.made or _plain(row.url) in urls
            alone = len(its) == len(entry.identifiers) == named[row.identifier] == 1
            yield Match(row=row, entry=entry, sure=proven and alone and bool(entry.job_id))
        for row in like:
            alone = len(like) == shown[_plain(row.url)] == 1
            yield Match(row=row, entry=entry, sure=alone and bool(entry.job_id))


def _plain(url: str) -> str:
    """Return an address without its signature: a job's may be older than its video's."""
    return unsigned(url) or url


def _may_be(url: str, shown: Collection[str]) -> bool:
    """Return True if ``url`` is among these, or is a file's, which had another address there."""
    of_file = is_file(url) or ADDRESS.match(url)
    return _plain(url) in shown or bool(of_file and any(map(ADDRESS.match, shown)))
