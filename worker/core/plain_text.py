"""Write values as people and programs read them. Knows no terminal and no page."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from worker.core.redact import clean, visible


def text(value: object) -> str:
    """Return a value as one readable line; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, timedelta):
        return _span(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{n} {text(name).replace('_', ' ')}" for name, n in value.items())
    return one_line(str(value))


def _span(value: timedelta) -> str:
    minutes, seconds = divmod(round(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), 3)
    shown = [f"{number} {unit}" for number, unit in parts[first : first + 2] if number]
    return " ".join(shown) or "0 s"


def one_line(text: str) -> str:
    """Return text as one line that no character in it can break or command."""
    return visible(" ".join(clean(text).split()))


def for_json(value: object) -> object:
    """Return a value that JSON lacks: a time as ISO 8601 in UTC, a duration in seconds."""
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 1)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value)
