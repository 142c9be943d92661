"""Read JSON Lines as rows: one object a line."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator

from worker.formats.lines import Line, Reject, Row, is_blank, reject

_MOST_DIGITS = 1_000


class _NoRowError(ValueError):
    """The JSON cannot become a row."""


def json_records(lines: Iterable[Line]) -> Iterator[Row | Reject]:
    """Yield the object of each line, or its reject."""
    for line in lines:
        if line.flaw:
            yield reject([line], line.flaw)
        elif not is_blank(line):
            yield _json_record(line)


def _json_record(line: Line) -> Row | Reject:
    try:
        return Row(line.number, _object(line.text))
    except json.JSONDecodeError as error:
        reason = f"not JSON at character {error.pos + 1}: {error.msg}"
    except _NoRowError as error:
        reason = str(error)
    except RecursionError:
        reason = "nested too deeply"
    return reject([line], reason)


def _object(text: str) -> dict[str, object]:
    value: object = json.loads(
        text,
        object_pairs_hook=_unique,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_no_number,
    )
    if not isinstance(value, dict):
        raise _NoRowError("not a JSON object")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _NoRowError(f"the key {key[:50]!r} stands {count} times in one object")
    return values


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _NoRowError(f"an integer of {len(digits):,} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NoRowError(f"a number out of range: {text[:50]}")
    return value


def _no_number(name: str) -> float:
    raise _NoRowError(f"{name} is no number in JSON")
