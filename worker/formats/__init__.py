"""Read and write rows as CSV and JSON Lines. Knows no column names, file names or database."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from worker.formats.csv_records import csv_records, delimiter_of, header_of, record_of
from worker.formats.json_records import json_records
from worker.formats.lines import BLANK, FormatError, Lines, Reject, Row, is_blank
from worker.formats.writing import write_csv, write_json_lines

__all__ = ["FormatError", "Reading", "Reject", "Row", "read", "write_csv", "write_json_lines"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The records of a file and its lines; ``columns`` is None for JSON Lines."""

    columns: tuple[str, ...] | None
    records: Iterator[Row | Reject]
    lines: Lines


def read(stream: BinaryIO) -> Reading:
    """Detect the format by the first non-blank byte and read a CSV header; the rest is read lazily.
    The stream is read forward only, with at most a few MiB in memory. Each line is blank, in one
    ``Row`` or in one ``Reject``. Raises FormatError here, and later only what the stream raises.
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
