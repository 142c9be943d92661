"""Read the fields of a request: the filters of ``list``, and the options of an action."""

from dataclasses import replace
from datetime import datetime

from multidict import MultiMapping

from worker.core.model import State
from worker.core.moments import Ago, moment
from worker.core.redact import clean, readable
from worker.store import search

Fields = MultiMapping[str]

FILTERS = ("state", "job_status", "id", "error_like", "batch", "since", "until")


def filter_of(fields: Fields, now: datetime) -> search.Filter:
    """Return the filters of ``list`` in these fields. Raises ValueError with the remedy."""
    texts = [fields.get(name) for name in ("since", "until")]
    moments = [moment(each) if each else None for each in texts]
    since, until = (each.at(now) if isinstance(each, Ago) else each for each in moments)
    return replace(
        search.called(filter(None, map(readable, fields.getall("id", [])))),
        states=tuple(State(each) for each in fields.getall("state", []) if each),
        job_status=tuple(clean(each) for each in fields.getall("job_status", []) if each),
        error_like=clean(fields.get("error_like", "")) or None,
        batch=clean(fields.get("batch", "")) or None,
        since=since,
        until=until,
    )


def number(fields: Fields, name: str) -> int:
    """Return a whole number, 0 if there is none. Raises ValueError."""
    text = fields.get(name) or "0"
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) < 19:  # noqa: PLR2004 - fits 63 bits
        return int(text)
    raise ValueError(f"{name} = {text!r} is no number")


def kept(fields: Fields, *names: str) -> list[tuple[str, str]]:
    """Return the fields of these names that say something, for a link or a form."""
    return [(name, each) for name in names for each in fields.getall(name, []) if each]


def job_id(fields: Fields) -> str | None:
    """Return the job id without blanks around it; None to give up. Raises ValueError."""
    copied = fields.get("job_id", "").strip()
    if "give_up" in fields or (copied and copied.isprintable()):
        return None if "give_up" in fields else copied
    raise ValueError(f"{copied!r} is no job id; copy it again")
