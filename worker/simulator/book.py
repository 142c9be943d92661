"""Record accepted jobs in memory, and in an append-only file if one is given."""

import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path


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


class Book:
    """All accepted jobs, oldest first, the keys that may see them, and the ids of cancelled ones.

    With a path, every job is a JSON line of that file before `enter` returns. The file holds no
    keys and no cancellations: jobs read from it are queued and visible to every key.
    """

    def __init__(self, path: Path | None) -> None:
        self.jobs: list[Job] = []
        self.cancelled: set[str] = set()
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
        by_id = {job.job_id: job for job in self.jobs}
        for job in _read(self._path):
            by_id.setdefault(job.job_id, job)
        self.jobs = list(by_id.values())

    def close(self) -> None:
        """Close the file; the jobs stay in memory."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def enter(self, job: Job, key: str) -> None:
        """Record the job, first in the file, visible to `key` only."""
        if self._file is not None:
            os.write(self._file, json.dumps(asdict(job)).encode() + b"\n")
        self._owners[job.job_id] = _owner(key)
        self.jobs.append(job)

    def seen_by(self, key: str, *, until: float = math.inf) -> Iterator[Job]:
        """Yield the jobs of `key` that were accepted at `until` (epoch seconds) or before."""
        owner = _owner(key)
        for job in self.jobs:
            if job.accepted_at <= until and self._owners.get(job.job_id, owner) == owner:
                yield job

    def find(self, job_id: str, key: str) -> Job | None:
        """Return the job if it exists and `key` may see it."""
        return next((job for job in self.seen_by(key) if job.job_id == job_id), None)


def _owner(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()


def _read(path: Path) -> Iterator[Job]:
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line has no end")  # noqa: TRY301 - as torn as no JSON
            yield Job(**json.loads(line))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{path}, line {number} is no job ({error}); mend it or name another book"
            ) from None
