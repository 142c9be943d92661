"""Build the answers of list_jobs, from a complete list to a misleading one. Pure.

No page documents that the list is complete, ordered or fresh (worker/api/README.md, sections 1, 6
and 15), so a client must be ready for every kind.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from types import MappingProxyType
from typing import Final

from worker.simulator import faults
from worker.simulator.lives import FINISHED, QUEUED

STRANGERS: Final = 100_000
"""Jobs of other programs in a huge list."""

LIST_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "STATUS": "a number from 100 to 599: no list, but that status with the documented errors",
        "bare": "nothing of a job but job_id and job_status",
        "hide-N": "the N-th accepted job, from 1, is missing",
        "huge": f"the same as strangers-{STRANGERS}",
        "ids-when-finished": "only finished jobs carry their identifier",
        "nested": "what a job was made from stands deeper, under job_info.request",
        "newest-N": "only the N newest jobs",
        "next": "where a job is missing, the address of a next page",
        "no-ids": "no job carries its identifier",
        "no-status": "no job carries its status",
        "oldest-N": "only the N oldest jobs",
        "proxy-STATUS": "no list, but that status with a proxy's HTML page; 200 too",
        "retry-after-STATUS": "the same as STATUS, with Retry-After: 1",
        "shuffled": "in no order",
        "strangers-N": "N jobs of other programs around, with identifiers 1, 2, 3 and so on",
        "total": "the number of all jobs is told, those that are missing included",
        "two-arrays": "the older half of the jobs in an array of its own",
    }
)
"""Every kind of list with its meaning in one line, for help texts. STATUS stands for three digits,
N for a number; what is cut off is cut by age, whatever the order."""

_COUNTED = re.compile(r"(newest|oldest|hide|strangers)-([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Listed:
    """A job with all that a list could show of it."""

    job_id: str
    status: str
    request_id: str | None
    url: str


def check_kind(kind: str) -> None:
    """Raise ValueError, with the way out, unless `kind` is a kind of list."""
    plain = kind in LIST_KINDS and "STATUS" not in kind and "-N" not in kind
    if not (plain or _COUNTED.fullmatch(kind) or faults.status_of(kind)):
        raise faults.no_such(kind, "list", LIST_KINDS)


def is_finished(
    url: str, age_seconds: float, *, share: float, after_seconds: float | None, seed: int
) -> bool:
    """Return True if the job of this address is finished. A `share` of all jobs (0 to 1) is
    finished at once, the rest at the age `after_seconds`. The dice depend on seed and address
    alone.
    """
    if after_seconds is not None and age_seconds >= after_seconds:
        return True
    return Random(f"{seed}/finished/{url}").random() < share


def document(kinds: Collection[str], jobs: Sequence[Listed], seed: int) -> dict[str, object]:
    """Return the list of these jobs (oldest first) in all of these kinds at once."""
    shown = _cut(kinds, jobs)
    missing = len(jobs) - len(shown)
    counts = (count for way, count in _counted(kinds) if way == "strangers")
    strangers = _strangers(max(counts, default=STRANGERS if "huge" in kinds else 0), seed)
    shown = [*strangers[::2], *shown, *strangers[1::2]]
    if "shuffled" in kinds:
        Random(seed).shuffle(shown)
    head: dict[str, object] = {"total": len(shown) + missing} if "total" in kinds else {}
    if "next" in kinds:
        head["next"] = f"list_jobs?offset={len(shown)}" if missing else None
    entries = [_entry(kinds, job) for job in shown]
    half = len(entries) // 2 if "two-arrays" in kinds else 0
    older = {"older": {"jobs": entries[:half]}} if "two-arrays" in kinds else {}
    return {**head, **older, "jobs": entries[half:]}


def _cut(kinds: Iterable[str], jobs: Sequence[Listed]) -> list[Listed]:
    """Return the jobs that no kind leaves out; `hide-N` counts among all jobs."""
    counted = _counted(kinds)
    first = max((len(jobs) - count for way, count in counted if way == "newest"), default=0)
    last = min((count for way, count in counted if way == "oldest"), default=len(jobs))
    hidden = {count for way, count in counted if way == "hide"}
    return [
        job
        for number, job in enumerate(jobs, start=1)
        if first < number <= last and number not in hidden
    ]


def _counted(kinds: Iterable[str]) -> list[tuple[str, int]]:
    return [(match[1], int(match[2])) for match in map(_COUNTED.fullmatch, kinds) if match]


def _entry(kinds: Collection[str], job: Listed) -> Mapping[str, object]:
    entry = _whole(kinds, job)
    hidden = ("status", "job_status") if "no-status" in kinds else ()
    return {name: value for name, value in entry.items() if name not in hidden}


def _whole(kinds: Collection[str], job: Listed) -> Mapping[str, object]:
    if "bare" in kinds:
        return {"job_id": job.job_id, "job_status": job.status}
    hidden = "no-ids" in kinds or ("ids-when-finished" in kinds and job.status != FINISHED)
    named = job.request_id is not None and not hidden
    customer = {"customer_media_info": {"id": job.request_id}} if named else {}
    video = {"video": {"url": job.url}}
    if "nested" in kinds:
        request = {"request": {"media": {**customer, **video}}}
        return {"job_id": job.job_id, "job_status": job.status, "job_info": request}
    return {"job_id": job.job_id, "status": job.status, **customer, "media": video}


@lru_cache(maxsize=1)
def _strangers(count: int, seed: int) -> Sequence[Listed]:
    bits = Random(f"{seed}/strangers").getrandbits
    return [
        Listed(f"{bits(128):032x}", QUEUED, str(number), f"https://strangers.example/{number}.mp4")
        for number in range(1, count + 1)
    ]
