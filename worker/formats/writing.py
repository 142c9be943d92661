"""Rows as CSV and JSON Lines, in a form that ``read`` takes."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from worker.core.redact import readable


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
