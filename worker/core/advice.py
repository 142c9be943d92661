"""Advise on a failure or a doubt in a sentence, and group messages of one kind. Knows no table."""

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

from worker.core.model import State
from worker.core.request import BOUGHT_ALREADY

GIVEN_UP = "given up by a person while in doubt: perhaps bought"
"""The error of a doubt that a person has given up."""

_QUOTED = re.compile(
    r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`|[\xab\u201c\u2018][^\xbb\u201d\u2019]*[\xbb\u201d\u2019]"
)
_NAMED = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_PIECE = r"(?<!HTTP )(?<![\w+~-])(?!UTF-8\b|cp1252\b)[\w+~-]*\d[\w+~-]*"
_DIFFERS = re.compile(
    r"(?<=which has job )[^;]+|\w+://[^\s\"'<>]+|(?<![\w-])[0-9a-fA-F]{8,}(?![\w-])"
    r"|\b(?:req|ref|trace|evt|txn)[_-]\w+"
    r"|(?i:\b(?:(?:request|req|session|event|operation|transaction|span)[ _-]?(?:id|uuid|number)"
    r"|(?:trace|correlation|incident|reference|ref|ray)(?:[ _-]?(?:id|number))?)"
    r"\W{0,2}[:=#(\[]\W*[\w+/=.~-]+)"
    rf"|(?:{_NAMED}[ ,]+)*{_PIECE}(?:[.:/, ]+(?:{_PIECE}|{_NAMED}\b|[AP]M\b|GMT\b|UTC\b))*"
)
"""Jobs, addresses, hexadecimal numbers, labelled identifiers, then numbers, times and tokens with
digits; the status of an answer stays, and an encoding.
"""

_BY_STATUS = {
    400: "correct the values that the message names (import --update brings them in), then retry",
    413: "shorten the description, then retry",
    451: "the API may not take this video: cancel it",
}


def remedy(state: State, status: int | None, message: str, *, had_job: bool = False) -> str:
    """Return the way out for a video in this state with this last result. ``had_job``: it failed
    after it was to be bought again.
    """
    if state is State.IN_DOUBT:
        return (
            "valossa-ingest reconcile asks the API for it; what that leaves, look up in the "
            "Valossa Portal, then: resolve ID --job-id X, or --give-up, or, if you are sure that "
            "there is no job, retry ID --may-buy-twice"
        )
    if message == GIVEN_UP:
        return "nothing; cancel ID puts it away, retry ID --may-buy-twice sends it again"
    if message.startswith(BOUGHT_ALREADY):
        return "nothing, if once is enough; retry ID --may-buy-twice buys it a second time"
    if had_job:
        return "mend the cause, then retry ID --may-buy-twice, since it had a job before"
    if "signed link" in message:
        return "sign the links anew and bring them in with import --update"
    if status in {401, 402, 403}:
        return "ask Valossa why this video is refused while others are not, then retry"
    if status is not None and status >= 500:  # noqa: PLR2004 - an HTTP status is its own name
        return "the API could not take it for long: retry"
    if status is None:
        return "correct what the message names (import --update brings it in), then retry"
    return _BY_STATUS.get(status, _BY_STATUS[400])


def kind(message: str, own: Iterable[object] = ()) -> str:
    """Return the message with all blanked that differs from row to row: the row's ``own`` values,
    addresses, identifiers, times, numbers, and quoted values in a message that is no JSON.
    """
    texts = {part for value in own if isinstance(value, str) for part in (value, *_parts(value))}
    for value in sorted(filter(message.__contains__, texts - {""}), key=len, reverse=True):
        message = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", message)
    return _blanked(message)


@lru_cache(maxsize=1024)
def _blanked(message: str) -> str:
    return _DIFFERS.sub("…", message if '{"' in message else _QUOTED.sub("…", message))


def _parts(value: str) -> tuple[str, ...]:
    """Return what a message may quote of an address, percent-decoded too."""
    host, slash, path = value.partition("://")[2].partition("?")[0].partition("/")
    parts = host, slash + path, path.rpartition("/")[2]
    return *parts, *map(unquote, parts)
