"""Take answers of any size off the network, decompressed, by aiohttp's public client."""

import zlib
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import hdrs

from worker.api.transport import Transport
from worker.core.results import ENDINGS

PIECE = 64 * 1024
"""Bytes that are decompressed at once: an answer may blow up to a thousand times its size."""

_ZIPS = {"gzip", "x-gzip", "deflate"}


def session(transport: Transport) -> aiohttp.ClientSession:
    """Return a client of one answer to the address of ``transport``: its time-out is of the wait
    for the next bytes, not of the whole.
    """
    is_tls = transport.url.startswith("https:")
    patience = transport.connect_timeout_seconds
    return aiohttp.ClientSession(
        f"{transport.url.rstrip('/')}/",
        auto_decompress=False,  # it would hold up the loop
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={hdrs.USER_AGENT: transport.agent, hdrs.ACCEPT_ENCODING: "gzip"},
        proxy=transport.proxy if is_tls else None,
        timeout=aiohttp.ClientTimeout(
            sock_connect=patience, connect=patience, sock_read=transport.timeout_seconds
        ),
    )


def fault(headers: Mapping[str, str], kind: str) -> str | None:
    """Return why a result's bytes could not be read, or its end not be seen; None if they can."""
    is_text = not ENDINGS[kind].endswith("gz")
    coding = headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if coding not in {"", "identity", *_ZIPS}:
        return f"its Content-Encoding is {coding}, which was not asked for"
    if is_text and "html" in headers.get(hdrs.CONTENT_TYPE, ""):
        return "it is a page, and no text"
    shows_end = coding in _ZIPS or {hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING} & {*headers}
    return "it says neither its length nor its end" if is_text and not shows_end else None


class Inflater:
    """Decompress an answer as its header says, piece by piece."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        is_zip = headers.get(hdrs.CONTENT_ENCODING, "").strip().lower() in _ZIPS
        self._zip = zlib.decompressobj(zlib.MAX_WBITS | 32) if is_zip else None

    def pass_on(self, part: bytes, take: Callable[[bytes], object]) -> None:
        """Call ``take`` with what the next bytes say. Raises zlib.error."""
        if self._zip is None:
            take(part)
            return
        while piece := self._zip.decompress(part, PIECE):
            take(piece)
            part = self._zip.unconsumed_tail
        if self._zip.unused_data:
            raise zlib.error

    @property
    def is_cut(self) -> bool:
        """Return True if compressed bytes are missing."""
        return self._zip is not None and not self._zip.eof
