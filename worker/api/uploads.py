"""Upload a file by the API's three steps (worker/api/README.md): one request each.

By aiohttp's public ClientSession, since nothing here is paid. Every failure is a value; repeats no
request, follows no redirect, opens no file.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TypeVar, cast

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpProcessingError

from worker.api.client import BODY_LIMIT, Api, described
from worker.api.transport import KEEP_ALIVE_SECONDS
from worker.core.classify import Answer, NoAnswer, classify
from worker.core.model import InDoubt, Outcome
from worker.core.redact import blank, presentable
from worker.core.upload import Finished, Opened, Taken, finished, opened

Given = TypeVar("Given", Opened | InDoubt, Finished | InDoubt)

UNSENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)
"""Errors before the first byte."""

PIECE = 256 << 10
"""Bytes of a chunk that are written at once; requests of others come between two of them. Each must
be taken within ``seconds``, so a slow link sets the most; smaller ones cost the processor more.
"""

CHUNK = "send_file_chunk"

BURST_SECONDS = 0.05
"""What a late piece may make good."""


@dataclass(slots=True)
class ByteRate:
    """The pace of all uploads of a process; None for as fast as it goes."""

    per_second: int | None
    monotonic: Callable[[], float]
    _next_at: float = 0.0

    @property
    def piece(self) -> int:
        """Return the bytes that may be written at once."""
        return PIECE if self.per_second is None else max(1, min(PIECE, self.per_second // 20))

    def wait(self, size: int) -> float:
        """Reserve the next ``size`` bytes, and return in how many seconds they may go."""
        if self.per_second is None:
            return 0.0
        now = self.monotonic()
        at = max(self._next_at, now - BURST_SECONDS)
        self._next_at = at + size / self.per_second
        return max(0.0, at - now)


class _Chunk(aiohttp.Payload):
    """The bytes of a chunk, written piece by piece. Each piece moves the limit of its request to
    ``seconds`` from then.
    """

    def __init__(
        self, data: memoryview, rate: ByteRate, limit: asyncio.Timeout, seconds: float
    ) -> None:
        super().__init__(data, filename="chunk")
        self._rate, self._limit, self._seconds = rate, limit, seconds

    @property
    def size(self) -> int:
        return len(self._value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        whole, step = cast("memoryview", self._value), self._rate.piece
        clock = asyncio.get_running_loop()
        for begin in range(0, len(whole), step):
            piece = whole[begin : begin + step]
            wait = self._rate.wait(len(piece))
            self._limit.reschedule(clock.time() + wait + self._seconds)
            await asyncio.sleep(wait)
            await writer.write(piece)
        self._limit.reschedule(clock.time() + self._seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadApi:
    """The upload endpoints at one address, with one key; ``patience``, ``seconds``: until there is
    a connection, and after it an answer, whatever comes before that.

    ``session`` keeps its connections from chunk to chunk; ``single`` has a new one each time, where
    no answer that nobody asked for can be taken for that to finalize.
    """

    session: aiohttp.ClientSession
    single: aiohttp.ClientSession
    key: str = field(repr=False)
    read: Callable[[int, bytes, Mapping[str, str]], Answer]
    rate: ByteRate
    patience: float
    seconds: float

    async def initialize(self, size: int) -> Opened | Outcome:
        """Begin the upload of a file of ``size`` bytes."""
        body = await self._ask("initialize_file_upload", {"file_size_bytes": size})
        return self._checked(opened(body)) if isinstance(body, bytes) else body

    async def send_chunk(self, upload_id: str, index: int, data: memoryview) -> Taken | Outcome:
        """Send the chunk of that index, from 0."""
        given = {"upload_id": upload_id, "chunk_index": index}
        body = await self._ask(CHUNK, given, data)
        return Taken() if isinstance(body, bytes) else body

    async def finalize(self, upload_id: str) -> Finished | Outcome:
        """End an upload whose chunks are all there."""
        body = await self._ask("finalize_file_upload", {"upload_id": upload_id})
        return self._checked(finished(body)) if isinstance(body, bytes) else body

    def _checked(self, answer: Given) -> Given | InDoubt:
        """Return the answer; a doubt where its text holds the key, which nobody may store."""
        if isinstance(answer, InDoubt):
            return replace(answer, message=presentable(answer.message, self.key))
        text = answer.url if isinstance(answer, Finished) else answer.upload_id
        is_clean = blank(text, self.key) == text
        return answer if is_clean else InDoubt("the answer holds the API key", HTTPStatus.OK)

    async def _ask(
        self, path: str, given: Mapping[str, object], data: memoryview | None = None
    ) -> bytes | Outcome:
        """POST a form. Return the body of a 200, else why there is none."""
        limit = asyncio.timeout(self.patience + self.seconds)
        form = aiohttp.MultipartWriter("form-data")
        for name, text in {"api_key": self.key, **given}.items():
            form.append(str(text)).set_content_disposition("form-data", name=name)
        if data is not None:
            part = form.append_payload(_Chunk(data, self.rate, limit, self.seconds))
            part.set_content_disposition("form-data", name="file_data", filename="chunk")
        try:
            async with limit:
                answer = await self._post(path, form)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            outcome = classify(NoAnswer(described(error), not isinstance(error, UNSENT)))
        else:
            if answer.status == HTTPStatus.OK:
                return answer.body
            outcome = classify(answer)
        return replace(outcome, message=presentable(outcome.message or "", self.key))

    async def _post(self, path: str, form: aiohttp.MultipartWriter) -> Answer:
        session = self.session if path == CHUNK else self.single
        async with session.post(path, data=form, allow_redirects=False) as told:
            body = bytearray()
            async for part in told.content.iter_any():
                body += part[: BODY_LIMIT - len(body)]
                if len(body) == BODY_LIMIT:
                    break
            return self.read(told.status, bytes(body), told.headers)


@asynccontextmanager
async def uploading(api: Api, key: str, rate: ByteRate) -> AsyncIterator[UploadApi]:
    """Yield the upload endpoints at the address of a client."""
    kept = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
    single = aiohttp.TCPConnector(limit=0, force_close=True)
    make, of = api.transport.session, api.transport
    times = {"patience": of.connect_timeout_seconds, "seconds": of.timeout_seconds}
    async with make(kept) as first, make(single) as second:
        yield UploadApi(session=first, single=second, key=key, read=api.read, rate=rate, **times)
