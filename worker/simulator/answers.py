"""Build the documented answers, and those of each kind of trouble. Decides and stores nothing.

Error bodies: worker/api/README.md, section 10.
"""

import json
import socket
import struct
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from aiohttp import abc, web

from worker.simulator import faults

JSON: Final = "application/json"
BASE: Final = "/core/1.0"
MOVED: Final = f"{BASE}/moved"
_HUGE_BYTES = 1024 * 1024
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_ABORT_ON_CLOSE = struct.pack("ii", 1, 0)


class Raw(web.StreamResponse):
    """Raw bytes, after which the connection is closed or reset."""

    def __init__(self, data: bytes, *, reset: bool = False) -> None:
        super().__init__()
        self._data = data
        self._reset = reset

    async def prepare(self, request: web.BaseRequest) -> abc.AbstractStreamWriter | None:
        """Send the bytes; raise ConnectionResetError, aiohttp's sign to send no more and close."""
        transport = request.transport
        if transport is not None:
            transport.write(self._data)
            if self._reset:
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_ON_CLOSE)
                transport.abort()
        raise ConnectionResetError("this answer ends its connection")


def success(body: Mapping[str, object]) -> web.StreamResponse:
    """Return 200 with the body."""
    return _whole(200, json.dumps(body).encode())


def refusal(
    status: int, *messages: str, retry_after_seconds: int | None = None
) -> web.StreamResponse:
    """Return the status with the documented body of errors, one entry per message."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    body = json.dumps({"errors": [{"message": message} for message in messages]})
    return _whole(status, body.encode(), headers=headers)


def bought(kind: str | None, job_id: str) -> web.StreamResponse:
    """Return the answer to an accepted job, under one of `faults.BOUGHT` or None."""
    return success({"job_id": job_id}) if kind in _WELL_ANSWERED else _BOUGHT[kind](job_id)


def turned_away(kind: str, key: object) -> web.StreamResponse:
    """Return the answer to a request that made no job, under one of `faults.TURNED_AWAY`."""
    status = faults.status_of(kind)
    if status is None:
        return _TURNED_AWAY[kind](key)
    if kind.startswith("proxy-"):
        return _page(status)
    named = kind.startswith("retry-after-") or faults.throttles(kind)
    return refusal(status, _phrase(status), retry_after_seconds=1 if named else None)


def cut(body: Mapping[str, object]) -> web.StreamResponse:
    """Return 200 with the body, whose Content-Length promises more."""
    whole = json.dumps(body).encode()
    return Raw(_head(200, {"Content-Length": str(len(whole) + 16)}) + whole)


def raw_job(job_id: str, *, share: float = 1.0, missing: int = 0) -> bytes:
    """Return a 200 answer with `job_id` as bytes. It holds the first `share` (0 to 1) of the JSON;
    Content-Length is `missing` bytes too large.
    """
    body = json.dumps({"job_id": job_id}).encode()
    return _head(200, {"Content-Length": str(len(body) + missing)}) + body[: int(len(body) * share)]


def _huge(job_id: str) -> web.StreamResponse:
    room = _HUGE_BYTES - len(json.dumps({"padding": "", "job_id": job_id}))
    return success({"padding": "x" * room, "job_id": job_id})


def _page(status: int) -> web.StreamResponse:
    title = f"{status} {_phrase(status)}"
    text = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return _whole(status, text.encode(), content_type="text/html")


def _whole(
    status: int, body: bytes, *, content_type: str = JSON, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    # A 1xx has no body, and aiohttp would keep the connection as if it were a final answer.
    if status < HTTPStatus.OK:
        return Raw(_head(status, headers or {}))
    return web.Response(
        status=status, reason=_phrase(status), body=body, content_type=content_type, headers=headers
    )


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_phrase(status)}", f"Content-Type: {JSON}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _phrase(status: int) -> str:
    return _PHRASES.get(status, "Unassigned")


_BOUGHT: Final[Mapping[str | None, Callable[[str], web.StreamResponse]]] = {
    "close-idle": lambda job_id: Raw(raw_job(job_id)),
    "cut": lambda job_id: Raw(raw_job(job_id, missing=16)),
    "garbage": lambda _: Raw(b"\x00\xff this is not HTTP\r\n\r\n"),
    "half": lambda job_id: Raw(raw_job(job_id, share=0.5)),
    "huge": _huge,
    "lost": lambda _: Raw(b"", reset=True),
    "lost-502": lambda _: _page(502),
    "lost-fin": lambda _: Raw(b""),
    "no-id": lambda _: success({}),
    "not-json": lambda _: _whole(200, b"accepted\n", content_type="text/plain"),
}
_WELL_ANSWERED: Final = {None, faults.SAME_ID, faults.STALL, faults.UNASKED}

_TURNED_AWAY: Final[Mapping[str, Callable[[object], web.StreamResponse]]] = {
    "echo-key": lambda key: refusal(400, f"Invalid value: api_key {key}"),
    "empty": lambda _: _whole(200, b""),
    "not-json": lambda _: _whole(200, b"accepted\n", content_type="text/plain"),
    "redirect": lambda _: _whole(307, b"", headers={"Location": MOVED}),
    "reset": lambda _: Raw(b"", reset=True),
    faults.RESET_EARLY: lambda _: Raw(b"", reset=True),
}
