"""Parse the values of flags: numbers, moments, ids. Knows no clock: ``2h`` becomes an ``Ago``.

Every parser raises ArgumentTypeError with the remedy.
"""

import argparse
import codecs
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PORTS = 65_536
_DIGITS = 18  # at most: they fit 63 bits
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Ago:
    """A time span before now, or before the last midnight (UTC) if ``from_midnight``."""

    span: timedelta
    from_midnight: bool = False

    def at(self, now: datetime) -> datetime:
        """Return the moment, counted back from ``now`` (UTC)."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight if self.from_midnight else now) - self.span


_DAYS = {"today": Ago(timedelta(), True), "yesterday": Ago(timedelta(days=1), True)}  # noqa: FBT003


def moment(text: str) -> datetime | Ago:
    """Return a moment in UTC, also if it names no offset, or the ``Ago`` of ``2h`` or ``today``."""
    if ago := re.fullmatch(r"([0-9]{1,5})([mhd])", text):  # 99999d is still a date after year 1
        return Ago(int(ago[1]) * _UNITS[ago[2]])
    if text in _DAYS:
        return _DAYS[text]
    try:
        named = datetime.fromisoformat(text)
        return (named if named.tzinfo else named.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment; write 2026-01-31 or '2026-01-31 08:00' (UTC), today,"
            " yesterday, or how long ago, such as 90m, 2h, 3d"
        ) from None


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


def encoding(text: str) -> str:
    """Return the common name of an encoding of text."""
    with suppress(LookupError, ValueError):
        codecs.getincrementaldecoder(text)("replace").decode("url".encode(text))
        return codecs.lookup(text).name
    raise argparse.ArgumentTypeError(f"{text!r} is no encoding; try cp1252, latin-1 or utf-16")


def port(text: str) -> int:
    """Return a TCP port; 0 means any free one."""
    return _whole(text, range(PORTS), f"port; write a number below {PORTS}")


def _whole(text: str, allowed: range, meaning: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) in allowed:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no {meaning}")
