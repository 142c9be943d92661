"""Decide which requests are answered, for whom, and with which headers. Knows no queue.

Nothing is changed but by a POST of a visitor who has signed in, from our own page or with a token.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Server": "valossa-ingest",
    # Not no-referrer: with it a browser names no Origin in a form's POST.
    "Referrer-Policy": "same-origin",
}

MOST_SESSIONS = 32
LONGEST_NAME = 40


@dataclass(slots=True, kw_only=True)
class Doors:
    """The ways to sign in: a token for scripts, single-use codes, and sessions by a cookie. All but
    the token end with the process. Browsers send cookies to every port, so its name has ours.
    """

    token: str | None
    hosts: AbstractSet[str]
    announce: Callable[[str], None]
    cookie: str = ""
    _address: str = ""
    _code: str = ""
    _sessions: dict[str, str] = field(default_factory=dict)

    def open(self, address: str) -> None:
        """Announce the page and a link to sign in with, which works once."""
        self._address, self._code = address, secrets.token_urlsafe()
        self.cookie = f"valossa-ingest-{urlsplit(address).port}"
        self.announce(f"{address}/ (to act on it, once: {address}/sign-in?code={self._code})")

    def sign_in(self, name: str, code: str, token: str) -> str | None:
        """Return the cookie of a new session; None if neither the code nor the token is right. A
        code that was used is replaced by a new one, which is announced.
        """
        by_code = _same(code, self._code)
        if not by_code and not (self.token and _same(token, self.token)):
            return None
        if by_code:
            self.open(self._address)
        cookie = secrets.token_urlsafe()
        self._sessions[cookie] = name[:LONGEST_NAME]
        while len(self._sessions) > MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return cookie

    def sign_out(self, cookies: Mapping[str, str]) -> None:
        """End a session."""
        self._sessions.pop(cookies.get(self.cookie, ""), None)

    def admit(
        self, method: str, headers: Mapping[str, str], cookies: Mapping[str, str]
    ) -> str | None:
        """Return the name of the visitor; None for one who may only read. Raises
        HTTPException.
        """
        # 1. A name that is not ours: a foreign page that has made its name point here.
        # 2. A token decides alone; a proxy's password says nothing, since browsers send it by
        # themselves. 3. Reading is free. 4. A form of another site, or of none.
        if name_in(headers.get("Host", "")) not in self.hosts:
            raise web.HTTPMisdirectedRequest(
                text="this name is not served here: add it to listen_hosts"
            )
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        by_token = scheme.lower() == "bearer"
        if by_token and not (self.token and _same(token.strip(), self.token)):
            raise web.HTTPUnauthorized(
                text="the token is wrong: send WORKER_PAGE_TOKEN, or none: reading needs none"
            )
        if method not in {"GET", "HEAD"} and not _is_own(headers, by_token=by_token):
            raise web.HTTPForbidden(
                text="this came from another site, or does not say from where: use the page's form"
            )
        return "token" if by_token else self._sessions.get(cookies.get(self.cookie, ""))


def _is_own(headers: Mapping[str, str], *, by_token: bool) -> bool:
    """Return True for a request of our own page. A script with a token need not say so."""
    if (site := headers.get("Sec-Fetch-Site")) is not None:
        return site in {"same-origin", "none"}
    if (origin := headers.get("Origin")) is not None:
        return urlsplit(origin).netloc.lower() == headers.get("Host", "").lower()
    return by_token


def name_in(host: str) -> str:
    """Return the name in a Host header, without its port; nothing for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def names_in(hosts: str) -> set[str]:
    """Return the names in a list with commas; each may be a whole address."""
    return {name_in(each.strip().rpartition("://")[2]) for each in hosts.split(",")} - {""}


def _same(given: str, known: str) -> bool:
    first, second = (each.encode("utf-8", "surrogateescape") for each in (given, known))
    return hmac.compare_digest(first, second)
