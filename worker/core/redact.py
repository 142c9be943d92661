"""Hide secrets in a URL, an error or a body (law 11). Knows no log and no database."""

import json
import re
from functools import lru_cache
from html import unescape
from urllib.parse import quote, unquote, unquote_plus, urlsplit

TEXT_LIMIT = 2_000
"""Characters that stored text is cut at: an error page must not fill the database."""

SHORTEST_SECRET = 6
"""Characters from which on a value in a query is hidden; a shorter one is part of many words."""

PART = 8
"""Characters in a row of the key that are hidden wherever they stand."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UNIT = r"(?:%[0-9a-fA-F]{2})+|(?:\\u[0-9a-fA-F]{4})+|\\[\"\\/nrtbf]|&#?\w{1,9};|\x1b\[[\d;]*\w|."
_UNITS = [re.compile(units, re.DOTALL) for units in (_UNIT, f"<[^<>]*>|{_UNIT}")]
"""Characters as they may be escaped; the second takes a tag for a separator."""

_AS_WRITTEN = re.compile(r"[^%\\&<\x1b]*")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")

_QUERY = re.compile(
    r"(?:(?<![\w.%~-])[\w.%~-]{1,64}=[^\s&?\"'<>]{0,512})?(?:[?&#]|%3f|%26|%23|\\u003f|\\u0026)"
    r"(?:amp;)?[\w.%~+\[\]-]{1,64}(?:=|%3d|\\u003d)[^\s\"'<>]*|(?<=\S)\?(?=[\w%])[^\s\"'<>]*"
    r"|\b(?:x-(?:amz|goog|ms|oss)-[\w-]{1,64}|\w{0,64}(?:signature|token|hmac)|sig|policy)"
    r"=[^\s&\"'<>]+|(?<=://)[^\s/@\"'<>]{1,512}@",
    re.IGNORECASE,
)
"""The text of a query, with a name or a sign that shows it for one, and user and password."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

INVISIBLE = (
    "\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff"
)
"""Characters that command a terminal, turn the direction of writing, or take no room."""

_invisible = re.compile(f"[{INVISIBLE}]")


def visible(text: str) -> str:
    """Return the text for a person: what would act on a terminal, or hide, is an escape."""
    return _invisible.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def readable(text: str) -> str:
    """Return the text with NUL and lone surrogates replaced, as any file and terminal takes it."""
    return _UNSTORABLE.sub("\ufffd", text)


def clean(text: str) -> str:
    """Return the text as it may be stored: readable, and cut at ``TEXT_LIMIT``."""
    return readable(text)[:TEXT_LIMIT]


def presentable(text: str, key: str) -> str:
    """Return a text of the API as it may be stored and shown: no key, no query of any URL."""
    shown = blank(text[: 4 * TEXT_LIMIT], key)  # a longer one takes long to search
    return clean(_QUERY.sub(lambda found: "?…" if found[0][0] == "?" else "…", shown))


@lru_cache(maxsize=256)
def blank(text: str, key: str) -> str:
    """Return ``text`` with the API key blanked, in every mixture of spellings, and every part of it
    of ``PART`` characters, whatever case and separators. A UUID may hold a part by chance.
    """
    if not key or (_UUID.fullmatch(text) and text.lower() != key.lower()):
        return text
    if _AS_WRITTEN.fullmatch(text):  # every character stands for itself
        for first, last in reversed(_spans(text, key)):
            text = f"{text[:first]}[key]{text[last + 1 :]}"
        return text
    for units in _UNITS if "<" in text else _UNITS[:1]:
        found = [(unit, sign) for unit in units.finditer(text) for sign in _signs(unit[0])]
        for first, last in reversed(_spans("".join(sign for _, sign in found), key)):
            text = f"{text[: found[first][0].start()]}[key]{text[found[last][0].end() :]}"
    return _blank_in_escapes(text, key).replace(key, "[key]")


def _blank_in_escapes(text: str, key: str) -> str:
    """Blank the key where a sign before it makes an escape of its beginning."""
    for unit in reversed(list(_UNITS[0].finditer(text))):
        for first in range(unit.start() + 1, unit.end()):
            read, last = "", first
            for each in _UNITS[0].finditer(text, first):
                if len(read) >= len(key) or not key.startswith(read):
                    break
                read, last = read + _signs(each[0]), each.end()
            if read == key:
                text = f"{text[:first]}[key]{text[last:]}"
                break
    return text


@lru_cache(maxsize=4096)
def _signs(unit: str) -> str:
    """Return the characters that a unit stands for; none for a tag or a terminal's sequence."""
    if len(unit) > 1 and unit[0] in "<\x1b":
        return ""
    if len(unit) > 1 and unit[0] == "\\":
        return str(json.loads(f'"{unit}"'))
    return unescape(unquote(unit))


def _spans(text: str, key: str) -> list[list[int]]:
    """Return the first and the last place of the key and of each part of it in plain text."""
    hidden = [[found.start(), found.end() - 1] for found in _whole(key).finditer(text)]
    letters = _SEPARATORS.sub("", text).lower()
    if parts := list(_parts(key).finditer(letters)):
        places = [place for place, sign in enumerate(text) if sign.isascii() and sign.isalnum()]
        hidden += [[places[found.start()], places[found.end(1) - 1]] for found in parts]
    spans: list[list[int]] = []
    for first, last in sorted(hidden):
        if not spans or first > spans[-1][1] + 1:
            spans.append([first, last])
        spans[-1][1] = max(spans[-1][1], last)
    return spans


@lru_cache(maxsize=1)
def _whole(key: str) -> re.Pattern[str]:
    """Match the key as it is written, and as it reads where its own signs look like escapes."""
    read = "".join(_signs(unit[0]) for unit in _UNITS[0].finditer(key))
    return re.compile(f"{re.escape(key)}|{re.escape(read)}")


@lru_cache(maxsize=1)
def _parts(key: str) -> re.Pattern[str]:
    """Match every part of the key by its letters and digits, at each place of a text."""
    letters = _SEPARATORS.sub("", key)
    windows = (
        text[at : at + PART] for text in (key, letters) for at in range(len(text) - PART + 1)
    )
    parts = {_SEPARATORS.sub("", window).lower() for window in windows}
    long = sorted((part for part in parts if len(part) >= SHORTEST_SECRET), key=len, reverse=True)
    return re.compile(f"(?=({'|'.join(long) or '(?!)'}))")


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
