"""Read a file line by line: the lines, rows and rejects that CSV and JSON Lines share."""

import codecs
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Self

MOST_BYTES = 1 << 20
MOST_TEXT = 2_000
BLANK = " \t\r\n"
_FOREIGN = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


class Row(NamedTuple):
    """A record: its first physical line, from 1, and its values by the file's column names.

    Values of CSV are ``str``; those of JSON Lines are as parsed.
    """

    line: int
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reject:
    """Lines that cannot become a row: first line number, reason, at most 2,000 characters."""

    line: int
    reason: str
    text: str


class FormatError(Exception):
    """The file as a whole cannot be read; the message names the reason and the way out."""


class Line(NamedTuple):
    """A physical line as text; ``size`` in bytes, ``flaw``: why no row can have it."""

    number: int
    text: str
    size: int
    flaw: str = ""


class Lines:
    """The physical lines of a stream; those in ``returned`` come again before the rest."""

    def __init__(self, stream: BinaryIO) -> None:
        self.bytes_read = 0
        self.returned: deque[Line] = deque()
        self._stream = stream
        self._number = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Line:
        if self.returned:
            return self.returned.popleft()
        raw = self._stream.readline(MOST_BYTES + 1)
        if not raw:
            raise StopIteration
        self.bytes_read += len(raw)
        self._number += 1
        line = _without_bom(raw) if self._number == 1 else raw
        if len(raw) > MOST_BYTES:
            return self._cut(line)
        return _decoded(self._number, line)

    def _cut(self, raw: bytes) -> Line:
        end = raw
        while end and not end.endswith(b"\n"):
            end = self._stream.readline(MOST_BYTES)
        text = raw[: 4 * MOST_TEXT].decode("utf-8", "replace")
        flaw = f"line {self._number} is longer than 1 MiB"
        return Line(self._number, text, MOST_BYTES + 1, flaw)


def _without_bom(raw: bytes) -> bytes:
    for mark, encoding in _FOREIGN.items():
        if raw.startswith(mark):
            raise FormatError(
                f"The file is {encoding}, not UTF-8: "
                f"convert it with iconv -f {encoding} -t UTF-8 FILE"
            )
    return raw.removeprefix(codecs.BOM_UTF8)


def _decoded(number: int, raw: bytes) -> Line:
    try:
        return Line(number, raw.decode("utf-8"), len(raw))
    except UnicodeDecodeError as error:
        flaw = f"line {number} is not UTF-8 at byte {error.start + 1}: 0x{raw[error.start]:02x}"
        return Line(number, raw.decode("utf-8", "replace"), len(raw), flaw)


def is_blank(line: Line) -> bool:
    """Return True if the line is readable and empty."""
    return not line.flaw and not line.text.strip(BLANK)


def reject(lines: list[Line], reason: str) -> Reject:
    """Return these lines as one reject."""
    text = "".join(line.text for line in lines)
    return Reject(lines[0].number, reason, text[:MOST_TEXT].rstrip("\r\n"))
