"""CSV and JSON Lines as rows. Knows no column by name, no file name and no database."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from worker.formats.csv_records import csv_records, delimiter_of, header_of, record_of
from worker.formats.json_records import json_records
from worker.formats.lines import BLANK, FormatError, Lines, Reject, Row, is_blank
from worker.formats.writing import write_csv, write_json_lines

__all__ = [
    "FormatError",
    "Reading",
    "Reject",
    "Row",
    "read",
    "write_csv",
    "write_json_lines",
]


@dataclass(frozen=True, slots=True)
class Reading:
    """A file under way: its records, and the lines that they are made of. ``columns`` is None where
    they come with the rows (JSON Lines).
    """

    columns: tuple[str, ...] | None
    records: Iterator[Row | Reject]
    lines: Lines


def read(stream: BinaryIO) -> Reading:
    """Tell the format by the first non-blank byte, read a CSV header, and leave the rest to come.

    The stream is only ever read forward, and no more than a few MiB of it are ever held. Every line
    is blank, in one ``Row`` or in one ``Reject``. Raises ``FormatError`` here, and nothing later
    but what the stream itself raises.
    """
    lines = Lines(stream)
    first = next((line for line in lines if not is_blank(line)), None)
    if first is None:
        raise FormatError("The file is empty: it needs a CSV header, or one JSON object a line.")
    opening = first.text.lstrip(BLANK)[:1]
    if opening == "[":
        raise FormatError(
            "The file is one JSON array, and JSON Lines wants one object a line: "
            "convert it with jq -c '.[]' FILE"
        )
    if opening == "{":
        return Reading(None, json_records(chain([first], lines)), lines)
    delimiter = delimiter_of(first.text)
    header = header_of(record_of(first, lines, delimiter))
    return Reading(tuple(filter(None, header)), csv_records(lines, header, delimiter), lines)
