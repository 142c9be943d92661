"""Decide how the upload of a local file begins, goes on and ends. Opens no file, knows no clock.

Only ``new_job`` costs money, so whatever is in doubt before it is begun anew (law 16).
"""

import re
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
    Outcome,
    Refused,
    TryLater,
    WrongAddress,
    value,
)
from worker.core.redact import clean
from worker.core.verdict import GIVE_ROOT

LARGEST = 7_000_000_000
"""Bytes of a file, by the documentation."""

LARGEST_CHUNK = 64 << 20
"""The API is believed up to here: as many bytes are in memory for each upload."""

OLDEST = timedelta(hours=12)
"""Of an upload that is resumed, or handed in: how long the API keeps one is not documented."""

MOST_CHANGES = 3
MOST_TRIES = 3
"""Of one chunk without a clear answer, and of an upload whose end is refused."""

EARLY = timedelta(minutes=1)
"""So far two clocks differ. An upload from later than that tells of a clock that was set back."""

ADDRESS = re.compile(r"valossaupload://[!-~]+")

CHANGED = "changed while it was read"

ASK_API = "it is tried again; valossa-ingest check --online says if key and address are right"
_OF_API = ("HTTP ", "not sent", "sent, but", "initialize_file_upload answered")

GIVEN_TWICE = (
    "finalize_file_upload answered the address of another video's upload; retry uploads anew"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The marks by which a file is known again. ``changed_ns``: its ctime in nanoseconds, which
    every ``write`` moves, and nobody can set; a store through ``mmap`` may move it later, or not.
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

    def with_one_more(self) -> "Upload":
        """Return it with one more acknowledged chunk."""
        return replace(self, acknowledged=self.acknowledged + 1, last_sha256=None, tries=0)

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


@value
class Setback:
    """An interrupted upload.

    Attributes:
        upload: What is kept of it; None for what is on disk.
        wait: For this file alone.
        is_refused: The video fails.
        holds_all: Other files would meet the same, so all uploads of the process wait.
    """

    why: str = ""
    upload: Upload | None = None
    wait: timedelta = timedelta(0)
    is_refused: bool = False
    holds_all: bool = False


def remedy(why: str, video_id: int) -> str:
    """Return the way out for the file of a video that is not uploaded yet."""
    if why.startswith(CHANGED):
        return "it is being written: wait until it is whole, then drain"
    if why.endswith("is not there"):
        return f"put it where a worker reads it, or valossa-ingest cancel id={video_id}"
    return ASK_API if why.startswith(_OF_API) else GIVE_ROOT


def size_problem(size: int) -> str | None:
    """Return why a file of that many bytes is not uploaded; None if it may be."""
    if size <= 0:
        return "is empty: write the file, then retry"
    if size > LARGEST:
        return f"has {size:,} bytes; the API takes 7 GB: make it smaller"
    return None


def is_another(upload: Upload, found: Identity) -> bool:
    """Return True if the file is another one than when its upload began. A disk that was mounted
    anew may have another number.
    """
    began = upload.identity
    is_known = began is not None and replace(began, device=found.device) == found
    return upload.upload_id is not None and not is_known


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
    return -EARLY <= now - ready_at <= OLDEST


def opened(body: bytes) -> Opened | InDoubt:
    """Return the answer to initialize."""
    document = parsed(body)
    found = document if isinstance(document, dict) else {}
    upload_id, size = found.get("upload_id"), found.get("file_chunk_size_bytes")
    is_named = isinstance(upload_id, str) and upload_id and clean(upload_id) == upload_id
    if is_named and type(size) is int and 0 < size <= LARGEST_CHUNK:
        return Opened(str(upload_id), size)
    chunks = f", with chunks of {size} bytes" if type(size) is int else ""
    told = f"initialize_file_upload answered {shape(document)[:SHAPE_LIMIT]}{chunks}"
    return InDoubt(told, HTTPStatus.OK)


def finished(body: bytes) -> Finished | InDoubt:
    """Return the answer to finalize, whose form is not documented: the one address in it."""
    document = parsed(body)
    found = {text for text in _texts(document) if ADDRESS.fullmatch(text) and text == clean(text)}
    if len(found) == 1:
        return Finished(found.pop())
    told = f"{shape(document)[:SHAPE_LIMIT]}, with {len(found)} addresses"
    return InDoubt(f"finalize_file_upload answered {told}", HTTPStatus.OK)


def _texts(document: object) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from _texts(part)


def changed(upload: Upload, dice: float, policy: Policy) -> Setback:
    """Return what follows from a file that is another one than when its upload began."""
    changes = upload.changes + 1
    kept, why = replace(upload.anew(), changes=changes), CHANGED
    if changes >= MOST_CHANGES:
        why = f"{why}, {changes} times: it is being written; retry when it is whole"
        return Setback(upload=kept, why=why, is_refused=True)
    return Setback(upload=kept, why=why, wait=policy.wait(changes, dice))


def unwritten(upload: Upload, why: str, dice: float, policy: Policy) -> Setback:
    """Return what follows from an upload whose row the database refuses to write (law 14): it is
    begun anew, after a longer wait each time.
    """
    restarts = upload.restarts + 1
    kept = replace(upload.anew(), restarts=restarts)
    return Setback(why=why, upload=kept, wait=policy.wait(restarts, dice))


def interrupted(upload: Upload, outcome: Outcome, dice: float, policy: Policy) -> Setback:
    """Return what follows from a request of an upload that did not go well."""
    # The first of these cases holds. 1. Refused before its first byte, or at its end after two that
    # came to nothing, or ended by an answer that says no address: the video fails. 2. Finalize was
    # asked for, or the API says that it has no such upload, or takes no such chunk, or three times
    # nothing clear, once to initialize: it is begun anew, by which a wrong key or address shows. 3.
    # The same is sent again.
    why, is_begun = outcome.message or "", upload.upload_id is not None
    is_whole = is_begun and upload.acknowledged == upload.chunks
    is_refused = isinstance(outcome, Refused)
    is_gone = isinstance(outcome, WrongAddress) and outcome.status == HTTPStatus.NOT_FOUND
    is_no = not is_whole and isinstance(outcome, AccountRefused | WrongAddress)
    is_its_own = is_begun and (is_refused or is_gone or is_no)
    is_over = outcome.status == HTTPStatus.OK or (is_refused and upload.restarts + 1 >= MOST_TRIES)
    if (is_refused and not is_begun) or (is_whole and is_over):
        return Setback(why=why, upload=upload.anew(), is_refused=True, holds_all=True)
    tries = upload.tries + isinstance(outcome, InDoubt | TryLater)
    most = MOST_TRIES if is_begun else 1
    if not (is_whole or is_its_own or tries >= most):
        return Setback(why=why, upload=replace(upload, tries=tries), holds_all=True)
    restarts = upload.restarts + 1
    kept = replace(upload.anew(), restarts=restarts)
    if restarts >= policy.max_attempts:
        why = f"{why} (upload {restarts}, the last one allowed)"
        return Setback(why=why, upload=kept, is_refused=True)
    wait = policy.wait(restarts + (not is_its_own), dice)  # longer than all wait: others pass
    return Setback(why=why, upload=kept, wait=wait, holds_all=not is_its_own)
