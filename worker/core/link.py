"""Clean a link as lists bring it, or name what is wrong with it. Knows no column."""

import re

from worker.core.redact import INVISIBLE
from worker.core.signed_link import is_common

_UNSEEN = f"{INVISIBLE}\t\n \xa0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000\ufe00-\ufe0f\ufffc"
"""Characters that take no room or leave it empty."""

_TOLD_APART = r"(?![\0\ud800-\udfff])"
"""A NUL and half a character have sentences of their own."""

_unseen = re.compile(f"{_TOLD_APART}[{_UNSEEN}]")
_around = re.compile(
    f"{_TOLD_APART}[{_UNSEEN}<>\"'`\xab\xb4\xbb\u2018-\u201f\u2039\u203a\u300c-\u300f\uff02\uff07]"
)
_ampersand = re.compile(r"(?i)(?:&(?:amp|#0*38|#x0*26);|\\u0026)(?:(?:amp|#0*38|#x0*26);)*")

_FAULTS = (
    (r"(?i)\A(?:https?:?/*){2}(?<=/)", "begins twice with https://; write it once"),
    (r"(?is)://.*[^/=?&#:.]https?://", "holds two links; give each a row of its own"),
    (r"\\", "holds a backslash; write / in its place, or take it out before a /"),
    (r"[<>\"]", 'holds a <, > or "; copy the link alone'),
    (" ", "holds a space or a control character; percent-encode it"),
)
"""Patterns of what no link holds, each with the sentence that says how to correct it."""


def cleaned(text: str) -> tuple[str, list[str]]:
    """Return the link in ``text``, and what was changed in it: characters taken off its ends, and
    an ampersand that HTML or JSON had escaped.
    """
    if is_common(text):
        return text, []
    start, end = 0, len(text)
    while start < end and _around.match(text, start):
        start += 1
    while start < end and _around.match(text, end - 1):
        end -= 1
    bare = text[start:end]
    link = _ampersand.sub("&", bare)
    notes = [f"{each} taken off" for each in sorted({*map(_point, text[:start] + text[end:])})]
    return link, notes if link == bare else [*notes, "&amp; or \\u0026 made &"]


def fault(link: str) -> str | None:
    """Return what makes a cleaned link none, with the way out; None if nothing does."""
    for pattern, sentence in _FAULTS:
        if re.search(pattern, link):
            return sentence
    unseen = _unseen.search(link)
    return unseen and f"holds {_point(unseen[0])} inside, which is not to be seen; take it out"


def _point(character: str) -> str:
    return f"U+{ord(character):04X}"
