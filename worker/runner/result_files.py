"""Bring one result to the disk, whole or not at all, and judge what is there. Knows no table."""

import fcntl
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.core.model import value
from worker.core.results import Document, WrongResultError, path_of
from worker.store.results import WantedResult

PIECE = 16 * 1024
"""Bytes that are read as JSON at once: other threads wait for that, a millisecond."""

ROOM, STEP = 256 * 2**20, 4 * 2**20
"""Bytes that stay free for others, such as a queue on the same disk, and bytes between looks."""


class FolderError(Exception):
    """The folder takes no result now; the message says why."""


class BusyError(WrongResultError):
    """Another process fetches this result."""


@value
class StoredResult:
    """A file as it is on the disk. ``path``: below the folder; ``sha256``: hexadecimal."""

    path: str
    bytes: int
    sha256: str


class Part:
    """A result on its way to the disk, hashed and, as JSON, compressed while it moves. The part is
    locked. A file of the last name stays until ``finish``. Raises BusyError or FolderError.
    """

    def __init__(self, folder: Path, wanted: WantedResult, free: Callable[[Path], int]) -> None:
        self._folder, self._wanted, self._free = folder, wanted, free
        self._name = path_of(wanted.job_id, wanted.accepted_at, wanted.type)
        self._path = folder / self._name
        self._part = self._path.with_name(f"{self._path.name}.part")
        self._hash, self._bytes, self._looked_at = hashlib.sha256(), 0, 0
        self._document = Document() if self._name.endswith(".gz") else None
        self._zip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        self._look()
        with _disk(self._part):
            self._path.parent.mkdir(exist_ok=True)
            self._file = self._part.open("ab")
            if not self._is_ours():
                self._file.close()
                raise BusyError
            self._file.truncate(0)

    def _is_ours(self) -> bool:
        """Lock the file; return False if another process has, or has just renamed it."""
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(self._part.stat(), os.fstat(self._file.fileno()))
        return False

    def take(self, data: bytes) -> None:
        """Take the next bytes of the answer. Raises WrongResultError or FolderError."""
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            if self._document is not None:
                self._document.feed(piece)
                piece = self._zip.compress(piece)
            self._write(piece)

    def _look(self) -> None:
        with _disk(self._folder):
            if self._free(self._folder) < ROOM:
                raise FolderError(f"{self._folder}: less than {ROOM >> 20} MiB are free")
        self._looked_at = self._bytes

    def _write(self, data: bytes) -> None:
        if self._bytes - self._looked_at >= STEP:
            self._look()
        self._hash.update(data)
        self._bytes += len(data)
        with _disk(self._part):
            self._file.write(data)

    def finish(self) -> StoredResult:
        """Give the whole file its name, on the disk. Raises WrongResultError or FolderError."""
        if self._document is not None:
            self._document.end()
            named, own = self._document.job_id, self._wanted.job_id
            if named != own and (named is not None or self._wanted.type == "core"):
                raise WrongResultError("it does not name this job")
            self._write(self._zip.flush())
        elif not self._bytes:
            raise WrongResultError("it is empty")
        with _disk(self._part):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._part.rename(self._path)
            for folder in (self._path.parent, self._folder):
                _sync(folder)
        return StoredResult(path=self._name, bytes=self._bytes, sha256=self._hash.hexdigest())

    def close(self) -> None:
        """Remove what has not got its name, and let go of it."""
        with suppress(OSError), self._file:
            if self._is_ours():
                self._part.unlink()


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of a folder."""
    return shutil.disk_usage(folder).free


def fingerprint(folder: Path, name: str) -> StoredResult:
    """Return a file as it is on the disk. Raises OSError."""
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredResult(path=name, bytes=file.tell(), sha256=digest)


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}") from error
