"""One exchange with the API; the last place that sees an aiohttp error, and the key.

Always returns an outcome and never raises for what a network or a server does. It repeats nothing,
follows nothing, and knows no database. Facts about aiohttp are tests (tests/test_api.py).
"""

import asyncio
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Self

import aiohttp
from aiohttp import hdrs

from worker.core.classify import Answer, Exchange, NoAnswer, Withheld, classify
from worker.core.model import Accepted, Outcome
from worker.core.redact import blank, clean
from worker.core.request import Json

BODY_LIMIT = 64 * 1024
"""Bytes of an answer that are read (design.md, section 4)."""

KEEP_ALIVE_SECONDS = 4.0
"""Shorter than a server's usual five: an idle connection that the server closes under a POST makes
a doubt."""


class WithheldError(Exception):
    """Raised by the last check before the first byte; nothing leaves."""


@dataclass(slots=True)
class _Progress:
    """How far one request came."""

    may_send: Callable[[], str | None]
    sent: bool = False


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
        trace.on_request_headers_sent.append(_first_byte)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=slots, keepalive_timeout=KEEP_ALIVE_SECONDS, socket_factory=_socket
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
            return replace(outcome, job_id=clean(outcome.job_id))
        return replace(outcome, message=clean(blank(outcome.message, self._key)))

    async def _exchange(self, body: Json, may_send: Callable[[], str | None]) -> Exchange:
        data = json.dumps({"api_key": self._key, **body}, ensure_ascii=False).encode()
        progress = _Progress(may_send)
        try:
            response = await self._session.post(
                f"{self._url}/new_job",
                data=data,
                headers={hdrs.CONTENT_TYPE: "application/json"},
                allow_redirects=False,
                trace_request_ctx=progress,
            )
        except WithheldError as reason:
            return Withheld(str(reason))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            return NoAnswer(_told(error), progress.sent)
        except asyncio.CancelledError:
            _answered_cancel()
            return NoAnswer("cut short by our own stop", progress.sent)
        # No await stands between the last byte read and the return: an answer is never lost to a
        # cancellation.
        return await self._answer(response)

    async def _answer(self, response: aiohttp.ClientResponse) -> Answer:
        """The response as far as it can be read: a body that breaks off is kept up to there."""
        body = bytearray()
        try:
            while len(body) < BODY_LIMIT:
                chunk = await response.content.read(BODY_LIMIT - len(body))
                if not chunk:
                    break
                body += chunk
        except (aiohttp.ClientError, OSError, TimeoutError):
            response.close()
        except asyncio.CancelledError:
            _answered_cancel()
            response.close()
        response.release()
        return Answer(
            status=response.status,
            body=bytes(body),
            received_at=self._now(),
            retry_after=response.headers.get(hdrs.RETRY_AFTER),
            date=response.headers.get(hdrs.DATE),
        )


def _answered_cancel() -> None:
    """A cancellation that ends in an outcome is over; what the task does next may wait again."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


async def _first_byte(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceRequestHeadersSentParams
) -> None:
    """The last moment at which nothing has left: ask once more, then count it as sent."""
    progress: _Progress = context.trace_request_ctx
    reason = progress.may_send()
    if reason is not None:
        raise WithheldError(reason)
    progress.sent = True


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket whose close drops what it has not sent: bytes that wait behind a dead network must
    not arrive after the attempt has ended.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return made


def _told(error: BaseException) -> str:
    """An error as a sentence without the request in it."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
