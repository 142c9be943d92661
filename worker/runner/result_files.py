"""Bring one result to the disk, whole or not at all, and judge what is there. Knows no table."""

import fcntl
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.core.model import value
from worker.core.results import Document, WrongResultError, path_of
from worker.store.results import WantedResult

PIECE = 16 * 1024
"""Bytes that are read as JSON at once: other threads wait for that, a millisecond."""


class FolderError(Exception):
    """The folder takes no result now; the message says why."""


class BusyError(Exception):
    """Another process fetches this result."""


@value
class StoredResult:
    """A file as it is on the disk. ``path``: below the folder; ``sha256``: hexadecimal."""

    path: str
    bytes: int
    sha256: str


class Part:
    """A result on its way to the disk, hashed and, as JSON, compressed while it moves. Locked until
    it is closed, so that two processes do not write into one file. Raises BusyError if another one
    has it, or FolderError.
    """

    def __init__(self, folder: Path, wanted: WantedResult) -> None:
        self._folder, self._wanted = folder, wanted
        self.name = path_of(wanted.job_id, wanted.accepted_at, wanted.type)
        self.path = folder / self.name
        self._part = self.path.with_name(f"{self.path.name}.part")
        self._hash, self._bytes = hashlib.sha256(), 0
        is_json = self.name.endswith(".gz")
        self._document = Document() if is_json else None
        self._zip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16) if is_json else None
        with _disk(self._part):
            self.path.parent.mkdir(exist_ok=True)
            self._file = self._part.open("ab")
            if not self._is_ours():
                self._file.close()
                raise BusyError("another process fetches it")
            self._file.truncate(0)

    def _is_ours(self) -> bool:
        """Lock the file; return False if another process has, or has renamed it before."""
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(self._part.stat(), os.fstat(self._file.fileno()))
        return False

    def take(self, data: bytes) -> None:
        """Take the next bytes of the answer. Raises WrongResultError or FolderError."""
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            if self._document and self._zip:
                self._document.feed(piece)
                piece = self._zip.compress(piece)
            self._write(piece)

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._bytes += len(data)
        with _disk(self._part):
            self._file.write(data)

    def finish(self) -> StoredResult:
        """Give the whole file its name, on the disk. Raises WrongResultError or FolderError."""
        if self._document and self._zip:
            _judge(self._document, self._wanted)
            self._write(self._zip.flush())
        elif not self._bytes:
            raise WrongResultError("it is empty")
        with _disk(self._part):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._part.rename(self.path)
            _sync(self.path.parent)
            _sync(self._folder)
        return StoredResult(path=self.name, bytes=self._bytes, sha256=self._hash.hexdigest())

    def adopt(self) -> StoredResult | None:
        """Return what a crash has left, if it proves to be the result; else remove it."""
        with _disk(self.path):
            if not self.path.exists():
                return None
            found, known = fingerprint(self._folder, self.name), self._wanted.sha256
            if known == found.sha256 or (known is None and self._document and self._is_whole()):
                return found
            self.path.unlink()
            return None

    def _is_whole(self) -> bool:
        document = Document()
        try:
            with gzip.open(self.path) as file:
                while piece := file.read(PIECE):
                    document.feed(piece)
            _judge(document, self._wanted)
        except (WrongResultError, EOFError, zlib.error, gzip.BadGzipFile):
            return False
        return True

    def close(self) -> None:
        """Let go of it; what has not got its name is removed."""
        with suppress(OSError):
            if self._is_ours():
                self._part.unlink()
        with suppress(OSError):
            self._file.close()


def fingerprint(folder: Path, name: str) -> StoredResult:
    """Return a file as it is on the disk. Raises OSError."""
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredResult(path=name, bytes=file.tell(), sha256=digest)


def _judge(document: Document, wanted: WantedResult) -> None:
    """Raise WrongResultError unless a document is whole, and of this job as far as it says so."""
    document.end()
    if document.job_id is None and wanted.type == "core":
        raise WrongResultError("it names no job")
    if document.job_id not in {None, wanted.job_id}:
        raise WrongResultError("it is the result of another job")


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
