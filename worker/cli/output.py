"""Print results: tables for terminals, plain lines elsewhere, JSON documents for programs."""

import io
import json
import os
import shutil
import sys
import textwrap
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from itertools import accumulate, zip_longest
from types import SimpleNamespace
from typing import TextIO, cast

from worker.core import plain_text
from worker.core.redact import visible

Rows = Iterable[Sequence[object]]

text = plain_text.text
"""A value as one readable line."""

_NARROWEST = 40
"""Columns of a terminal below which nothing is wrapped any narrower."""

_USUAL = 80
"""Columns of a terminal that does not say its own."""


def document(value: object, file: TextIO | None = None, indent: int | None = 2) -> None:
    """Print one JSON document: times as ISO 8601 in UTC, durations in seconds."""
    print(json.dumps(value, default=plain_text.for_json, indent=indent), file=file)


def array(values: Iterable[object]) -> None:
    """Print a JSON document of many values while they come, one a line."""
    before = "["
    for value in values:
        print(before, json.dumps(value, default=plain_text.for_json), sep="\n", end="")
        before = ","
    print("\n]" if before == "," else "[]")


def objects(columns: Sequence[str], rows: Rows) -> list[dict[str, object]]:
    """Return the rows of a table as objects of a JSON document."""
    return [keyed(dict(zip(columns, row, strict=True))) for row in rows]


def keyed(values: Mapping[str, object]) -> dict[str, object]:
    """Return values under keys for programs: underscores in place of spaces and hyphens."""
    return {name.replace(" ", "_").replace("-", "_"): value for name, value in values.items()}


def line(words: object = "", file: TextIO | None = None) -> None:
    """Print text for a person, on stdout or on ``file``."""
    print(visible(str(words)), file=file)


def results() -> TextIO:
    """Return stdout for a list of results: as it is for a program, readable on a terminal."""
    readable = SimpleNamespace(write=lambda part: sys.stdout.write(visible(part)))
    return cast("TextIO", readable) if on_terminal() else sys.stdout


def on_terminal() -> bool:
    """Return True if a person reads stdout."""
    return sys.stdout.isatty()


@contextmanager
def anew() -> Iterator[None]:
    """Draw on a terminal, from its top, what is printed inside, and cut what is below its end;
    elsewhere begin a block by an empty line.
    """
    if not on_terminal() or os.environ.get("TERM") == "dumb":
        print()
        yield
    else:
        with redirect_stdout(_Drawn()) as drawn:
            yield
        print("\033[H\033[2J", *_cut(drawn.getvalue().splitlines(keepends=True)), sep="", end="")
    sys.stdout.flush()


class _Drawn(io.StringIO):
    def isatty(self) -> bool:
        """Return True: a terminal gets it."""
        return True


def _cut(lines: Sequence[str]) -> Sequence[str]:
    size = shutil.get_terminal_size()
    room = max(2, size.lines - 1)  # the cursor stands below
    ends = list(accumulate(max(1, -(-_cells(each) // size.columns)) for each in lines))
    return lines if not ends or ends[-1] <= room else [*lines[: bisect_left(ends, room)], "…\n"]


def _cells(line: str) -> int:
    """Return the columns that a line takes: two for a sign of East Asian scripts."""
    shown = (sign for sign in line.rstrip("\n") if not unicodedata.combining(sign))
    return sum(1 + (unicodedata.east_asian_width(sign) in {"W", "F"}) for sign in shown)


def table(columns: Sequence[str], rows: Rows, title: str = "", whole: Sequence[str] = ()) -> None:
    """Print rows: a table on a terminal, tab-separated lines with a head elsewhere. A terminal's
    long cells end in an ellipsis, but not those of the first column and the columns ``whole``. One
    that is too narrow for these gets a block a row.
    """
    if not on_terminal():
        line("\t".join(columns))
        for row in rows:
            line("\t".join(text(cell) for cell in row))
        return
    from worker.cli import terminal  # noqa: PLC0415 - rich is slow to load, and for terminals only

    shown = [[text(cell) for cell in row] for row in rows]
    if not terminal.table(columns, shown, title, whole):
        paragraph(title)
        for row in shown:
            line()
            pairs({name: cell for name, cell in zip(columns, row, strict=True) if cell})
        line()


def paragraph(sentence: str, indent: str = "", file: TextIO | None = None) -> None:
    """Print a sentence, wrapped at the width of a terminal; one line elsewhere."""
    file = file or sys.stdout
    for part in _lines(sentence, _columns(file) - len(indent), file, hang="  "):
        line(indent + part, file)


def pairs(values: Mapping[str, object]) -> None:
    """Print names and values, one a line. A terminal's long value hangs beside its name, and a long
    name takes half of the width.
    """
    file, columns = sys.stdout, _columns(sys.stdout)
    most = columns // 2 - 2
    names = {name: _lines(name, most, file, hang="  ", breaks=True) for name in values}
    width = max((len(part) for parts in names.values() for part in parts), default=0) + 2
    for name, value in values.items():
        parts = _lines(text(value) or "-", columns - width, file)
        for left, right in zip_longest(names[name], parts, fillvalue=""):
            line(f"{left:<{width}}{right}".rstrip())


def _columns(file: TextIO) -> int:
    """Return the width of the terminal, of which stdout may be no part."""
    known = shutil.get_terminal_size((0, 0)).columns
    with suppress(OSError):
        known = known or os.get_terminal_size(file.fileno()).columns
    return max(_NARROWEST, known or _USUAL)


def _lines(
    sentence: str, room: int, file: TextIO, *, hang: str = "", breaks: bool = False
) -> list[str]:
    """Wrap text in ``room`` columns of a terminal; an address stays whole, unless it ``breaks``."""
    sentence = visible(sentence)
    if not file.isatty():
        return [sentence]
    return textwrap.wrap(
        sentence,
        room,
        subsequent_indent=hang,
        break_on_hyphens=False,
        break_long_words=breaks,
    )


def ask(question: str) -> bool:
    """Ask at the terminal and return True for yes; False without a terminal. Never call it in an
    event loop: it waits, and Ctrl-C must end it.
    """
    with suppress(EOFError):
        if sys.stdin.isatty():
            return input(f"{visible(question)} [y/N] ").strip().lower() in {"y", "yes"}
    return False
