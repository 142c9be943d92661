"""Record accepted jobs and their ends in memory, and in an append-only file if one is given."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """An accepted job.

    `request_id` is its media.customer_media_info.id, None if the request had none;
    `accepted_at` is wall-clock time in seconds since the epoch.
    """

    job_id: str
    request_id: str | None
    url: str
    accepted_at: float


@dataclass(frozen=True)
class End:
    """The end of a job: `ended_as` is finished, error or gone (from then on the API knows it no
    more). `ended_at` is wall-clock time in seconds since the epoch.
    """

    job_id: str
    ended_as: str
    ended_at: float


class Book:
    """All accepted jobs, oldest first, their ends by their ids, the keys that may see them, and the
    ids of cancelled ones.

    With a path, every job and every end is a JSON line of that file before `enter` or `end`
    returns. The file holds no keys and no cancellations: jobs read from it are visible to every
    key.
    """

    def __init__(self, path: Path | None) -> None:
        self.jobs: list[Job] = []
        self.ends: dict[str, End] = {}
        self.cancelled: set[str] = set()
        self._by_id: dict[str, Job] = {}
        self._owners: dict[str, bytes] = {}
        self._path = path
        self._file: int | None = None

    def open(self) -> None:
        """Open the file and read the jobs that memory lacks. Raises OSError if the file cannot be
        opened, ValueError if a line is not a job.
        """
        if self._path is None:
            return
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for entry in read(self._path):
            if isinstance(entry, End):
                self.ends.setdefault(entry.job_id, entry)
            else:
                self._by_id.setdefault(entry.job_id, entry)
        self.jobs = list(self._by_id.values())

    def close(self) -> None:
        """Close the file; the jobs stay in memory."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def enter(self, job: Job, key: str) -> None:
        """Record the job, first in the file, visible to `key` only."""
        self._write(job)
        self._owners[job.job_id] = _owner(key)
        self._by_id[job.job_id] = job
        self.jobs.append(job)

    def end(self, end: End) -> None:
        """Record the end of a job, first in the file."""
        self._write(end)
        self.ends[end.job_id] = end

    def seen_by(self, key: str, *, until: float = math.inf) -> Iterator[Job]:
        """Yield the jobs of `key` that were accepted at `until` (epoch seconds) or before."""
        owner = _owner(key)
        for job in self.jobs:
            if job.accepted_at <= until and self._owners.get(job.job_id, owner) == owner:
                yield job

    def find(self, job_id: str, key: str) -> Job | None:
        """Return the job if it exists and `key` may see it."""
        owner = _owner(key)
        return self._by_id.get(job_id) if self._owners.get(job_id, owner) == owner else None

    def _write(self, entry: Job | End) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(asdict(entry)).encode() + b"\n")


def _owner(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()


def read(path: Path) -> Iterator[Job | End]:
    """Yield the entries of a book's file. Raises ValueError if a line is none."""
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line has no end")  # noqa: TRY301 - as torn as no JSON
            yield _entry(json.loads(line))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number} is no job ({error}); mend it or name another book"
            ) from None


def _entry(fields: dict[str, Any]) -> Job | End:
    return End(**fields) if "ended_as" in fields else Job(**fields)
