"""Read CSV as rows: a header, then one record a row, of one or several lines."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.core.link import cleaned
from worker.core.redact import without_query
from worker.formats.addresses import DELIMITERS, is_address
from worker.formats.lines import ADDRESS, MOST_BYTES, FormatError, Line, Lines, Reject, Row, reject

_MOST_LINES = 1_000

# The csv module has one limit for the whole process, and its default is below that of a record.
csv.field_size_limit(MOST_BYTES)


class _Record(NamedTuple):
    lines: list[Line]
    cells: list[str]
    flaw: str = ""


def delimiter_of(sample: Sequence[str]) -> str:
    """Return the delimiter that most lines have as often as the first one, the header."""
    lines = re.sub(r'"[^"]*"?', "", "\n".join(sample)).split("\n")

    def fitness(delimiter: str) -> tuple[int, int, int]:
        first, *others = (line.count(delimiter) for line in lines)
        return others.count(first) if first else -1, first, sum(others)

    return max(DELIMITERS, key=fitness)


def header_of(record: _Record, delimiter: str) -> list[str]:
    """Return the column names. Raises FormatError."""
    if record.flaw:
        raise FormatError(
            f"The CSV header cannot be read ({record.flaw}): "
            "save the list as CSV in UTF-8, with the column names in the first line"
        )
    names = [cell.strip() for cell in record.cells]
    _must_name(names, delimiter, record.lines[0].number)
    repeated = [repr(name[:50]) for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise FormatError(
            f"The CSV header has more than one column {', '.join(repeated[:5])}: "
            "give each column a name of its own"
        )
    if not any(names):
        raise FormatError("The CSV header names no column: put the column names in the first line")
    return names


def _must_name(cells: Sequence[str], delimiter: str, number: int) -> None:
    addresses = [cell for cell in cells if ADDRESS.match(cleaned(cell)[0])]
    if addresses:
        names = ["url" if cell is addresses[0] else f"column{n}" for n, cell in enumerate(cells, 1)]
        header = delimiter.join(names).replace("\t", "\\t")
        first = delimiter.join(without_query(c) if c in addresses else c for c in cells)
        raise FormatError(
            f"There is no header. Put one in with sed -i '{number}i {header}' FILE, with media_id, "
            "title and so on for the other columns (with url alone, if each line is one address). "
            f"The first line is {first[:200]!r}"
        )


def csv_records(
    lines: Lines, header: list[str], delimiter: str, skipped: Callable[[Line], bool]
) -> Iterator[Row | Reject]:
    """Yield the records after the header, without rows of nothing."""
    for first in lines:
        if not skipped(first):
            record = record_of(first, lines, delimiter)
            if record.flaw or any(map(str.strip, record.cells)):
                yield _row(record, header, delimiter)


def _row(record: _Record, header: list[str], delimiter: str) -> Row | Reject:
    if record.flaw:
        return reject(record.lines, record.flaw)
    cells = record.cells
    text = record.lines[0].text.strip()
    if len(header) == 1 and (ADDRESS.match(text) or is_address(text)):  # without quotes
        cells = [text] if is_address(text) else re.split(f"[{DELIMITERS}]", text)
    while len(cells) > len(header) and not cells[-1].strip():
        cells.pop()
    if len(cells) > len(header):
        counts = f"the header has {len(header)} cells, this record {len(cells)}"
        way_out = f"; put a cell that holds {delimiter!r} in quotes"
        return reject(record.lines, counts + _reach(record.lines) + way_out)
    values: dict[str, object] = dict(zip(header, cells, strict=False))
    values.pop("", None)
    return Row(record.lines[0].number, values)


def record_of(first: Line, lines: Lines, delimiter: str) -> _Record:
    """Read the record that begins with ``first``; if it is not CSV, only that line is rejected."""
    taken = [first]
    text = first.text.rstrip("\r\n")
    if not (first.flaw or '"' in text or "\r" in text):  # then split() reads it as csv does
        return _Record(taken, text.split(delimiter))
    if first.size > MOST_BYTES:
        return _Record(taken, [], first.flaw)
    try:
        cells = next(csv.reader(_texts(first, lines, taken), delimiter=delimiter, strict=True))
    except csv.Error as error:
        lines.returned.extend(taken[1:])
        reason = str(error).partition(" - ")[0]  # advice to programmers follows the dash
        return _Record([first], [], first.flaw or f"not CSV: {reason}{_reach(taken)}")
    return _Record(taken, cells, next((line.flaw for line in taken if line.flaw), ""))


def _reach(lines: list[Line]) -> str:
    return f" (read as far as line {lines[-1].number})" if len(lines) > 1 else ""


def _texts(first: Line, lines: Lines, taken: list[Line]) -> Iterator[str]:
    """Yield the lines of one record while a quoted cell in it is open; add them to ``taken``."""
    yield first.text
    size = first.size
    # A line that was handed back was inside an open quote already. If its own quote stays open too,
    # reading ahead would only fail again.
    more: Iterable[Line] = () if lines.returned else lines
    for line in more:
        taken.append(line)
        size += line.size
        if size > MOST_BYTES or len(taken) > _MOST_LINES:
            break
        yield line.text
    raise csv.Error(f"a quoted cell is not closed within {_MOST_LINES:,} lines and 1 MiB")
