"""Open the lists of an import, check them and read them in chunks. Knows no database."""

import errno
import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import BufferedWriter, BytesIO, FileIO, RawIOBase, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TextIO

from worker.cli.commands.interruptible import StoppedError, StopSignal, interruptible
from worker.core.import_row import ImportMapping, RejectedError, admit, notes, spelled_as
from worker.files.typed import PathError, Place, found
from worker.formats import FormatError, Reading, Reject, Row, read
from worker.formats.lines import Lines

Chunk = list[Row | Reject]

CHUNK = 1_000
"""Rows that one write transaction checks and inserts."""

CHUNK_BYTES = 8 << 20
"""A chunk takes no more rows after so many bytes, since a row may have 1 MiB."""


_SQLITE = b"SQLite format 3"
"""The beginning of each database of SQLite."""


def next_chunk(reading: Reading, stop: StopSignal) -> Chunk:
    """Return the next records; fewer if a signal comes, none after it."""
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
    """A chunk that was checked at the moment ``at`` (UTC): ``rows`` to insert, each with its record
    of the list, of every reject its line, reason and content, and what was changed in rows.
    """

    at: datetime
    rows: list[dict[str, object]] = field(default_factory=list)
    records: list[Row] = field(default_factory=list)
    rejected: list[tuple[int, str, object]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def admit_all(chunk: Chunk, mapping: ImportMapping, place: Place, now: datetime) -> Admitted:
    """Return the rows of a chunk and its rejects, in the order of the file; ``place``: where its
    paths begin.
    """
    admitted = Admitted(now)
    for record in chunk:
        if isinstance(record, Reject):
            admitted.rejected.append((record.line, record.reason, record.text))
            continue
        try:
            values = addressed(record.values, mapping, place)
            row = admit(values, mapping, now)
        except RejectedError as error:
            admitted.rejected.append((record.line, str(error), record.values))
            continue
        for note in notes(values, mapping, row):
            admitted.notes[note] += 1
        if mapping.partial:  # an update also empties the columns that are empty in the row
            row = dict.fromkeys(mapping.named(record.values)) | row
        admitted.rows.append(row)
        admitted.records.append(record)
    return admitted


def addressed(
    values: Mapping[str, object], mapping: ImportMapping, place: Place
) -> Mapping[str, object]:
    """Return the values with the address of a local file for its path. Raises RejectedError."""
    column = spelled_as(tuple(values), mapping).source("url")
    given = values.get(column)
    if not isinstance(given, str):
        return values
    text = given.strip()
    if text != given and os.path.lexists(place.folder / given):
        text = given  # the name of a file may end in a blank
    try:
        address = place.address(text)
    except PathError as error:
        raise RejectedError(f"url: {error}") from None
    return values if address == text else {**values, column: address}


def found_files(pattern: str, media_id: str | None) -> Reading:
    """Return the files that a pattern finds, as the rows of a list. Raises ValueError."""
    rows = [Row(number, each) for number, each in enumerate(found(pattern, media_id), start=1)]
    return Reading(tuple(rows[0].values), iter(rows), Lines(BytesIO(), "utf-8"))


@contextmanager
def opened(name: str, stop: StopSignal) -> Iterator[BinaryIO]:
    """Open a list to be read until ``stop`` is heard; ``-`` is standard input. Raises OSError."""
    if name == "-":
        yield interruptible(sys.stdin.buffer, stop)
        return
    with open(name, "rb", buffering=0, opener=_at_once) as stream:
        yield interruptible(stream, stop)


def _at_once(name: str, flags: int) -> int:
    """Open a file without waiting for the other end of a pipe; reading waits for it."""
    descriptor = os.open(name, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


def written(name: str, files: Sequence[str], queue: Path | None) -> TextIO:
    """Open the file for rejects. Raises ValueError if it is one of the lists, or a database:
    ``queue`` is the file of the queue.
    """
    path = Path(name)
    if path.exists() and any(path.samefile(file) for file in files if file != "-"):
        raise ValueError(f"--rejects {name} would overwrite the list itself: name another file")
    if _is_database(path, queue):
        raise ValueError(f"--rejects {name} would overwrite a database: name another file")
    try:
        raw: RawIOBase = _RejectsFile(name, "w", opener=_at_once)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise ValueError(f"--rejects {name}: nothing reads this pipe: start its reader") from error
    return TextIOWrapper(BufferedWriter(raw), encoding="utf-8")


def _is_database(path: Path, queue: Path | None) -> bool:
    """Return True for a file of SQLite, and for those of the queue, which may not be there yet."""
    ends = ("", "-wal", "-shm") if queue else ()
    if path.resolve() in {Path(f"{queue}{end}").resolve() for end in ends}:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


class _RejectsFile(FileIO):
    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write. Raises OSError with the name of the file."""
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.name) from error


def begun(name: str, stream: BinaryIO, encoding: str, mapping: ImportMapping) -> Reading:
    """Return the reading of a list. Raises FormatError, OSError, ValueError for missing columns."""
    try:
        reading = read(stream, encoding)
    except FormatError as error:
        file = "FILE" if name == "-" else shlex.quote(name)
        raise FormatError(f"{name}: {str(error).replace(' FILE', f' {file}', 1)}") from error
    except UnicodeError as error:
        raise FormatError(f"{name}: {error}; name its own encoding with --encoding") from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from error
    if reading.columns is not None:
        must_have_url(name, reading.columns, mapping)
        # A missing column of --map is a slip. A second import could not correct it: the rows would
        # be known already.
        for column, theirs in mapping.theirs.items():
            if theirs not in reading.columns:
                there = ", ".join(reading.columns)
                raise ValueError(f"{name} has no column {theirs!r} for {column}; it has {there}")
    return reading


def must_have_url(name: str, columns: Sequence[str], mapping: ImportMapping) -> None:
    """Raise ValueError for a list without urls, unless it updates known videos."""
    named = {*mapping.named(columns), *({"request_id"} & {*columns})}
    if "url" not in named and not (mapping.partial and {"media_id", "request_id"} & named):
        raise ValueError(
            f"{name} has no column {mapping.source('url')!r} for url; it has "
            f"{', '.join(columns) or 'none'}: name it with --map url=THEIRS"
        )
