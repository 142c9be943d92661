"""How results look: tables for terminals, plain lines elsewhere, JSON where it was asked for."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.cli.exits import one_line


def document(value: object) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, default=_plain, indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Rows on stdout: a table on a terminal, tab-separated lines with a head elsewhere."""
    if not sys.stdout.isatty():
        print("\t".join(columns))
        for row in rows:
            print("\t".join(text(cell) for cell in row))
        return

    drawn = Table(*columns, title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for row in rows:
        drawn.add_row(*(Text(text(cell)) for cell in row))
    Console().print(drawn)


def pairs(values: Mapping[str, object]) -> None:
    """Names and values, one a line."""
    width = max(map(len, values), default=0)
    for name, value in values.items():
        print(f"{name:<{width}}  {text(value) or '-'}")


def text(value: object) -> str:
    """A value as a cell: one line, readable, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return one_line(str(value))


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


def _plain(value: object) -> str:
    return value.isoformat(" ") if isinstance(value, datetime) else str(value)
