"""Serve the three steps of an upload, and record the hash of each finished one.

What the documentation leaves open (worker/api/README.md, section 9) is answered in its strict
sense: an id that is finished or unknown is 404, a chunk that comes again must have the same bytes,
and fields come before the file, as in the documentation's example.
"""

import asyncio
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from worker.simulator import answers, faults
from worker.simulator.chunks import ChunkError, Incoming
from worker.simulator.options import Options
from worker.simulator.upload_kinds import LEFT, Step

PATHS: Final = {
    Step.INITIALIZE: "initialize_file_upload",
    Step.CHUNK: "send_file_chunk",
    Step.FINALIZE: "finalize_file_upload",
}
SCHEME: Final = "valossaupload://"

_FORM = "multipart/form-data"
_NUMBER = re.compile("[0-9]{1,18}")
_TORN = (ValueError, web.RequestPayloadError, HttpProcessingError)
_PIECE_BYTES = 64 << 10
_LONGEST_FIELD = 4 << 10
_DOUBLED_AFTER_SECONDS = 0.05
_REQUIRED = {
    Step.INITIALIZE: ("file_size_bytes",),
    Step.CHUNK: ("upload_id", "chunk_index", "file_data"),
    Step.FINALIZE: ("upload_id",),
}

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Uploaded:
    """A finished upload; `finished_at` is wall-clock time in seconds since the epoch."""

    upload_id: str
    url: str
    size_bytes: int
    sha256: str
    finished_at: float


@dataclass(frozen=True)
class UploadRequest:
    """A request of a step whose body was read, or was not to be.

    `number` counts the step's requests from 1 in the order of arrival; `done` is True if the step
    was done; `fields` are those of the form without api_key; `size` counts the bytes of its file.
    """

    step: Step
    number: int
    kind: str | None
    done: bool
    fields: Fields
    size: int


class Uploads:
    """The uploads of a simulator. `requests` in the order of reading, `finished` oldest first.

    With a book, each finished upload is a JSON line of the file beside it, its name and `.uploads`,
    before it is answered.
    """

    def __init__(
        self,
        options: Options,
        notify: Callable[[], None],
        released: Callable[[], Awaitable[object]],
    ) -> None:
        self.requests: list[UploadRequest] = []
        self.finished: list[Uploaded] = []
        self._incoming: dict[str, tuple[float, Incoming]] = {}
        self._arrived: Counter[Step] = Counter()
        self._options, self._notify, self._released = options, notify, released
        self._ids = SystemRandom() if options.book else Random(f"uploads {options.seed}")

    def serve_on(self, app: web.Application) -> None:
        """Add the endpoints. When the app ends, what is not finished is forgotten."""
        for step, path in PATHS.items():
            app.router.add_post(f"{answers.BASE}/{path}", partial(self._serve, step))
        app.on_cleanup.append(self._end)

    async def _serve(self, step: Step, request: web.Request) -> web.StreamResponse:
        options = self._options.uploads
        self._arrived[step] += 1
        number = self._arrived[step]
        kind = options.kind_of(step, number, self._options.seed)
        form = Form(request)
        if kind != faults.RESET_EARLY:
            await form.read()
        done, answer = await self._decide(step, kind, form)
        size = form.size
        fields = {name: text for name, text in form.fields.items() if name != "api_key"}
        self.requests.append(UploadRequest(step, number, kind, done is not None, fields, size))
        self._notify()
        if options.latency_seconds:
            await asyncio.sleep(options.latency_seconds)
        if kind == "stall":
            await self._released()
        if kind == "doubled" and done is not None and request.transport is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(_DOUBLED_AFTER_SECONDS, request.transport.write, _raw(done))
        return answer

    async def _decide(
        self, step: Step, kind: str | None, form: "Form"
    ) -> tuple[Mapping[str, object] | None, web.StreamResponse]:
        """Do the step, unless its kind leaves it; return what it says if it is done, and answer."""
        if kind is not None and (kind in LEFT or faults.status_of(kind)):
            await form.discard()
            return None, answers.turned_away(kind, form.fields.get("api_key"))
        try:
            said = await self._do(step, kind, form)
        except NotDoneError as refused:
            await form.discard()
            return None, answers.refusal(refused.status, str(refused))
        return said, _answer(kind, said)

    async def _do(self, step: Step, kind: str | None, form: "Form") -> Mapping[str, object]:
        """Do the step and return what is answered. Raises NotDoneError."""
        key = form.fields.get("api_key")
        if key not in self._options.keys:
            raise NotDoneError(401, "Invalid API key")
        there = {*form.fields, *(["file_data"] if form.has_file else [])}
        if missing := [name for name in _REQUIRED[step] if name not in there]:
            raise NotDoneError(400, f"Missing required field: {missing[0]}")
        if step is Step.INITIALIZE:
            return self._initialize(kind, form, key)
        incoming = self._find(form.fields["upload_id"], key)
        if kind == "forgotten":
            self._forget(incoming)
            raise NotDoneError(404, "Upload not found")
        if step is Step.CHUNK:
            return await self._take(kind, form, incoming)
        return self._finalize(kind, incoming)

    def _initialize(self, kind: str | None, form: "Form", key: str) -> Mapping[str, object]:
        size, chunk = form.number("file_size_bytes"), self._options.uploads.chunk_bytes
        if size < 1:
            raise NotDoneError(400, "Invalid value: file_size_bytes")
        told: Mapping[str | None, object] = {"huge-chunks": 1 << 30, "no-chunks": 0}
        incoming = Incoming(self._fresh_id(), size, chunk, _owner(key))
        if kind != "unknown":
            self._incoming[incoming.upload_id] = (time.monotonic(), incoming)
        answered = str(chunk) if kind == "texts" else told.get(kind, chunk)
        return {"upload_id": incoming.upload_id, "file_chunk_size_bytes": answered}

    async def _take(
        self, kind: str | None, form: "Form", incoming: Incoming
    ) -> Mapping[str, object]:
        if kind == "unkept":
            await form.discard()
            return {}
        try:
            await incoming.take(form.number("chunk_index"), form.data())
        except ChunkError as error:
            raise NotDoneError(400, str(error)) from None
        except _TORN:
            raise NotDoneError(400, "Malformed request body") from None
        return {}

    def _finalize(self, kind: str | None, incoming: Incoming) -> Mapping[str, object]:
        if incoming.upload_id not in self._incoming:  # another finalize came first
            raise NotDoneError(404, "Upload not found")
        if missing := incoming.missing:
            raise NotDoneError(400, f"Missing chunks: {', '.join(map(str, missing[:10]))}")
        url, now = f"{SCHEME}{self._fresh_id()}", time.time()  # noqa: TID251 - a server's own clock
        upload = Uploaded(incoming.upload_id, url, incoming.size, incoming.sha256, now)
        self._book(upload)
        self._forget(incoming)
        other = f"{SCHEME}{self._fresh_id()}"
        said: Mapping[str | None, Mapping[str, object]] = {
            "deep": {"file": {"addresses": [upload.upload_id, url]}},
            "other-scheme": {"uploaded_file_url": f"https://uploads.example/{upload.upload_id}"},
            "several": {"uploaded_file_url": url, "previous_file_url": other},
            "twice": {"uploaded_file_url": url, "video_url": url},
        }
        return said.get(kind, {"uploaded_file_url": url})

    def _find(self, upload_id: str, key: str) -> Incoming:
        begun_at, incoming = self._incoming.get(upload_id, (0.0, None))
        if incoming is None or incoming.owner != _owner(key):
            raise NotDoneError(404, "Upload not found")
        if time.monotonic() - begun_at >= self._options.uploads.life_seconds:
            self._forget(incoming)
            raise NotDoneError(404, "Upload not found")
        return incoming

    def _forget(self, incoming: Incoming) -> None:
        self._incoming.pop(incoming.upload_id, None)
        incoming.close()

    async def _end(self, _: web.Application) -> None:
        while self._incoming:
            self._forget(next(iter(self._incoming.values()))[1])

    def _book(self, upload: Uploaded) -> None:
        if self._options.book is not None:
            with book_of_uploads(self._options.book).open("a") as file:
                file.write(json.dumps(asdict(upload)) + "\n")
        self.finished.append(upload)

    def _fresh_id(self) -> str:
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))


