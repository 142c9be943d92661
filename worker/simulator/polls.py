"""Build the answers of job_status, from the documented one to a misleading one. Pure.

Fields: worker/api/README.md, section 4.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from worker.simulator import faults
from worker.simulator.lives import ERROR, FINISHED, Shown

STATUS_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "STATUS": "a number from 100 to 599: that status with the documented errors",
        "cut": "the whole JSON is sent, but Content-Length promises more; closed",
        "echo-key": "400 whose message repeats the api_key",
        "no-status": "without a status",
        "not-json": "200 with plain text",
        "poll-huge": "poll_again_after_seconds is a number of 30 digits",
        "poll-negative": "poll_again_after_seconds is -1",
        "poll-null": "poll_again_after_seconds is null",
        "poll-text": "poll_again_after_seconds is a word",
        "proxy-STATUS": "that status with a proxy's HTML page; 200 too",
        "reset": "the connection is reset",
        "retry-after-STATUS": "that status with the documented errors and Retry-After: 1",
        "wrong-id": "finished, but of a job with another id",
    }
)
"""Every kind of trouble of job_status with its meaning in one line, for help texts."""

ANSWERED: Final = {name for name in STATUS_KINDS if name.startswith("poll-")} | {
    "cut",
    "no-status",
    "wrong-id",
}
"""Kinds that are a document."""

_HINTS: Final[Mapping[str | None, object]] = {
    "poll-huge": 10**29,
    "poll-negative": -1,
    "poll-null": None,
    "poll-text": "soon",
}

STRANGE_ID: Final = "00000000-0000-4000-8000-000000000000"
"""The id of no job."""


def check_kind(kind: str) -> None:
    """Raise ValueError, with the way out, unless `kind` is a kind of trouble of job_status."""
    if faults.status_of(kind) is None and (kind not in STATUS_KINDS or "STATUS" in kind):
        raise faults.no_such(kind, "status", STATUS_KINDS)


def parse_status_failure(text: str) -> tuple[str, float]:
    """Read `429=0.05`; raise ValueError naming the value and the way out."""
    return faults.parse_failure(text, check_kind, "429")


def document(
    kind: str | None, job_id: str, shown: Shown, poll_seconds: int | None
) -> dict[str, object]:
    """Return the answer about a job, under one of `ANSWERED` or None."""
    ended = shown.status in {FINISHED, ERROR}
    body: dict[str, object] = {
        "job_id": job_id,
        "status": shown.status,
        "media_transfer_status": shown.transfer_status,
        "details": shown.details,
        "poll_again_after_seconds": None if ended else _HINTS.get(kind, poll_seconds),
    }
    if kind == "wrong-id":
        body |= {"job_id": STRANGE_ID, "status": FINISHED}
    if kind == "no-status":
        del body["status"]
    return body
