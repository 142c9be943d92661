"""One exchange with the API; the last place that sees an aiohttp error, and the key.

Always returns an outcome and never raises for what a network or a server does. It repeats nothing,
follows nothing, and knows no database. Facts about aiohttp are tests (tests/test_api.py).
"""

import asyncio
import json
import re
import select
import socket
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from types import SimpleNamespace
from typing import Self

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from worker.core.classify import Answer, Exchange, NoAnswer, Withheld, classify
from worker.core.listing import Listing, Unlisted, listing
from worker.core.model import Accepted, InDoubt, Outcome, Throttled, TryLater
from worker.core.redact import blank, clean
from worker.core.request import Json

BODY_LIMIT = 64 * 1024
"""Bytes of an answer that are read (design.md, section 4)."""

LIST_LIMIT = 64 * 1024 * 1024
"""Bytes of a list of jobs that are read."""

ERROR_LIMIT = 500
"""Characters of an unexpected answer that are shown."""

KEEP_ALIVE_SECONDS = 4.0
"""Shorter than a server's usual five: an idle connection that the server closes under a POST makes
a doubt."""


_QUOTE = re.compile(r"[:\s]*(?:\n|\bb['\"])")
"""Where aiohttp begins to quote the server."""


class WithheldError(Exception):
    """Raised by the last check before the first byte; nothing leaves."""


@dataclass(slots=True)
class _Progress:
    """How far one request came. ``kept``: its connection has carried another one before."""

    may_send: Callable[[], str | None]
    sent: bool = False
    kept: bool = False
    transport: asyncio.Transport | None = None

    def cut(self) -> None:
        """Let nothing more leave: aiohttp closes a connection in good order, which sends what
        asyncio still holds, and TLS says goodbye for up to 30 s before the socket is closed.
        """
        if self.transport is not None:
            self.transport.abort()


_PROGRESS: ContextVar[_Progress] = ContextVar("_PROGRESS")
"""Of the exchange that runs in this task."""


