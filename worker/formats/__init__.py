"""Read and write rows as CSV and JSON Lines. Knows no column but ``url``, and no database."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from worker.formats.addresses import are_addresses, is_comment
from worker.formats.csv_records import csv_records, delimiter_of, header_of, record_of
from worker.formats.json_records import json_records, must_be_lines
from worker.formats.lines import BLANK, FormatError, Lines, Reject, Row, is_blank
from worker.formats.writing import write_csv, write_json_lines

__all__ = ["FormatError", "Reading", "Reject", "Row", "read", "write_csv", "write_json_lines"]


@dataclass(frozen=True, slots=True)
class Reading:
    """The records of a file and its lines; ``columns`` is None for JSON Lines."""

    columns: tuple[str, ...] | None
    records: Iterator[Row | Reject]
    lines: Lines


_SEPARATOR = re.compile(r'(?i)\s*"?sep=([^"\r\n])\1*"?\s*')


def read(stream: BinaryIO, encoding: str = "utf-8") -> Reading:
    """Detect the format by the first lines and read a CSV header; the rest is read lazily.
    The stream is read forward only, with at most a few MiB in memory. Each line is blank, in one
    ``Row`` or in one ``Reject``. Raises FormatError here, and later only what the stream raises.
    """
    lines = Lines(stream, encoding)
    sample = lines.peek()
    if not sample:
        raise FormatError("The file is empty: it needs a CSV header, or one JSON object a line.")
    if sample[0].text.lstrip(BLANK).startswith(("{", "[")):
        must_be_lines([line for line in sample if not is_blank(line)])
        return Reading(None, json_records(lines), lines)
    if are_addresses(sample):
        return Reading(("url",), csv_records(lines, ["url"], ",", is_comment), lines)
    filled = (line for line in lines if not is_blank(line))
    separator = _SEPARATOR.fullmatch(sample[0].text)
    first = [*islice(filled, 2 if separator else 1)][-1]
    texts = [first.text, *(line.text for line in lines.peek())]
    delimiter = separator[1] if separator else delimiter_of(texts)
    header = header_of(record_of(first, lines, delimiter), delimiter)
    columns = tuple(filter(None, header))
    return Reading(columns, csv_records(lines, header, delimiter, is_blank), lines)
