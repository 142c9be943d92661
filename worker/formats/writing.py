"""Write rows as CSV and JSON Lines that ``read`` can read again."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from worker.core.import_row import marked
from worker.core.redact import readable

_FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def write_csv(stream: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV with a header; times in UTC, an empty cell for None, formulas harmless."""
    plain = csv.writer(stream, lineterminator="\n")
    quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(columns)
    for row in rows:
        cells = [marked(name, _written(row[name]), _FORMULAS) for name in columns]
        (quoting if "\r" in "".join(map(str, cells)) else plain).writerow(cells)


def write_json_lines(
    stream: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]
) -> None:
    """Write rows as JSON Lines; times in UTC, None is left out."""
    for row in rows:
        filled = {name: marked(name, row[name]) for name in columns if row[name] is not None}
        print(json.dumps(filled, default=_written), file=stream)


def _written(value: object) -> object:
    """Return the value for the file: a time as UTC text, unreadable characters replaced."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
    return readable(value) if isinstance(value, str) else value
