"""Read JSON Lines as rows: one object a line."""

import json
import math
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from worker.core.job_list import unambiguous
from worker.formats.lines import ADDRESS, BLANK, FormatError, Line, Reject, Row, is_blank, reject

_MOST_DIGITS = 1_000
_ARRAY = re.compile(rf'(?:("(?:[^"\\]|\\.)*+")\s*:|^)\s*\[\s*(?:\{{|("{ADDRESS.pattern}))')


def must_be_lines(sample: Sequence[Line]) -> None:
    """Raise FormatError for an array, an object that holds one, and one of several lines."""
    text = "".join(line.text for line in sample).strip(BLANK)
    first, more = sample[0].text.strip(BLANK), sample[1:]
    inside = first.count("[") > first.count("]")
    goes_on = inside or any(isinstance(_json_record(line), Reject) for line in more[:1])
    several = not inside and re.search(r"\}\s*\n\{", text)
    command = "" if several else _unpacking(text)
    if text.startswith("["):
        form, command = "a JSON array", command or "jq -c '.[]' FILE"
    elif (goes_on and first[-1] in "{[,") or (command and not more):
        form, command = "a JSON document", command or "jq -c . FILE"
    else:
        return
    wanted = "and JSON Lines wants one object a line"
    raise FormatError(f"The file is {form}, {wanted}: convert it with {command}")


def _unpacking(text: str) -> str:
    """Return the jq command for the array of videos in a document; empty if there is none."""
    found = _ARRAY.search(text)
    before = text[: found.start()].lower() if found else ""
    if found is None or '"url"' in before or not ADDRESS.search(text, found.start()):
        return ""  # the array, if there is one, is a part of a video
    key, address = found.groups(default="")
    key = re.sub(r'^"([A-Za-z_][A-Za-z_0-9]*)"$', r"\1", key)
    deep = before.count("{") - before.count("}") > 1
    path = f"..|.{key}?|arrays[]" if deep else f".{key}[]"
    return f"jq -{'r' if address else 'c'} {shlex.quote(path)} FILE"


def json_records(lines: Iterable[Line]) -> Iterator[Row | Reject]:
    """Yield the object of each line, or its reject."""
    for line in lines:
        if line.flaw:
            yield reject([line], line.flaw)
        elif not is_blank(line):
            yield _json_record(line)


def _json_record(line: Line) -> Row | Reject:
    try:
        value: object = _OBJECT.decode(line.text.lstrip("\ufeff").rstrip(BLANK + ","))
    except json.JSONDecodeError as error:
        reason = f"not JSON at character {error.pos + 1}: {error.msg}"
    except ValueError as error:
        reason = str(error)
    except RecursionError:
        reason = "nested too deeply"
    else:
        if isinstance(value, dict):
            return Row(line.number, value)
        reason = "not a JSON object"
    return reject([line], reason)


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"a number out of range: {text[:50]}")
    return value


def _no_number(name: str) -> None:
    if name != "NaN":  # as Python writes what is absent
        raise ValueError(f"{name} is no number in JSON")


_OBJECT = json.JSONDecoder(
    object_pairs_hook=unambiguous,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_no_number,
)
