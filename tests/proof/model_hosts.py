"""Hosts in the model test: one of two that serves or not, and the laws of its brake."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from tests.proof.model import Job
from tests.proof.model_laws import Found
from worker.core.model import Claim

GOOD, BAD = "videos.example", "dead.example"
"""Jobs of the second that end in error could not be downloaded."""


def link(number: int) -> str:
    """Return the address of a video; of each two, one is of the bad host."""
    return f"https://{BAD if number % 2 else GOOD}/{number}.mp4"


def transfer(job: Job) -> str:
    """Return how the download of a job went."""
    return "error" if job.status == "error" and urlsplit(job.url).netloc == BAD else "finished"


def passed(
    claimed: Sequence[Claim], before: Sequence[Found], after: Sequence[Found], now: str
) -> Iterator[str]:
    """Yield each claim of a held host that is not its one probe of the period."""
    then = {row["host"]: row["probe_at"] for row in after}
    for row in before:
        host = row["host"]
        ids = [c.video_id for c in claimed if urlsplit(c.video.url).netloc == host]
        if row["held_since"] is None or not ids:
            continue
        if len(ids) > 1 or row["probe_at"] is None or row["probe_at"] > now:
            yield f"the brake of {host} let {ids} pass"
        if then[host] is None or then[host] <= now:
            yield f"the brake of {host} lets another probe pass at once"


def wrongly_held(rows: Sequence[Found], hosts: Sequence[Found], counted: int) -> Iterator[str]:
    """Yield each mark of the brake that says something else than the hosts do."""
    held = {row["host"] for row in hosts if row["held_since"] is not None}
    if counted != len(held):
        yield f"held_hosts is {counted}, and {sorted(held)} are held"
    for row in rows:
        host = row["held_host"]
        if host is not None and (row["state"] != "pending" or host not in held):
            yield f"video {row['id']}, {row['state']}, is marked as held for {host}"
