"""Decide how the upload of a local file begins, goes on and ends. Opens no file, knows no clock.

Only ``new_job`` costs money, so whatever is in doubt before it is begun anew (law 16).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus

from worker.core.classify import parsed
from worker.core.decide import Policy
from worker.core.job_list import SHAPE_LIMIT, shape
from worker.core.model import (
    AccountRefused,
    InDoubt,
    NotSent,
    Refused,
    Throttled,
    TryLater,
    WrongAddress,
    value,
)
from worker.core.redact import clean

LARGEST = 7_000_000_000
"""Bytes of a file (worker/api/README.md, section 11)."""

LARGEST_CHUNK = 64 << 20
"""The API is believed up to here: as many bytes are in memory for each upload."""

OLDEST = timedelta(hours=12)
"""Of an upload that is resumed, or handed in: how long the API keeps one is not documented."""

MOST_CHANGES = 3
MOST_TRIES = 3
"""Of one chunk without a clear answer."""

SCHEME = "valossaupload://"

Trouble = Refused | AccountRefused | WrongAddress | Throttled | TryLater | InDoubt | NotSent


@dataclass(frozen=True, slots=True)
class Identity:
    """The marks by which a file is known again. ``changed_ns``: its ctime in nanoseconds, which
    every write moves, and nobody can set.
    """

    device: int
    inode: int
    size: int
    changed_ns: int


@value
class Upload:
    """The upload of one video's file, as far as it has come (worker/db/schema.py, ``uploads``)."""

    video_id: int
    address: str
    identity: Identity | None = None
    upload_id: str | None = None
    chunk_size: int = 1
    acknowledged: int = 0
    last_sha256: str | None = None
    begun_at: datetime | None = None
    changes: int = 0
    tries: int = 0
    restarts: int = 0

    @property
    def size(self) -> int:
        """Return the bytes of its file."""
        return self.identity.size if self.identity else 0

    @property
    def chunks(self) -> int:
        """Return the number of its chunks."""
        return -(-self.size // self.chunk_size)

    def place(self, chunk: int) -> tuple[int, int]:
        """Return the offset and the size of a chunk."""
        offset = chunk * self.chunk_size
        return offset, min(self.chunk_size, self.size - offset)

    def anew(self, identity: Identity | None = None) -> "Upload":
        """Return it before its first byte."""
        return Upload(
            video_id=self.video_id,
            address=self.address,
            identity=identity,
            changes=self.changes,
            restarts=self.restarts,
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """The API expects the chunks of a new upload."""

    upload_id: str
    chunk_size: int


@dataclass(frozen=True, slots=True)
class Taken:
    """The API has a chunk."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The API has the whole file at this address."""

    url: str


@dataclass(frozen=True, slots=True)
class Odd:
    """The API said that it went well, but not what was asked for; the message has the shape."""

    message: str


@value
class Setback:
    """An interrupted upload.

    Attributes:
        upload: What is kept of it.
        wait: For this file alone.
        is_refused: The video fails.
        holds_all: Other files would meet the same, so all uploads of the process wait.
    """

    upload: Upload
    why: str
    wait: timedelta = timedelta(0)
    is_refused: bool = False
    holds_all: bool = False


def size_problem(size: int) -> str | None:
    """Return why a file of that many bytes is not uploaded; None if it may be."""
    if size <= 0:
        return "is empty: write the file, then retry"
    if size > LARGEST:
        return f"has {size:,} bytes; the API takes 7 GB: make it smaller"
    return None


def goes_on(upload: Upload, found: Identity, now: datetime) -> bool:
    """Return True if what the API has of a file may be added to. Where every chunk is acknowledged,
    finalize may have been asked for, and that is never done twice.
    """
    begun_at = upload.begun_at
    is_young = begun_at is not None and timedelta(0) <= now - begun_at <= OLDEST
    begun = upload.upload_id is not None and upload.identity == found
    return begun and is_young and upload.acknowledged < upload.chunks


def is_fresh(ready_at: datetime, now: datetime) -> bool:
    """Return True while the API is trusted to have a finished upload still."""
    return now - ready_at <= OLDEST


def opened(body: bytes) -> Opened | Odd:
    """Return the answer to initialize."""
    document = parsed(body)
    found = document if isinstance(document, dict) else {}
    upload_id, size = found.get("upload_id"), found.get("file_chunk_size_bytes")
    is_named = isinstance(upload_id, str) and upload_id and clean(upload_id) == upload_id
    if is_named and type(size) is int and 0 < size <= LARGEST_CHUNK:
        return Opened(str(upload_id), size)
    size = f", with chunks of {size} bytes" if type(size) is int else ""
    return Odd(f"initialize_file_upload answered {_shape(document)}{size}")


def finished(body: bytes) -> Finished | Odd:
    """Return the answer to finalize, whose form is not documented: the one address in it."""
    document = parsed(body)
    found = {text for text in _texts(document) if text.startswith(SCHEME) and text == clean(text)}
    if len(found) == 1:
        return Finished(found.pop())
    return Odd(f"finalize_file_upload answered {_shape(document)}, with {len(found)} addresses")


def _shape(document: object) -> str:
    return shape(document)[:SHAPE_LIMIT]


def _texts(document: object) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from _texts(part)


def changed(upload: Upload, dice: float, policy: Policy) -> Setback:
    """Return what follows from a file that is another one than when its upload began."""
    changes = upload.changes + 1
    kept = replace(upload.anew(), changes=changes)
    if changes >= MOST_CHANGES:
        why = f"changed {changes} times while it was read: it is being written; retry it when whole"
        return Setback(upload=kept, why=why, is_refused=True)
    why = "changed while it was read: its upload is begun anew"
    return Setback(upload=kept, why=why, wait=policy.wait(changes, dice))


def unopened(upload: Upload, answer: Trouble | Odd, dice: float, policy: Policy) -> Setback:
    """Return what follows from an initialize that brought no upload."""
    if isinstance(answer, Odd):
        return replace(_restarted(upload, answer, dice, policy), holds_all=True)
    is_refused = isinstance(answer, Refused)
    return Setback(upload=upload.anew(), why=answer.message, is_refused=is_refused, holds_all=True)


def unsent(upload: Upload, outcome: Trouble, dice: float, policy: Policy) -> Setback:
    """Return what follows from a chunk that was not taken: the same bytes again where the API may
    have the chunks before it, else a new upload.
    """
    if isinstance(outcome, Refused) or _is_gone(outcome):
        return _restarted(upload, outcome, dice, policy)
    tries = upload.tries + isinstance(outcome, InDoubt | TryLater)
    if tries >= MOST_TRIES:
        return replace(_restarted(upload, outcome, dice, policy), holds_all=True)
    return Setback(upload=replace(upload, tries=tries), why=outcome.message, holds_all=True)


def unfinished(upload: Upload, answer: Trouble | Odd, dice: float, policy: Policy) -> Setback:
    """Return what follows from a finalize that brought no address: it is not asked for again."""
    if isinstance(answer, Odd):
        return Setback(upload=upload.anew(), why=answer.message, is_refused=True, holds_all=True)
    is_its_own = isinstance(answer, Refused) or _is_gone(answer)
    return replace(_restarted(upload, answer, dice, policy), holds_all=not is_its_own)


def _is_gone(outcome: Trouble) -> bool:
    return isinstance(outcome, WrongAddress) and outcome.status == HTTPStatus.NOT_FOUND


def _restarted(upload: Upload, answer: Trouble | Odd, dice: float, policy: Policy) -> Setback:
    """Return an upload that is begun anew after a while, as often as attempts are allowed."""
    restarts = upload.restarts + 1
    kept = replace(upload.anew(), restarts=restarts)
    if restarts >= policy.max_attempts:
        why = f"{answer.message} (upload {restarts}, the last one allowed)"
        return Setback(upload=kept, why=why, is_refused=True)
    return Setback(upload=kept, why=answer.message, wait=policy.wait(restarts, dice))