class NotDoneError(Exception):
    """The step is not done; the message is that of the API."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Form:
    """A request's form: its fields up to the file, and then the file as it comes."""

    def __init__(self, request: web.Request) -> None:
        self.fields: dict[str, str] = {}
        self.size = 0
        self._request = request
        self._file: BodyPartReader | None = None

    @property
    def has_file(self) -> bool:
        """Return True if the form has a file after the fields that were read."""
        return self._file is not None

    async def read(self) -> None:
        """Read the fields before the file; none of what is no form."""
        if self._request.content_type != _FORM:
            return
        try:
            reader = await self._request.multipart()
            while isinstance(part := await reader.next(), BodyPartReader):
                if part.name == "file_data":
                    self._file = part
                    return
                text = bytes(await part.read_chunk(_LONGEST_FIELD))
                self.fields[str(part.name)] = text.decode(errors="replace")
        except _TORN:
            self.fields.clear()

    def number(self, name: str) -> int:
        """Return a field as a whole number. Raises NotDoneError."""
        text = self.fields[name]
        if _NUMBER.fullmatch(text) is None:
            raise NotDoneError(400, f"Invalid value: {name}")
        return int(text)

    async def data(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file."""
        while self._file is not None and (piece := await self._file.read_chunk(_PIECE_BYTES)):
            self.size += len(piece)
            yield piece

    async def discard(self) -> None:
        """Read what is left of the file."""
        async for _ in self.data():
            pass


def book_of_uploads(book: Path) -> Path:
    """Return the file of the finished uploads beside a book."""
    return book.with_name(f"{book.name}.uploads")


def read_uploads(book: Path) -> list[Uploaded]:
    """Return the finished uploads of the file beside a book; none if there is no file."""
    path = book_of_uploads(book)
    lines = path.read_text().splitlines() if path.exists() else []
    return [Uploaded(**json.loads(line)) for line in lines]


def _owner(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()


def _answer(kind: str | None, said: Mapping[str, object]) -> web.StreamResponse:
    raw = _raw(said)
    odd: Mapping[str | None, Callable[[], web.StreamResponse]] = {
        "empty": lambda: answers.success({}),
        "half": lambda: answers.Raw(raw[: -(len(json.dumps(said)) + 1) // 2]),
        "lost": lambda: answers.Raw(b"", reset=True),
        "lost-502": lambda: answers.turned_away("proxy-502", None),
        "lost-fin": lambda: answers.Raw(b""),
        "not-json": lambda: web.Response(text="received\n"),
    }
    return odd[kind]() if kind in odd else answers.success(said)


def _raw(said: Mapping[str, object]) -> bytes:
    body = json.dumps(said).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {answers.JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
