"""Take in the chunks of one upload, in any order, in little memory; hash the whole.

The chunk that is next goes through the hash as it comes. One that comes too early waits in a file
without a name, and goes through the hash when its turn has come.
"""

import shutil
from collections.abc import AsyncIterator
from hashlib import sha256
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO

_PIECE_BYTES = 64 << 10


class ChunkError(Exception):
    """The chunk is not taken; the message says why."""


class Incoming:
    """An upload that is not finished: `count` chunks of `chunk_bytes`, the last may be shorter."""

    def __init__(self, upload_id: str, size: int, chunk_bytes: int, owner: bytes) -> None:
        self.upload_id = upload_id
        self.size = size
        self.owner = owner
        self.count = -(-size // chunk_bytes)
        self._chunk_bytes = chunk_bytes
        self._whole = sha256()
        self._next = 0
        self._digests: dict[int, bytes] = {}
        self._early: IO[bytes] | None = None

    @property
    def missing(self) -> list[int]:
        """Return the indexes of the chunks that are not there."""
        return [index for index in range(self._next, self.count) if index not in self._digests]

    @property
    def sha256(self) -> str:
        """Return the hash of all chunks, which are there."""
        return self._whole.hexdigest()

    async def take(self, index: int, data: AsyncIterator[bytes]) -> int:
        """Take in a chunk and return its size. One that is there already must have the same bytes.
        Raises ChunkError for a wrong index, size or content.
        """
        if not 0 <= index < self.count:
            raise ChunkError(f"chunk_index {index} is not below {self.count}")
        own, size, begun, whole = sha256(), 0, self._next, self._whole.copy()
        with SpooledTemporaryFile(_PIECE_BYTES) as waiting:
            async for piece in data:
                own.update(piece)
                if index == begun:
                    whole.update(piece)
                else:
                    waiting.write(piece)
                size += len(piece)
            if size != self._size_of(index):
                raise ChunkError(f"chunk {index} has {size} bytes, not {self._size_of(index)}")
            if (known := self._digests.get(index)) is not None:
                if known != own.digest():
                    raise ChunkError(f"chunk {index} is there with other bytes")
            elif index == begun:  # no other chunk can have been the next one
                self._whole, self._next = whole, index + 1
            else:
                self._put_by(index, waiting)
            self._digests[index] = own.digest()
        self._go_on()
        return size

    def close(self) -> None:
        """Throw away what waits."""
        if self._early is not None:
            self._early.close()

    def _size_of(self, index: int) -> int:
        return min(self._chunk_bytes, self.size - index * self._chunk_bytes)

    def _put_by(self, index: int, waiting: IO[bytes]) -> None:
        self._early = self._early or TemporaryFile()  # noqa: SIM115 - until `close`
        waiting.seek(0)
        self._early.seek(index * self._chunk_bytes)
        shutil.copyfileobj(waiting, self._early, _PIECE_BYTES)

    def _go_on(self) -> None:
        """Hash the chunks that waited for the last one."""
        while self._early is not None and self._next in self._digests:
            self._early.seek(self._next * self._chunk_bytes)
            left = self._size_of(self._next)
            while left:
                piece = self._early.read(min(left, _PIECE_BYTES))
                self._whole.update(piece)
                left -= len(piece)
            self._next += 1
