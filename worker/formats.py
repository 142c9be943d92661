"""CSV and JSON Lines as rows. Knows no column by name, no file name and no database."""

import codecs
import csv
import json
import math
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import BinaryIO, Self, TextIO

from worker.core.redact import readable

_MOST_BYTES = 1 << 20
_MOST_LINES = 1_000
_MOST_DIGITS = 1_000
_MOST_TEXT = 2_000
_BLANK = " \t\r\n"
_FOREIGN = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}

# The csv module has one limit for the whole process, and its default is below that of a record.
csv.field_size_limit(_MOST_BYTES)


@dataclass(frozen=True, slots=True)
class Row:
    """A record: its first physical line, from 1, and its values by the file's own column names.

    Every value of a CSV file is a ``str``; those of JSON Lines are as parsed.
    """

    line: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reject:
    """What cannot become a row: its first physical line, why, and at most 2,000 characters."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A file under way; ``columns`` is None where they come with the rows (JSON Lines)."""

    columns: tuple[str, ...] | None
    records: Iterator[Row | Reject]


class FormatError(Exception):
    """The file as a whole cannot be read; the message names the reason and the way out."""


def read(stream: BinaryIO) -> Reading:
    """Tell the format by the first non-blank byte, read a CSV header, and leave the rest to come.

    The stream is only ever read forward, and no more than a few MiB of it are ever held. Every line
    is blank, in one ``Row`` or in one ``Reject``. Raises ``FormatError`` here, and nothing later
    but what the stream itself raises.
    """
    lines = _Lines(stream)
    first = next((line for line in lines if not _is_blank(line)), None)
    if first is None:
        raise FormatError("The file is empty: it needs a CSV header, or one JSON object a line.")
    opening = first.text.lstrip(_BLANK)[:1]
    if opening == "[":
        raise FormatError(
            "The file is one JSON array, and JSON Lines wants one object a line: "
            "convert it with jq -c '.[]' FILE"
        )
    if opening == "{":
        return Reading(None, _json_records(chain([first], lines)))
    delimiter = _delimiter(first.text)
    header = _header(_record(first, lines, delimiter))
    return Reading(tuple(filter(None, header)), _csv_records(lines, header, delimiter))


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    size: int
    flaw: str = ""


