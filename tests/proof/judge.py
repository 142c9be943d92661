"""Judge the worker's table by the book of `simulate`."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from tests.processes.programs import Row, read_book, videos
from worker.simulator.book import Job

NOT_BOUGHT = {"pending", "failed", "cancelled"}
"""States that tell a person that there is no job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The videos by what became of them; ``lost`` and ``wrong`` are sentences that name them."""

    once: Sequence[str]
    twice: Sequence[str]
    lost: Sequence[str]
    wrong: Sequence[str]
    in_doubt: Sequence[str]

    @property
    def broken(self) -> list[str]:
        """Return every promise that was not kept, a sentence each; nothing where all were."""
        return [*(f"{url}: accepted twice" for url in self.twice), *self.lost, *self.wrong]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A row of the table: what a scenario tried, on which kind of database, how often, and what the
    judge says of it.
    """

    scenario: int
    what: str
    kind: str
    times: int
    verdict: Verdict


def judge(
    book: Path,
    handed_in: Collection[str],
    tables: Iterable[str],
    uploaded: Mapping[str, str] = MappingProxyType({}),
) -> Verdict:
    """Return the verdict on the videos with these addresses, after all workers have ended.

    A job that belongs to no video of any table counts as lost. ``uploaded``: the video whose bytes
    are behind the address of an upload; two jobs of one upload are two of that video.
    """
    jobs = [replace(job, url=uploaded.get(job.url, job.url)) for job in read_book(book)]
    rows = [row for table in tables for row in videos(table)]
    bought = _bought(rows, jobs)
    seen = [(row, bought[str(row["url"])]) for row in rows if row["url"] in handed_in]
    gone = [f"{url}: the video vanished" for url in handed_in if url not in bought]
    known = {job.job_id for own in bought.values() for job in own}
    strange = [f"{j.url}: job {j.job_id} is nobody's" for j in jobs if j.job_id not in known]
    return Verdict(
        once=[str(row["url"]) for row, own in seen if len(own) == 1],
        twice=[str(row["url"]) for row, own in seen if len(own) > 1],
        lost=[*gone, *strange, *(told for row, own in seen for told in _lost(row, own))],
        wrong=[*_shared(rows), *(told for row, own in seen for told in _wrong(row, own))],
        in_doubt=[str(row["url"]) for row, _ in seen if row["state"] == "in_doubt"],
    )


def _bought(rows: Sequence[Row], jobs: Iterable[Job]) -> Mapping[str, list[Job]]:
    """Return the jobs of each video: those with its address or its request id."""
    names = {str(row["request_id"]): str(row["url"]) for row in rows}
    found: dict[str, list[Job]] = {str(row["url"]): [] for row in rows}
    for job in jobs:
        for url in {job.url, names.get(job.request_id or "", job.url)} & found.keys():
            found[url].append(job)
    return found


def _lost(row: Row, own: Sequence[Job]) -> Iterator[str]:
    """Yield a purchase missing from the table, and a job missing from the book."""
    bought, state = [job.job_id for job in own], row["state"]
    if own and state in NOT_BOUGHT:
        yield f"{row['url']}: {state}, but the book has {bought}"
    if state == "submitted" and not own:
        yield f"{row['url']}: submitted as {row['job_id']}, but the book has no job"


def _wrong(row: Row, own: Sequence[Job]) -> Iterator[str]:
    """Yield each false statement of the table about a video."""
    state, job_id = row["state"], row["job_id"]
    bought = [job.job_id for job in own]
    if state == "submitting":
        yield f"{row['url']}: submitting, though nobody works on it"
    if job_id is not None and state != "submitted":
        yield f"{row['url']}: {state}, though it holds job {job_id}"
    if job_id is not None and own and job_id not in bought:
        yield f"{row['url']}: it holds job {job_id}, but the book has {bought}"
    for job in own:
        if (job.url, job.request_id) != (row["url"], row["request_id"]):
            yield f"{row['url']}: job {job.job_id} was made for {job.request_id}, {job.url}"


def _shared(rows: Iterable[Row]) -> Iterator[str]:
    """Yield jobs that two videos hold."""
    holders: dict[object, object] = {}
    for row in rows:
        if row["job_id"] is not None:
            other = holders.setdefault(row["job_id"], row["url"])
            if other != row["url"]:
                yield f"{row['url']}: it holds job {row['job_id']}, and so does {other}"


def as_table(tried: Iterable[Tried]) -> list[str]:
    """Return the rows as lines of Markdown, by kind of database, then by scenario."""
    names = ("what was tried", "on", "how often", "accepted once", "accepted twice", "lost")
    lines = [
        ("", *names, "wrong state", "still in doubt"),
        ("--:", ":--", ":--", *("--:" for _ in range(6))),
    ]
    for each in sorted(tried, key=lambda each: (each.kind != "sqlite", each.scenario)):
        found = each.verdict
        counted = (found.once, found.twice, found.lost, found.wrong, found.in_doubt)
        facts = (each.times, *(len(videos) for videos in counted))
        lines.append(
            (str(each.scenario), each.what, each.kind, *(f"{number:,}" for number in facts))
        )
    return [f"| {' | '.join(line)} |" for line in lines]
