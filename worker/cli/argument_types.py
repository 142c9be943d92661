"""What may be typed after a flag: numbers, moments. Knows no clock: ``2h`` waits to be told one.

Each raises ArgumentTypeError with the way out.
"""

import argparse
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

PORTS = 65_536
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Ago:
    """So long before now; before the last midnight (UTC) where ``from_midnight``."""

    span: timedelta
    from_midnight: bool = False

    def at(self, now: datetime) -> datetime:
        """The moment."""
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight if self.from_midnight else now) - self.span


_DAYS = {"today": Ago(timedelta(), True), "yesterday": Ago(timedelta(days=1), True)}  # noqa: FBT003


def moment(text: str) -> datetime | Ago:
    """A moment with its offset, or in UTC where it names none; or how long ago, as ``2h``: with
    five digits at most some centuries, so that a calendar has it.
    """
    ago = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    if ago:
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
    """A time that ends."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 or more")
    return number


def positive(text: str) -> int:
    """A number from 1 on that fits 63 bits."""
    if is_number(text) and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")


def job_id(text: str) -> str:
    """A job's id as the API gives it, without the blanks that come along with a copy."""
    copied = text.strip()
    if copied and copied.isprintable():
        return copied
    raise argparse.ArgumentTypeError(f"{text!r} is no job id; copy it again")


def port(text: str) -> int:
    """A TCP port, 0 for any."""
    if is_number(text) and int(text) < PORTS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number below {PORTS}")


def is_number(text: str) -> bool:
    """Whether it is a whole number from 0 on that fits 63 bits."""
    return text.isascii() and text.isdecimal() and len(text) < 19  # noqa: PLR2004 - fits 63 bits