class _Lines:
    """The physical lines of a stream, of which some can be handed back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._number = 0
        self._returned: deque[_Line] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _Line:
        if self._returned:
            return self._returned.popleft()
        raw = self._stream.readline(_MOST_BYTES + 1)
        if not raw:
            raise StopIteration
        self._number += 1
        line = _without_bom(raw) if self._number == 1 else raw
        if len(raw) > _MOST_BYTES:
            return self._cut(line)
        return _decoded(self._number, line)

    @property
    def again(self) -> bool:
        """Whether the next line was handed back, so that it was looked at before."""
        return bool(self._returned)

    def hand_back(self, lines: Iterable[_Line]) -> None:
        self._returned.extend(lines)

    def _cut(self, raw: bytes) -> _Line:
        end = raw
        while end and not end.endswith(b"\n"):
            end = self._stream.readline(_MOST_BYTES)
        text = raw[: 4 * _MOST_TEXT].decode("utf-8", "replace")
        flaw = f"line {self._number} is longer than 1 MiB"
        return _Line(self._number, text, _MOST_BYTES + 1, flaw)


def _without_bom(raw: bytes) -> bytes:
    for mark, encoding in _FOREIGN.items():
        if raw.startswith(mark):
            raise FormatError(
                f"The file is {encoding}, not UTF-8: "
                f"convert it with iconv -f {encoding} -t UTF-8 FILE"
            )
    return raw.removeprefix(codecs.BOM_UTF8)


def _decoded(number: int, raw: bytes) -> _Line:
    try:
        return _Line(number, raw.decode("utf-8"), len(raw))
    except UnicodeDecodeError as error:
        flaw = f"line {number} is not UTF-8 at byte {error.start + 1}: 0x{raw[error.start]:02x}"
        return _Line(number, raw.decode("utf-8", "replace"), len(raw), flaw)


def _is_blank(line: _Line) -> bool:
    return not line.flaw and not line.text.strip(_BLANK)


def _reject(lines: list[_Line], reason: str) -> Reject:
    text = "".join(line.text for line in lines)
    return Reject(lines[0].number, reason, text[:_MOST_TEXT].rstrip("\r\n"))


@dataclass(frozen=True, slots=True)
class _Record:
    lines: list[_Line]
    cells: list[str]
    flaw: str = ""


def _delimiter(header: str) -> str:
    outside_quotes = re.sub(r'"[^"]*"?', "", header)
    return max(",;\t", key=outside_quotes.count)


def _header(record: _Record) -> list[str]:
    if record.flaw:
        raise FormatError(
            f"The CSV header cannot be read ({record.flaw}): "
            "save the list as CSV in UTF-8, with the column names in the first line"
        )
    names = [cell.strip() for cell in record.cells]
    repeated = [repr(name[:50]) for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise FormatError(
            f"The CSV header has more than one column {', '.join(repeated[:5])}: "
            "give each column a name of its own"
        )
    if not any(names):
        raise FormatError("The CSV header names no column: put the column names in the first line")
    return names


def _csv_records(lines: _Lines, header: list[str], delimiter: str) -> Iterator[Row | Reject]:
    for first in lines:
        if not _is_blank(first):
            yield _row(_record(first, lines, delimiter), header)


def _row(record: _Record, header: list[str]) -> Row | Reject:
    if record.flaw:
        return _reject(record.lines, record.flaw)
    if len(record.cells) != len(header):
        counts = f"the header has {len(header)} cells, this record {len(record.cells)}"
        return _reject(record.lines, counts + _reach(record.lines))
    cells = zip(header, record.cells, strict=True)
    return Row(record.lines[0].number, {name: cell for name, cell in cells if name})


def _record(first: _Line, lines: _Lines, delimiter: str) -> _Record:
    """Read the record that begins with ``first``; what is not CSV takes only that line."""
    taken = [first]
    if first.size > _MOST_BYTES:
        return _Record(taken, [], first.flaw)
    texts = _texts(first, lines, taken)
    try:
        cells = next(csv.reader(texts, delimiter=delimiter, strict=True))
    except csv.Error as error:
        lines.hand_back(taken[1:])
        return _Record([first], [], first.flaw or _csv_flaw(error, taken))
    return _Record(taken, cells, next((line.flaw for line in taken if line.flaw), ""))


def _csv_flaw(error: csv.Error, taken: list[_Line]) -> str:
    # What follows the dash is advice to programmers.
    reason = str(error).partition(" - ")[0]
    return f"not CSV: {reason}{_reach(taken)}"


def _reach(lines: list[_Line]) -> str:
    return f" (read as far as line {lines[-1].number})" if len(lines) > 1 else ""


def _texts(first: _Line, lines: _Lines, taken: list[_Line]) -> Iterator[str]:
    """Give the lines of one record as long as a quoted cell in it is open, into ``taken`` too."""
    yield first.text
    size = first.size
    # A line that was handed back was inside an open quote before, and so was the next one. When the
    # quote is open after it again, the look-ahead that failed would only be repeated.
    more: Iterable[_Line] = () if lines.again else lines
    for line in more:
        taken.append(line)
        size += line.size
        if size > _MOST_BYTES or len(taken) > _MOST_LINES:
            break
        yield line.text
    raise csv.Error(f"a quoted cell is not closed within {_MOST_LINES:,} lines and 1 MiB")


class _NoRowError(ValueError):
    """Valid JSON, as far as it goes, which no row can be made of."""


def _json_records(lines: Iterable[_Line]) -> Iterator[Row | Reject]:
    for line in lines:
        if line.flaw:
            yield _reject([line], line.flaw)
        elif not _is_blank(line):
            yield _json_record(line)


def _json_record(line: _Line) -> Row | Reject:
    try:
        return Row(line.number, _object(line.text))
    except json.JSONDecodeError as error:
        reason = f"not JSON at character {error.pos + 1}: {error.msg}"
    except _NoRowError as error:
        reason = str(error)
    except RecursionError:
        reason = "nested too deeply"
    return _reject([line], reason)


def _object(text: str) -> dict[str, object]:
    value: object = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_no_number,
    )
    if not isinstance(value, dict):
        raise _NoRowError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _NoRowError(f"the key {key[:50]!r} stands {count} times in one object")
    return values


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _NoRowError(f"an integer of {len(digits):,} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NoRowError(f"a number out of range: {text[:50]}")
    return value


def _no_number(name: str) -> float:
    raise _NoRowError(f"{name} is no number in JSON")


def write_csv(stream: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Rows as CSV with a head, as ``read`` takes them; moments in UTC, nothing for None."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_written(row[name]) for name in columns])


def write_json_lines(
    stream: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> None:
    """Rows as JSON Lines, as ``read`` takes them; what is None is left out."""
    for row in rows:
        filled = {name: row[name] for name in columns if row[name] is not None}
        print(json.dumps(filled, default=_written), file=stream)


def _written(value: object) -> object:
    """A value as a file holds it: text that is not UTF-8 is marked, a moment is UTC text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
    return readable(value) if isinstance(value, str) else value
