"""Make one exchange with the API; the last module that sees an aiohttp error, and the key.

Returns an outcome for every failure of a network or a server. Repeats no request, follows no
redirect, and knows no database.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from http import HTTPStatus
from typing import Self

import aiohttp
from aiohttp import hdrs
from aiohttp.http import HttpProcessingError

from worker.api.transport import Exchange, Transport, UntrustedError, WithheldError
from worker.core.classify import (
    Answer,
    ExchangeResult,
    NoAnswer,
    Withheld,
    classify,
    job_answer,
    title,
)
from worker.core.following import JobStatus, NoStatus
from worker.core.job_list import Listing, Unlisted
from worker.core.list_reader import LIST_LIMIT, ListReader, UnreadableError
from worker.core.model import Accepted, Fact, InDoubt, Outcome, Throttled, TryLater
from worker.core.redact import blank, clean, presentable
from worker.core.request import Json
from worker.core.results import ENDINGS, Undelivered

BODY_LIMIT = 64 * 1024
"""Bytes of an answer that are read."""

ERROR_LIMIT = 500
"""Characters of an unexpected answer that are shown."""

RESULT_SECONDS = 3_600
"""A result has as long as this to come."""

CUT, NO_END, PAGE = "the answer was cut off", "it does not show its end", "it is a page"

_JSON = json.JSONEncoder(ensure_ascii=False)
_FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
_HARMLESS = aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, HttpProcessingError
_QUOTE = re.compile(r"[:\s]*(?:\n|\bb['\"])")
"""The point in a message at which aiohttp begins to quote the server."""


class Api:
    """The connections to one address of the API, with one key."""

    def __init__(self, transport: Transport, key: str, now: Callable[[], datetime]) -> None:
        self.transport = transport
        self._key = key
        self._now = now

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.transport.close()

    async def new_job(self, body: Json, may_send: Callable[[], str | None]) -> Outcome:
        """POST one job and return its outcome. ``may_send`` is called last, when the connection
        stands and before the first byte leaves: a reason withholds the request (law 4).
        A cancellation of the task ends the exchange, and its outcome is returned all the same.
        """
        outcome = classify(await self._exchange(body, may_send))
        if isinstance(outcome, Accepted):
            return Accepted(clean(blank(outcome.job_id, self._key)), outcome.status)
        return replace(outcome, message=presentable(outcome.message, self._key))

    async def list_jobs(self) -> Listing | Unlisted:
        """GET this key's jobs (worker/api/README.md, section 6), or return why there is no list.
        The key travels in the query, so no text of an error may show the address.
        """
        exchange, reader = Exchange(LIST_LIMIT + 1), ListReader()

        def take(part: bytes) -> None:
            exchange.body += part[: BODY_LIMIT - len(exchange.body)]
            if exchange.head is not None and exchange.head.code == HTTPStatus.OK:
                reader.feed(part)

        exchange.take = take
        try:
            await self.transport.get("/list_jobs", {"api_key": self._key}, exchange)
            answer = self._answer(exchange)
            if answer.status != HTTPStatus.OK:
                return self._unlisted(answer)
            # In a thread: requests in flight must not wait while a huge list is put in order.
            return await asyncio.to_thread(self._blanked, reader)
        except UnreadableError as error:
            page = title(exchange.body.decode("utf-8", "replace"))
            reason = f"{error}, but a page with the title {page}" if page else str(error)
            return Unlisted(reason=presentable(reason, self._key), lasting=True)
        except _FAILURES as error:
            return Unlisted(reason=self._failure(error))

    def _failure(self, error: Exception) -> str:
        """Return an error of a GET, whose address has the key."""
        harmless = isinstance(error, (*_HARMLESS, UntrustedError))
        return presentable(described(error) if harmless else type(error).__name__, self._key)

    async def job_status(self, job_id: str) -> JobStatus | NoStatus:
        """GET the state of a job (worker/api/README.md, section 4), in presentable texts."""
        exchange, query = Exchange(BODY_LIMIT), {"api_key": self._key, "job_id": job_id}
        try:
            await self.transport.get("/job_status", query, exchange)
        except _FAILURES as error:
            return NoStatus(reason=self._failure(error))
        said = job_answer(self._answer(exchange), job_id)
        texts = {n: text for n, text in asdict(said).items() if type(text) is str}
        return replace(said, **{n: presentable(text, self._key) for n, text in texts.items()})  # type: ignore[arg-type]

    def _blanked(self, reader: ListReader) -> Listing:
        """Return the list with the key blanked in every text."""
        found = reader.end()
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

    def _unlisted(self, answer: Answer) -> Unlisted:
        outcome = classify(replace(answer, body=answer.body[:BODY_LIMIT]))
        later = outcome if isinstance(outcome, Throttled | TryLater) else None
        reason = presentable(outcome.message or f"HTTP {answer.status}", self._key)
        return Unlisted(
            reason=reason[:ERROR_LIMIT],
            lasting=later is None and not isinstance(outcome, InDoubt),
            retry_after=later.retry_after if later else None,
            fact=outcome.fact,
        )

    async def job_results(
        self, job_id: str, kind: str, take: Callable[[bytes], None]
    ) -> Undelivered | None:
        """GET a result (worker/api/README.md, section 5); have ``take`` called, in a thread, with
        each part of it. Return None if all came, or why not. Raises what ``take`` raises.
        """
        query = {"api_key": self._key, "job_id": job_id, "type": kind}
        began = False
        try:
            async with (
                asyncio.timeout(RESULT_SECONDS),
                self.transport.session() as client,
                client.get("job_results", params=query, allow_redirects=False) as response,
            ):
                began, headers = True, response.headers
                if response.status != HTTPStatus.OK:
                    body = await response.content.read(BODY_LIMIT)
                    return self._undelivered(self.read(response.status, body, headers), job_id)
                if "html" in response.content_type:
                    return Undelivered(reason=PAGE, spent=False, outage=True)
                if not _shows_end(headers, kind):
                    return Undelivered(reason=NO_END)
                async for part in response.content.iter_any():
                    await asyncio.to_thread(take, part)
                return None
        except _FAILURES as error:
            why = self._failure(error)
            return Undelivered(reason=f"{CUT}: {why}" if began else why, spent=began)

    def _undelivered(self, answer: Answer, job_id: str) -> Undelivered:
        told = job_answer(answer, job_id)
        assert isinstance(told, NoStatus)  # noqa: S101 - the answer is no success
        later, is_account = told.retry_after, told.refused is Fact.ACCOUNT_REFUSED
        outage = later is None and answer.status not in range(400, 500)
        spent = later is None and not is_account and not outage
        reason = presentable(told.reason, self._key)[:ERROR_LIMIT]
        return Undelivered(
            reason=reason, spent=spent, outage=outage, refused=is_account, retry_after=later
        )

    async def cancel_job(self, job_id: str) -> str | None:
        """Cancel a waiting job (worker/api/README.md, section 7). Return None or why it was not."""
        exchange = Exchange(BODY_LIMIT)
        try:
            await self.transport.post("/cancel_job", self._body({"job_id": job_id}), exchange)
        except _FAILURES as error:
            return type(error).__name__
        answer = self._answer(exchange)
        return None if answer.status == HTTPStatus.OK else self._unlisted(answer).reason

    async def _exchange(self, body: Json, may_send: Callable[[], str | None]) -> ExchangeResult:
        exchange = Exchange(BODY_LIMIT, may_send)
        error = ""
        try:
            await self.transport.post("/new_job", self._body(body), exchange)
        except WithheldError as reason:
            return Withheld(str(reason))
        except asyncio.CancelledError:
            # The cancellation ends in an outcome; the next await of the task may wait again.
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            error = "cut short by our own stop"
        except Exception as failure:  # noqa: BLE001 - every failure of an exchange has an outcome
            error = described(failure)
        # The status counts even if the body broke off. No await stands between the last byte read
        # and the return, so that an answer is never lost to a cancellation.
        return NoAnswer(error, exchange.sent) if exchange.head is None else self._answer(exchange)

    def _body(self, fields: Json) -> bytes:
        return _JSON.encode({"api_key": self._key, **fields}).encode()

    def _answer(self, exchange: Exchange) -> Answer:
        assert exchange.head is not None  # noqa: S101 - callers have checked it
        return self.read(exchange.head.code, bytes(exchange.body), exchange.head.headers)

    def read(self, status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return an answer that comes now."""
        return Answer(
            status=status,
            body=body,
            received_at=self._now(),
            retry_after=headers.get(hdrs.RETRY_AFTER),
            date=headers.get(hdrs.DATE),
            location=headers.get(hdrs.LOCATION),
        )


def _shows_end(headers: Mapping[str, str], kind: str) -> bool:
    """Return True if a result that is cut can be told: aiohttp does not see the end of gzip."""
    is_counted = bool({hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING} & {*headers})
    return is_counted and (ENDINGS[kind].endswith("gz") or hdrs.CONTENT_ENCODING not in headers)


def described(error: BaseException) -> str:
    """Return an error as a sentence without the request or the server's words: aiohttp cuts and
    escapes its quotes, so that the key in them could not be found.
    """
    # 1. An answer that is not HTTP. 2. A connection closed without an answer. 3. Anything else.
    match error:
        case HttpProcessingError():
            text = _QUOTE.split(error.message)[0]
        case aiohttp.ClientHttpProxyError(status=status):
            text = f"the proxy answered HTTP {status}: look at the setting proxy"
        case aiohttp.ServerDisconnectedError():
            text = "the server closed the connection"
        case _:
            text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
