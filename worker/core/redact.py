"""Hide secrets in a URL, an error or a body (law 11). Knows no log and no database."""

import json
import re
from functools import lru_cache
from html import escape
from urllib.parse import quote, unquote_plus, urlsplit

TEXT_LIMIT = 2_000
"""Characters that stored text is cut at: an error page must not fill the database."""

SHORTEST_SECRET = 6
"""Characters from which on a value in a query is hidden; a shorter one is part of many words."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

_INVISIBLE = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Characters that command a terminal, turn the direction of writing, or take no room."""


def visible(text: str) -> str:
    """Return the text for a person: what would act on a terminal, or hide, is an escape."""
    return _INVISIBLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def readable(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced, as any file and terminal takes it."""
    return _UNSTORABLE.sub("\ufffd", text)


def clean(text: str) -> str:
    """Return the text as it may be stored: readable, and cut at ``TEXT_LIMIT``."""
    return readable(text)[:TEXT_LIMIT]


def blank(text: str, key: str) -> str:
    """Return ``text`` with the API key blanked, in every mixture of spellings. Libraries differ in
    the characters that they escape, and in upper or lower case.
    """
    return _pattern(key).sub("[key]", text) if key else text


@lru_cache(maxsize=1)
def _pattern(key: str) -> re.Pattern[str]:
    """Match every spelling of the key. Cached: compiling it takes longer than a request."""
    return re.compile("".join(map(_spelled, key)))


def _spelled(character: str) -> str:
    """Return a pattern of one character as it is, in a URL, in a form, in JSON or in HTML."""
    percent = "".join(f"%{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    forms = {percent, json.dumps(character)[1:-1], f"\\u{ord(character):04x}", escape(character)}
    forms |= {"/": {"\\/"}, " ": {"+"}}.get(character, set())
    escaped = "|".join(map(re.escape, sorted(forms - {character})))
    return f"(?:(?i:{escaped})|{re.escape(character)})"


def without_query(url: str) -> str:
    """Return a URL as logs may show it: no query, no fragment, no user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "[unreadable URL]"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def without_secrets(text: str, url: str) -> str:
    """Return ``text`` without the query of ``url``, the values in that query, and its password."""
    try:
        parts = urlsplit(url)
        query, password = parts.query, parts.password or ""
    except ValueError:
        return text
    if query:
        text = text.replace(f"?{query}", "?…")
    written = [query, password, *(part.split("=", 1)[-1] for part in query.split("&"))]
    values = {*written, *map(unquote_plus, written)}
    values |= {quote(value, safe, errors="surrogatepass") for value in values for safe in ("/", "")}
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, "…") if len(value) >= SHORTEST_SECRET else text
    return text
