"""Standard output and standard error, and what becomes of what they do not take.

A result that cannot be written ends its command. A log or a message ends nobody: a run whose
requests are bought goes on, and what it knows is in the table.
"""

import io
import os
import select
import sys
from typing import TextIO

INPUT, OUTPUT, ERROR = range(3)
"""File descriptors."""


class UnwritableError(Exception):
    """Standard output takes nothing more; ``unread``: since its reader has seen enough."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"standard output: {cause.strerror}")
        self.unread = isinstance(cause, BrokenPipeError)


class _Result(io.FileIO):
    def write(self, data: bytes) -> int:  # type: ignore[override]
        """As a file's. Raises UnwritableError, which nobody takes for trouble of a database."""
        try:
            while (written := super().write(data)) is None:  # another program made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            raise UnwritableError(error) from error
        return written


class _Message(io.FileIO):
    def write(self, data: bytes) -> int:  # type: ignore[override]
        """As a file's, but what cannot be written, or not without waiting, is dropped."""
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def prepare() -> None:
    """Let this process' streams be these, and show what a terminal cannot. What it was started
    without leads to nowhere, and is not taken for the next file that is opened.
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
    """Write no more on standard output, where Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), OUTPUT)
