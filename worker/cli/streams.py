"""Replace standard output and standard error by streams with defined behaviour on errors.

A result that cannot be written ends its command. A message that cannot be written is dropped: a
run whose requests are paid for goes on, and its results are in the table.
"""

import io
import os
import select
import sys
from typing import TextIO

INPUT, OUTPUT, ERROR = range(3)
"""File descriptors."""


class UnwritableError(Exception):
    """Standard output cannot be written; ``unread``: because its reader has closed the pipe."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output: {cause.strerror}")
        self.unread = isinstance(cause, BrokenPipeError)


class _Result(io.FileIO):
    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write, waiting if needed. Raises UnwritableError: an OSError could mean the database."""
        try:
            while (written := super().write(data)) is None:  # another program made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            raise UnwritableError(error) from error
        return written


class _Message(io.FileIO):
    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write, but drop bytes that cannot be written, or not without waiting."""
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def prepare() -> None:
    """Replace the streams of this process; characters that they cannot encode are escaped. A stream
    that was closed at the start leads to /dev/null, so that no file gets its number.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= ERROR:
        pass
    os.close(spare)
    sys.stdin = sys.stdin or open(INPUT, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _over(OUTPUT, sys.stdout, _Result)
    sys.stderr = _over(ERROR, sys.stderr, _Message)


def _over(number: int, stream: TextIO | None, kind: type[io.FileIO]) -> TextIO:
    raw = kind(number, "wb", closefd=False)
    unbuffered = isinstance(stream, io.TextIOWrapper) and stream.write_through  # PYTHONUNBUFFERED
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding if stream else None,
        errors="backslashreplace",
        line_buffering=number == ERROR or raw.isatty() or unbuffered,
    )


def end_output() -> None:
    """Point standard output to /dev/null: Python would write to it again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), OUTPUT)
