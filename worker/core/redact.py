"""What may be shown of a URL, an error or a body (law 11). Knows no log and no database."""

import json
import re
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

TEXT_LIMIT = 2_000
"""Characters that stored text is cut at (design.md, section 4)."""

SHORTEST_SECRET = 6
"""Characters from which on a value in a query is taken for something to hide."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def clean(text: str) -> str:
    """Text as it may be stored and printed: NUL and lone surrogates replaced, cut at the limit."""
    return _UNSTORABLE.sub("\ufffd", text)[:TEXT_LIMIT]


def blank(text: str, key: str) -> str:
    """``text`` without the API key, in the spellings that a server or a library echoes it in."""
    spellings = {key, quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1]} - {""}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, "[key]")
    return text


def without_query(url: str) -> str:
    """A URL as logs may show it: no query, no fragment, no user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "[unreadable URL]"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def without_secrets(text: str, url: str) -> str:
    """``text``, which may quote ``url``, without its query and the values in it."""
    try:
        query = urlsplit(url).query
    except ValueError:
        return text
    values = [value for _, value in parse_qsl(query) if len(value) >= SHORTEST_SECRET]
    for part in sorted({query, *values, *map(quote, values)} - {""}, key=len, reverse=True):
        text = text.replace(part, "…")
    return text