class _Connections(aiohttp.TCPConnector):
    """Hands out a kept connection only if nothing has come on it since its last answer: aiohttp
    would take whatever came for the answer to the next request.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        """A connection that is new, or kept and silent."""
        progress = _PROGRESS.get()
        while True:
            progress.kept = False
            connection = await super().connect(req, traces, timeout)
            if not (progress.kept and _has_spoken(connection)):
                progress.transport = connection.transport
                return connection
            connection.close()


class Api:
    """The connections to one address of the API, with one key."""

    def __init__(
        self,
        *,
        url: str,
        key: str,
        slots: int,
        connect_timeout_seconds: float,
        timeout_seconds: float,
        now: Callable[[], datetime],
        agent: str,
    ) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._now = now
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_kept)
        trace.on_request_headers_sent.append(_first_byte)
        self._session = aiohttp.ClientSession(
            connector=_Connections(
                limit=slots + 1,  # the list of jobs takes no video's place
                keepalive_timeout=KEEP_ALIVE_SECONDS,
                socket_factory=_socket,
            ),
            timeout=aiohttp.ClientTimeout(
                total=timeout_seconds,
                connect=connect_timeout_seconds,
                sock_connect=connect_timeout_seconds,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={hdrs.ACCEPT_ENCODING: "identity", hdrs.USER_AGENT: agent},
            trace_configs=[trace],
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def new_job(self, body: Json, may_send: Callable[[], str | None]) -> Outcome:
        """POST one job and say what it ended in. ``may_send`` is asked last, when the connection
        stands and before the first byte leaves: a reason withholds the request (law 4).
        Cancelling the task cuts the exchange short, and is answered with its outcome.
        """
        outcome = classify(await self._exchange(body, may_send))
        if isinstance(outcome, Accepted):
            return replace(outcome, job_id=clean(blank(outcome.job_id, self._key)))
        return replace(outcome, message=clean(blank(outcome.message, self._key)))

    async def list_jobs(self) -> Listing | Unlisted:
        """GET what the API shows of this key's jobs (valossa-api.md, section 6), or why it shows
        nothing. The key travels in the query, so no text of an error may show the address.
        """
        _PROGRESS.set(_Progress(lambda: None))
        body = bytearray()
        try:
            async with self._session.get(
                f"{self._url}/list_jobs", params={"api_key": self._key}, allow_redirects=False
            ) as response:
                while len(body) < LIST_LIMIT and (chunk := await response.content.readany()):
                    body += chunk
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            harmless = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientResponseError)
            told = _told(error) if harmless else type(error).__name__
            return Unlisted(reason=clean(blank(told, self._key)))
        if response.status != HTTPStatus.OK:
            return self._unlisted(response, bytes(body[:BODY_LIMIT]))
        # In a thread: what is in flight must not wait while a huge list is read.
        found = await asyncio.to_thread(self._read_list, bytes(body))
        return found or Unlisted(reason="the answer is not JSON", lasting=True)

    def _read_list(self, body: bytes) -> Listing | None:
        """The list, with the key blanked wherever something of it is kept."""
        found = listing(body)
        if found is None:
            return None
        entries = tuple(
            replace(
                entry,
                job_id=entry.job_id and blank(entry.job_id, self._key),
                status=entry.status and blank(entry.status, self._key),
            )
            for entry in found.entries
        )
        paged = found.paged and blank(found.paged, self._key)
        return Listing(entries=entries, paged=paged, shape=blank(found.shape, self._key))

    def _unlisted(self, response: aiohttp.ClientResponse, body: bytes) -> Unlisted:
        """An answer that is no list, in the words of the outcome table."""
        outcome = classify(self._answered(response, body))
        told = outcome.message or f"HTTP {response.status}"
        later = outcome if isinstance(outcome, Throttled | TryLater) else None
        return Unlisted(
            reason=clean(blank(told, self._key))[:ERROR_LIMIT],
            lasting=not isinstance(outcome, Throttled | TryLater | InDoubt),
            retry_after=None if later is None else later.retry_after,
        )

    async def cancel_job(self, job_id: str) -> str | None:
        """POST that a job which still waits is cancelled (valossa-api.md, section 7); why it was
        not, or None if it was.
        """
        _PROGRESS.set(_Progress(lambda: None))
        try:
            async with self._session.post(
                f"{self._url}/cancel_job",
                json={"api_key": self._key, "job_id": job_id},
                allow_redirects=False,
            ) as response:
                body = await response.content.read(BODY_LIMIT)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            return type(error).__name__
        if response.status == HTTPStatus.OK:
            return None
        return self._unlisted(response, body).reason

    async def _exchange(self, body: Json, may_send: Callable[[], str | None]) -> Exchange:
        progress = _Progress(may_send)
        _PROGRESS.set(progress)
        ended: Exchange
        try:
            response = await self._session.post(
                f"{self._url}/new_job",
                data=json.dumps({"api_key": self._key, **body}, ensure_ascii=False).encode(),
                headers={hdrs.CONTENT_TYPE: "application/json"},
                allow_redirects=False,
            )
        except WithheldError as reason:
            ended = Withheld(str(reason))
        except asyncio.CancelledError:
            _answered_cancel()
            ended = NoAnswer("cut short by our own stop", progress.sent)
        except Exception as error:  # noqa: BLE001 - every failure of an exchange has an outcome
            ended = NoAnswer(_told(error), progress.sent)
        else:
            # No await stands between the last byte read and the return: an answer is never lost
            # to a cancellation.
            return await self._answer(response, progress)
        progress.cut()
        return ended

    async def _answer(self, response: aiohttp.ClientResponse, progress: _Progress) -> Answer:
        """The response as far as it can be read: a body that breaks off is kept up to there."""
        body = bytearray()
        try:
            while len(body) < BODY_LIMIT:
                chunk = await response.content.read(BODY_LIMIT - len(body))
                if not chunk:
                    break
                body += chunk
        except asyncio.CancelledError:
            _answered_cancel()
            progress.cut()
        except Exception:  # noqa: BLE001 - the status stands, whatever became of the body
            progress.cut()
        response.release()
        return self._answered(response, bytes(body))

    def _answered(self, response: aiohttp.ClientResponse, body: bytes) -> Answer:
        return Answer(
            status=response.status,
            body=body,
            received_at=self._now(),
            retry_after=response.headers.get(hdrs.RETRY_AFTER),
            date=response.headers.get(hdrs.DATE),
        )


def _answered_cancel() -> None:
    """A cancellation that ends in an outcome is over; what the task does next may wait again."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


async def _kept(
    _: aiohttp.ClientSession, __: SimpleNamespace, ___: aiohttp.TraceConnectionReuseconnParams
) -> None:
    _PROGRESS.get().kept = True


async def _first_byte(
    _: aiohttp.ClientSession, __: SimpleNamespace, ___: aiohttp.TraceRequestHeadersSentParams
) -> None:
    """The last moment at which nothing has left: ask once more, then count it as sent."""
    progress = _PROGRESS.get()
    reason = progress.may_send()
    if reason is not None:
        raise WithheldError(reason)
    progress.sent = True


def _has_spoken(connection: Connection) -> bool:
    """Whether anything came on a kept connection, its end included: in aiohttp's hands already, or
    still with the kernel.
    """
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or protocol.should_close:
        return True
    ready = select.poll()
    ready.register(transport.get_extra_info("socket"), select.POLLIN)
    return bool(ready.poll(0))


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose close drops what it has not sent: bytes that wait behind a dead network must
    not arrive after the attempt has ended.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return made


def _told(error: BaseException) -> str:
    """An error as a sentence, without the request in it and without what the server said: aiohttp
    quotes that cut and escaped, so that the key in it might not be found.
    """
    match error:
        case aiohttp.ClientResponseError():
            text = _QUOTE.split(error.message)[0]
        case aiohttp.ServerDisconnectedError():
            text = "the server closed the connection"
        case _:
            text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
