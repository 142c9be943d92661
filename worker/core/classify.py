"""Classify one exchange with the API as an outcome (README.md, What an answer means).

Every status, body and failure has a case. No other module interprets a status, and this one knows
no HTTP library.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from itertools import product
from typing import assert_never

from worker.core.following import JobStatus, NoStatus
from worker.core.model import (
    Accepted,
    AccountRefused,
    InDoubt,
    NotSent,
    Outcome,
    Refused,
    Released,
    Throttled,
    TryLater,
    WrongAddress,
    value,
)

_ACCOUNT = {401, 402, 403}
_ADDRESS = {404, 405, 407, 410, 421, 426}
_THROTTLED = {425, 429}
UNTOLD_SECONDS = 1.0
"""The pause after a 429 that names no time."""
_UNDECIDED = {101, 303, 408, 409}
_TAG = re.compile(r"(?is)<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>")
_TITLE = re.compile(r"(?is)<title[^<>]*>(.*?)(?:</title\s*>|\Z)")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_SINCE_1970 = (1, 1e3, 1e6, 1e9)
"""Units of a clock that counts from 1970: a second is so many of them."""
_PAST_SECONDS, _AHEAD_SECONDS = 10 * 31_536_000, 2 * 31_536_000
"""A number of seconds since 1970 between them is a moment, and no wait of fifty years."""


@value
class Answer:
    """A response, as far as it was read.

    ``retry_after`` and ``date`` are the raw header values; ``received_at`` (UTC) stands in for a
    missing ``date``. ``location`` is where a 3xx points to.
    """

    status: int
    body: bytes
    received_at: datetime
    retry_after: str | None = None
    date: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No readable response head. ``sent``: the request's first byte may have left."""

    error: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Withheld:
    """A request stopped by the last check before its first byte; nothing was sent."""

    reason: str


ExchangeResult = Answer | NoAnswer | Withheld


def classify(exchange: ExchangeResult) -> Outcome:
    """Return the outcome of one exchange; its message is raw text, neither blanked nor cut."""
    match exchange:
        case Withheld(reason):
            return Released(reason)
        case NoAnswer(error, sent=False):
            return NotSent(f"not sent: {error}")
        case NoAnswer(error):
            return InDoubt(f"sent, but no answer was read: {error}")
        case Answer():
            return _answered(exchange)
        case _:
            assert_never(exchange)


def _answered(answer: Answer) -> Outcome:
    status = answer.status
    if 200 <= status <= 299:
        return _success(answer)
    message = _message(answer)
    if status in _UNDECIDED or not 100 <= status <= 599:
        return InDoubt(message, status)
    if status in _ACCOUNT:
        return AccountRefused(message, status)
    if status in _ADDRESS or 300 <= status <= 399:
        return WrongAddress(message, status)
    if status in _THROTTLED:
        return Throttled(message, status, _seconds(answer))
    if 400 <= status <= 499:
        return Refused(message, status)
    if _clearly_later(answer):
        return TryLater(message, status, _seconds(answer))
    return InDoubt(message, status)


def _success(answer: Answer) -> Outcome:
    body = parsed(answer.body)
    job_id = body.get("job_id") if isinstance(body, dict) else None
    if isinstance(job_id, str) and job_id.strip():
        return Accepted(job_id, answer.status)
    return InDoubt(f"success without a job id: {_message(answer)}", answer.status)


def _clearly_later(answer: Answer) -> bool:
    """Return True if a server error says that no job was made. That is a 500 or 503 with the
    documented body (worker/api/README.md, section 10), or a 503 that names a time.
    """
    documented = _documented_errors(parsed(answer.body)) is not None
    told_when = answer.status == 503 and _seconds(answer) is not None
    return (answer.status in {500, 503} and documented) or told_when


def job_answer(answer: Answer, job_id: str) -> JobStatus | NoStatus:
    """Return what ``job_status`` says of this job; its texts are raw, neither blanked nor cut."""
    status, body = answer.status, parsed(answer.body)
    if status == HTTPStatus.OK and isinstance(body, dict):
        texts = {name: value for name, value in body.items() if isinstance(value, str) and value}
        said = texts.get("status") or texts.get("job_status")
        if said and texts.get("job_id", job_id) == job_id:
            return JobStatus(
                status=said,
                transfer_status=texts.get("media_transfer_status"),
                details=texts.get("details"),
                again_after=_number(body.get("poll_again_after_seconds")),
            )
    seconds, outcome = _seconds(answer), classify(answer)
    missing = status == HTTPStatus.NOT_FOUND and _documented_errors(body) is not None
    refused = not missing and isinstance(outcome, AccountRefused | WrongAddress)
    return NoStatus(
        reason=_message(answer),
        retry_after=UNTOLD_SECONDS if status in _THROTTLED and seconds is None else seconds,
        missing=missing,
        refused=outcome.fact if refused else None,
    )


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def title(page: str) -> str:
    """Return the title of an HTML page; empty if it has none."""
    found = _TITLE.search(page)
    return " ".join(unescape(found[1]).split()) if found else ""


def _message(answer: Answer) -> str:
    """Return text like ``HTTP 400: Invalid value``: the documented messages, else the body, a page
    with its title first; then where a 3xx points to, without the query.
    """
    page = answer.body.decode("utf-8", "replace")
    name, rest = title(page), unescape(_TAG.sub(" ", _TITLE.sub(" ", page)))
    text = _documented_errors(parsed(answer.body)) or " ".join(
        f"{name}: {rest}".split() if name else rest.split()
    )
    told = f"HTTP {answer.status}: {text}" if text else f"HTTP {answer.status}, empty body"
    if answer.location is None or not 300 <= answer.status <= 399:
        return told
    return f"{told}; it points to {re.split('[?#]', answer.location)[0]}"


def _documented_errors(body: object) -> str | None:
    """Return the messages of ``{"errors": [{"message": …}]}`` (worker/api/README.md, section 10).
    None if the body has another shape.
    """
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, list) or not errors:
        return None
    messages = [error.get("message") for error in errors if isinstance(error, dict)]
    told = [message for message in messages if isinstance(message, str)]
    return "; ".join(told) if len(told) == len(errors) else None


def parsed(body: bytes) -> object:
    """Return the body as JSON, or None if it is not JSON. Deep nesting raises RecursionError and a
    huge integer ValueError: both count as "not JSON".
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _seconds(answer: Answer) -> float | None:
    """Return ``Retry-After`` in seconds; a moment is measured against the answer's own ``Date``."""
    told = (answer.retry_after or "").strip()
    sent_at = _http_date(answer.date or "") or answer.received_at
    if _SECONDS.fullmatch(told):
        return _as_wait(float(told), sent_at.timestamp(), answer.received_at.timestamp())
    until = _http_date(told)
    return None if until is None else max(0.0, (until - sent_at).total_seconds())


def _as_wait(number: float, *clocks: float) -> float:
    """Return the number as seconds; one near now counts from 1970, in any unit: a moment."""
    for unit, now in product(_SINCE_1970, clocks):
        if max(1e9, now - _PAST_SECONDS) <= number / unit <= now + _AHEAD_SECONDS:
            return max(0.0, number / unit - now)
    return number


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
