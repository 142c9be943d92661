"""Parse the values of flags: numbers, moments, ids. Knows no clock: ``2h`` becomes an ``Ago``.

Every parser raises ArgumentTypeError with the remedy.
"""

import argparse
import codecs
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from worker.core import moments
from worker.core.moments import Ago

PORTS = 65_536
_DIGITS = 18  # at most: they fit 63 bits


def moment(text: str) -> datetime | Ago:
    """Return a moment in UTC, or the ``Ago`` of ``2h`` or ``today``."""
    try:
        return moments.moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> float:
    """Return a finite number of seconds."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return number


def positive(text: str) -> int:
    """Return a whole number from 1 on that fits 63 bits."""
    return _whole(text, range(1, 10**_DIGITS), "number from 1 on")


def job_id(text: str) -> str:
    """Return a job id without the blanks that copying adds."""
    copied = text.strip()
    if copied and copied.isprintable():
        return copied
    raise argparse.ArgumentTypeError(f"{text!r} is no job id; copy it again")


def file(text: str) -> Path:
    """Return the path of a file; it need not be there."""
    if Path(text).name:
        return Path(text)
    raise argparse.ArgumentTypeError(f"{text!r} names no file: write its path and its name")


def encoding(text: str) -> str:
    """Return the common name of an encoding of text."""
    with suppress(LookupError, ValueError):
        encoded = "url".encode(text)  # fails for a codec of bytes, whose decoder may assert
        codecs.getincrementaldecoder(text)("replace").decode(encoded)
        return codecs.lookup(text).name
    raise argparse.ArgumentTypeError(f"{text!r} is no encoding; try cp1252, latin-1 or utf-16")


def port(text: str) -> int:
    """Return a TCP port; 0 means any free one."""
    return _whole(text, range(PORTS), f"port; write a number below {PORTS}")


def _whole(text: str, allowed: range, meaning: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) in allowed:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no {meaning}")
