"""The lists that an import reads: opened, looked at, read by the chunk until a signal comes."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from worker.cli.commands.interruptible import Stop, StoppedError, interruptible
from worker.core.import_row import ImportMapping, RejectedError, admit
from worker.formats import FormatError, Reading, Reject, Row, read

Chunk = list[Row | Reject]

CHUNK = 1_000
"""Rows that one write transaction checks and inserts."""

CHUNK_BYTES = 8 << 20
"""From how much of a list on no more rows are added to a chunk: rows may be of 1 MiB."""


def next_chunk(reading: Reading, stop: Stop) -> Chunk:
    """The next records; fewer where a signal came, none after it."""
    chunk: Chunk = []
    enough = reading.lines.bytes_read + CHUNK_BYTES
    with suppress(StoppedError):
        for record in islice(reading.records, 0 if stop.signal else CHUNK):
            chunk.append(record)
            if reading.lines.bytes_read >= enough:
                break
    return chunk


@dataclass(frozen=True, slots=True)
class Admitted:
    """A chunk that was looked at ``at`` this moment: its rows as ours, each with the record that it
    was, and of what cannot become one the line, the reason, and what stands there.
    """

    at: datetime
    rows: list[dict[str, object]] = field(default_factory=list)
    records: list[Row] = field(default_factory=list)
    rejected: list[tuple[int, str, object]] = field(default_factory=list)


def admit_all(chunk: Chunk, plan: ImportMapping, now: datetime) -> Admitted:
    """The rows of a chunk, and its rejects, in the order of the file."""
    admitted = Admitted(now)
    for record in chunk:
        if isinstance(record, Reject):
            admitted.rejected.append((record.line, record.reason, record.text))
            continue
        try:
            row = admit(record.values, plan, now)
        except RejectedError as error:
            admitted.rejected.append((record.line, str(error), record.values))
            continue
        if plan.partial:  # an update also takes what the row names as empty
            row = dict.fromkeys(plan.named(record.values)) | row
        admitted.rows.append(row)
        admitted.records.append(record)
    return admitted


@contextmanager
def opened(name: str, stop: Stop) -> Iterator[BinaryIO]:
    """The bytes of a list, until ``stop`` is heard; ``-`` is standard input. Raises OSError."""
    if name == "-":
        yield interruptible(sys.stdin.buffer, stop)
        return
    with open(name, "rb", buffering=0, opener=_at_once) as stream:
        yield interruptible(stream, stop)


def _at_once(name: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to yet is waited for when it is read."""
    descriptor = os.open(name, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def written(name: str, files: Sequence[str]) -> TextIO:
    """The file for rejects. Raises ValueError where it is one of the lists."""
    path = Path(name)
    if path.exists() and any(path.samefile(file) for file in files if file != "-"):
        raise ValueError(f"--rejects {name} would overwrite the list itself: name another file")
    return path.open("w", encoding="utf-8")


def begun(name: str, stream: BinaryIO, plan: ImportMapping) -> tuple[str, Reading]:
    """The reading of one list. Raises FormatError, or ValueError where it has no addresses."""
    try:
        reading = read(stream)
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error
    if reading.columns is not None:
        must_have_url(name, reading.columns, plan)
        _must_have_mapped(name, reading.columns, plan)
    return name, reading


def _must_have_mapped(name: str, columns: Sequence[str], plan: ImportMapping) -> None:
    """What a list lacks that was named for a column of ours is a slip, which an import that goes on
    could not mend any more: its rows would be there already. Raises ValueError.
    """
    for column, theirs in plan.theirs.items():
        if theirs not in columns:
            raise ValueError(
                f"{name} has no column {theirs!r} for {column}; it has {', '.join(columns)}"
            )


def must_have_url(name: str, columns: Sequence[str], plan: ImportMapping) -> None:
    """A list without addresses is none, unless it brings new values for known videos. Raises
    ValueError.
    """
    named = {*plan.named(columns), *({"request_id"} & {*columns})}
    if "url" not in named and not (plan.partial and {"media_id", "request_id"} & named):
        raise ValueError(
            f"{name} has no column {plan.source('url')!r} for url; it has "
            f"{', '.join(columns) or 'none'}: name it with --map url=THEIRS"
        )
