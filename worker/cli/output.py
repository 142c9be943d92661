"""How results look: tables for terminals, plain lines elsewhere, JSON where it was asked for."""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from worker.cli.exits import one_line

_NARROWEST = 40
"""Columns of a terminal below which nothing is wrapped any narrower."""


def document(value: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, default=_plain, indent=2))


def on_terminal() -> bool:
    """Whether a person reads what is printed."""
    return sys.stdout.isatty()


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
    whole: Sequence[str] = (),
) -> None:
    """Rows on stdout: a table on a terminal, a line a row, where long cells end in an ellipsis but
    for those of the columns ``whole``; tab-separated lines with a head elsewhere.
    """
    if not on_terminal():
        print("\t".join(columns))
        for row in rows:
            print("\t".join(text(cell) for cell in row))
        return
    from worker.cli import terminal  # noqa: PLC0415 - rich is slow to load, and for terminals only

    terminal.table(columns, ([text(cell) for cell in row] for row in rows), title, whole)


def paragraph(told: str, indent: str = "") -> None:
    """A sentence on stdout: as wide as the terminal and no wider, one line elsewhere."""
    for place, line in enumerate(_lines(told, len(indent) + 2)):
        print(f"{indent}{'  ' if place else ''}{line}")


def pairs(values: Mapping[str, object]) -> None:
    """Names and values, one a line; on a terminal a long value hangs beside its name."""
    width = max(map(len, values), default=0) + 2
    for name, value in values.items():
        for place, line in enumerate(_lines(text(value) or "-", width)):
            print(f"{'' if place else name:<{width}}{line}")


def _lines(told: str, taken: int) -> list[str]:
    """Text as it fits beside ``taken`` columns of a terminal; an address stays whole."""
    if not on_terminal():
        return [told]
    room = max(_NARROWEST, width()) - taken
    return textwrap.wrap(told, room, break_on_hyphens=False, break_long_words=False)


def width() -> int:
    """How many columns the terminal has."""
    return shutil.get_terminal_size().columns


def text(value: object) -> str:
    """A value as a cell: one line, readable, nothing for None."""
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
    """How long, in the two largest units."""
    minutes, seconds = divmod(round(value.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or (
        "0 s"
    )


def ask(question: str) -> bool:
    """A yes or a no from the terminal; no where there is none. Not for an event loop: it waits,
    and Ctrl-C must end it.
    """
    if not sys.stdin.isatty():
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return round(value.total_seconds(), 1)
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)
