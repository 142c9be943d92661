"""Local files of a scenario: a proxy that holds an upload at one of its steps, and the book's word
on the bytes behind each address.
"""

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.processes.programs import execute, let_leases_end, moment
from tests.wire import Line, Wire
from worker.simulator.uploads import read_uploads

CHUNK_BYTES = 1_000

STEPS = ("initialize_file_upload", "send_file_chunk", "finalize_file_upload", "new_job")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A moment of an upload: the ``number``-th request of a step has come, and is done or not."""

    name: str
    step: str
    number: int = 1
    is_done: bool


class Holding:
    """A proxy between one worker and the API. At its moment it answers no more; ``go`` lets it go
    on. ``came`` counts the requests by their step.
    """

    def __init__(self, api: str, held: Moment | None = None) -> None:
        self._api, self._held = urlsplit(api), held
        self._stack = AsyncExitStack()
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self.came: Counter[str] = Counter()
        self.wire = Wire(self._serve)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.wire)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _serve(self, line: Line) -> None:
        while True:
            request = await line.request()
            step = request.split(b" ", 2)[1].rpartition(b"/")[2].decode()
            self.came[step] += 1
            held = self._held
            if held is None or (step, self.came[step]) != (held.step, held.number):
                line.say(await self._forward(request))
                continue
            answer = await self._forward(request) if held.is_done else b""
            self.reached.set()
            await self.go.wait()
            line.say(answer or await self._forward(request))

    async def _forward(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._api.hostname, self._api.port)
        api = Line(reader, writer)
        api.say(request)
        whole = await api.request()  # an answer has a head and a length as a request has
        api.end()
        return whole


def write(folder: Path, count: int, name: str, chunks: int = 3) -> list[Path]:
    """Write files of random bytes, each of some whole chunks and a part of one."""
    paths = [folder / f"{name}-{number}.mp4" for number in range(count)]
    for path in paths:
        path.write_bytes(os.urandom(chunks * CHUNK_BYTES + 1 + secrets.randbelow(CHUNK_BYTES - 1)))
    return paths


def addresses_of(paths: Sequence[Path]) -> list[str]:
    """Return the address of each file; their names need no escapes."""
    return [f"file://{path}" for path in paths]


def contents(book: Path, paths: Sequence[Path]) -> Mapping[str, str]:
    """Return the address of the file behind each finished upload, by the bytes of both. An upload
    of other bytes is nobody's.
    """
    known = {sha256(path.read_bytes()).hexdigest(): path for path in paths}
    return {
        upload.url: f"file://{known[upload.sha256]}"
        for upload in read_uploads(book)
        if upload.sha256 in known
    }


def let_uploads_end(queue: str, hours: float = 0) -> None:
    """Let all leases be over, and all uploads be so much older."""
    let_leases_end(queue)
    execute(queue, "UPDATE uploads SET lease_until = ? WHERE state = 'uploading'", moment(-1))
    if hours:
        begun = moment(-3_600 * hours)
        execute(queue, "UPDATE uploads SET begun_at = ? WHERE begun_at IS NOT NULL", begun)
