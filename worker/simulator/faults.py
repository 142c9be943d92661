"""Name the kinds of trouble of a new_job request, and choose the kind of each request. Pure."""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from random import Random
from types import MappingProxyType
from typing import Final

RESET_EARLY: Final = "reset-early"
SAME_ID: Final = "same-id"
STALL: Final = "stall"
UNASKED: Final = "unasked"

BOUGHT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "close-idle": "accepted and answered; then the kept-alive connection is closed",
        "cut": "accepted; the whole JSON is sent, but Content-Length promises more; closed",
        "garbage": "accepted; the answer is not HTTP; closed",
        "half": "accepted; the head and half of the JSON are sent; closed",
        "huge": "accepted; 200 with 1 MiB of JSON whose job_id comes last",
        "lost": "accepted; the connection is reset before the answer",
        "lost-502": "accepted; then a proxy's 502 page",
        "lost-fin": "accepted; the connection is closed in good order without an answer",
        "no-id": "accepted; 200 with {}",
        "not-json": "accepted; 200 with plain text",
        SAME_ID: "accepted; the answer names the job accepted before, if there is one",
        STALL: "accepted; silent until released",
        UNASKED: "accepted and answered; then another 200, with a made-up job_id, unasked",
    }
)
"""Kinds after which the job exists."""

TURNED_AWAY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "STATUS": "a number from 100 to 599: that status with the documented error body; "
        "429 names Retry-After: 1",
        "echo-key": "400 whose message repeats the api_key",
        "proxy-STATUS": "that status with a proxy's HTML page",
        "redirect": "307 to another path of this server",
        "reset": "the request is read whole, then the connection is reset",
        RESET_EARLY: "the connection is reset before the body is read",
        "retry-after-STATUS": "that status with the documented error body and Retry-After: 1",
    }
)
"""Kinds after which there is no job. STATUS stands for three digits."""

KINDS: Final[Mapping[str, str]] = MappingProxyType(dict(sorted({**BOUGHT, **TURNED_AWAY}.items())))
"""Every kind of trouble with its meaning in one line, for help texts."""

_STATUS = re.compile(r"(?:proxy-|retry-after-)?([1-5][0-9][0-9])")


def status_of(kind: str) -> int | None:
    """Return the HTTP status in `429`, `proxy-429` or `retry-after-429`; None for other kinds."""
    match = _STATUS.fullmatch(kind)
    return int(match[1]) if match else None


def throttles(kind: str | None) -> bool:
    """Return True if the kind answers 429."""
    return kind is not None and status_of(kind) == HTTPStatus.TOO_MANY_REQUESTS


def check_kind(kind: str) -> None:
    """Raise ValueError, with the way out, unless `kind` is a kind of trouble."""
    if status_of(kind) is None and (kind not in KINDS or "STATUS" in kind):
        raise no_such(kind, "trouble", KINDS)


def no_such(kind: str, of: str, kinds: Collection[str]) -> ValueError:
    """Return the error about an unknown kind, with the nearest known one."""
    near = difflib.get_close_matches(kind, kinds, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"{kind!r} is no kind of {of}; {hint}take one of: {', '.join(kinds)}")


def check_share(share: float) -> None:
    """Raise ValueError unless `share` lies within 0 and 1."""
    if not 0 <= share <= 1:
        raise ValueError(f"the share {share!r} is outside 0 to 1; 0.05 means one in twenty")


def parse_failure(
    text: str, check: Callable[[str], None] | None = None, example: str = "lost"
) -> tuple[str, float]:
    """Read `KIND=SHARE`, such as `lost=0.05`; raise ValueError naming the value and the way out.
    `check` knows the kinds; by default those of `KINDS`.
    """
    kind, _, number = text.partition("=")
    try:
        share = float(number)
    except ValueError:
        raise ValueError(f"{text!r} is not KIND=SHARE; write for example {example}=0.05") from None
    try:
        (check or check_kind)(kind)
        check_share(share)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None
    return kind, share


def kind_of(
    number: int, *, script: Mapping[int, str], failures: Mapping[str, float], seed: int
) -> str | None:
    """Return the kind of trouble of the `number`-th request, or None for none. The script (number
    -> kind) wins over the dice; `failures` holds kind -> share (0 to 1). The dice of a request
    depend on seed and number alone.
    """
    if number in script:
        return script[number]
    if not failures:
        return None
    return pick(failures, Random(f"{seed}/{number}").random())


def pick(shares: Mapping[str, float], rolled: float) -> str | None:
    """Return the kind into whose share the number falls, None for none."""
    for kind, share in shares.items():
        if rolled < share:
            return kind
        rolled -= share
    return None
