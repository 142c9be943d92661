"""Read a moment as people write it: a date, or how long ago. Knows no clock."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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
    """Return a moment in UTC, also if it names no offset, or the ``Ago`` of ``2h`` or ``today``.
    Raises ValueError with the remedy.
    """
    if ago := re.fullmatch(r"([0-9]{1,5})([mhd])", text):  # 99999d is still a date after year 1
        return Ago(int(ago[1]) * _UNITS[ago[2]])
    if text in _DAYS:
        return _DAYS[text]
    try:
        named = datetime.fromisoformat(text)
        return (named if named.tzinfo else named.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no moment; write 2026-01-31 or '2026-01-31 08:00' (UTC), today,"
            " yesterday, or how long ago, such as 90m, 2h, 3d"
        ) from None
