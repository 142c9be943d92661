"""Read a file line by line: the lines, rows and rejects that CSV and JSON Lines share."""

import io
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Self

from worker.core.redact import readable

MOST_BYTES = 1 << 20
MOST_TEXT = 2_000
BLANK = " \t\r\n"
ADDRESS = re.compile(r"(?i:https?|s3|ftps?|sftp|gs|valossaupload|file):(?:\\?/){2}")
_SAMPLE, _OF_LINE = 100_000, 1_000  # about so many bytes, in at most a hundred lines
_FOREIGN = re.compile(  # by the byte order mark, or by the zeros beside the first letter
    "(?s)(?P<UTF_32>\udcff\udcfe\0\0|\0\0\udcfe\udcff)|(?P<UTF_16>\udcff\udcfe|\udcfe\udcff)|"
    "(?P<UTF_32LE>.\0\0\0)|(?P<UTF_32BE>\0\0\0.)|(?P<UTF_16LE>.\0)|(?P<UTF_16BE>\0.)"
)
_WORKBOOK = ("PK\3\4", "\udcd0\udccf\x11\udce0", "\x1f\udc8b")


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
    """A physical line as text; ``size`` in characters, ``flaw``: why no row can have it."""

    number: int
    text: str
    size: int
    flaw: str = ""


class Lines:
    """The physical lines of a stream; those in ``returned`` come again before the rest."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self.bytes_read = 0
        self.returned: deque[Line] = deque()
        self._ahead: deque[Line] = deque()
        self._number = 0
        self._encoding = encoding
        plain = encoding == "utf-8"  # other codecs cannot show a bad byte as a surrogate
        self._bad = "[\udc80-\udcff]" if plain else "[\ufffd\ud800-\udfff]"
        errors = "surrogateescape" if plain else "replace"
        self._stream = io.TextIOWrapper(stream, encoding, errors, newline="")
        self._ends: tuple[str, ...] = ()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Line:
        if self.returned:
            return self.returned.popleft()
        line = self._ahead.popleft() if self._ahead else self._read()
        if line is None:
            raise StopIteration
        self.bytes_read += line.size
        return line

    def peek(self) -> list[Line]:
        """Return some of the lines to come, from the first one that is not blank."""
        while sum(_OF_LINE + one.size for one in self._ahead) < _SAMPLE and (line := self._read()):
            if self._ahead or not is_blank(line):
                self._ahead.append(line)
        return list(self._ahead)

    def _read(self) -> Line | None:
        text = ""
        while more := self._stream.readline(MOST_BYTES + 1):
            self._ends = self._ends or _ends_after(more)
            text = text[: MOST_BYTES + 1] + more
            if text.endswith(self._ends):
                break
        if not text:
            return None
        self._number += 1
        text = text.lstrip("\ufeff") if self._number == 1 else text
        flaw = self._flaw(text)
        shown = readable(text[: MOST_BYTES + 1]) if flaw else text
        return Line(self._number, shown, len(text), flaw)

    def _flaw(self, text: str) -> str:
        if len(text) > MOST_BYTES:
            return f"line {self._number} is longer than 1 MiB"
        bad = None if text.isascii() else re.search(self._bad, text)
        if bad is None:
            return ""
        at, byte = len(text[: bad.start()].encode()) + 1, ord(bad[0]) - 0xDC00
        plain, name = self._encoding == "utf-8", self._encoding.upper()
        found, other = (f" at byte {at}: 0x{byte:02x}", "cp1252") if plain else ("", "utf-8")
        return f"line {self._number} is not {name}{found}; try --encoding {other}, or name its own"


def _ends_after(first: str) -> tuple[str, ...]:
    """Return the ends of lines. CR alone is one only if the first line has it."""
    if first.startswith(_WORKBOOK):
        raise FormatError("The file is a workbook or an archive: save the list as CSV in UTF-8")
    if found := _FOREIGN.match(first):
        encoding = str(found.lastgroup).replace("_", "-")
        raise FormatError(
            f"The file is {encoding}, not UTF-8: import it with --encoding {encoding}, or "
            f"convert it with iconv -f {encoding} -t UTF-8 FILE"
        )
    return ("\n", "\r") if first.endswith("\r") and first.count('"') % 2 == 0 else ("\n",)


def is_blank(line: Line) -> bool:
    """Return True if the line is readable and empty."""
    return not line.flaw and not line.text.strip(BLANK)


def reject(lines: list[Line], reason: str) -> Reject:
    """Return these lines as one reject."""
    text = "".join(line.text for line in lines)
    return Reject(lines[0].number, reason, text[:MOST_TEXT].rstrip("\r\n"))
