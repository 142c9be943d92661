"""Read a list of jobs leniently: its shape is undocumented (worker/api/README.md, section 6).

Knows no HTTP and judges no doubt. Every member of an array counts as a job, at any depth, so that a
job without an identifier is counted too.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worker.core.model import Fact
from worker.core.redact import clean

PAGE_SIZES = {10, 20, 25, 30, 40, 60, 75, 80}
"""Counts that suggest a full page, beside the multiples of 50 and the powers of two from 16 on."""

_NEXT = ("next", "cursor", "continu", "more", "truncat")
_TOTAL = ("total", "count")
_SIZE = {"limit", "page_size", "per_page", "n_jobs"}
_BEGIN = {"offset", "start", "skip"}
_PAGES = {"page", "pages"}
_IDENTIFIERS = {"customer_media_info_id", "customer_media_id"}
_NAME = re.compile(r"[A-Za-z_]{1,40}")
_DEEPEST = 6
_EMPTY: frozenset[str] = frozenset()  # one for all: each takes 200 bytes
_Value = TypeVar("_Value")

KEPT_MEMBERS = 20
"""Members of an array that are kept as they are, for signs of paging."""

SHAPE_LIMIT = 2_000
"""Characters of a shape that a log line holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One job as the list shows it.

    ``identifiers``: the customers' own (``customer_media_info.id``); ``urls``: all addresses in it.
    """

    job_id: str | None
    status: str | None
    identifiers: frozenset[str]
    urls: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of jobs.

    ``paged``: why it looks incomplete, None if it does not; ``shape``: names and types, no values.
    """

    entries: tuple[Entry, ...]
    paged: str | None
    shape: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlisted:
    """The reason why there is no list.

    ``lasting``: asking again will not help; ``retry_after``: seconds that the API asked to wait;
    ``fact``: the kind of its answer, None without one that can be read.
    """

    reason: str
    lasting: bool = False
    retry_after: float | None = None
    fact: Fact | None = None


class _Named(Entry):
    """An entry whose own ``job_id`` makes it a job inside of another one too."""

    __slots__ = ()


class Members(list[object]):
    """An array outside of all jobs: its first members that are no named jobs, and its entries."""

    size = 0

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def take(self, member: object) -> int:
        """Add a member. Return the number of strings and jobs that it takes."""
        new = [_entry(job) for job in _members(member)]
        self.entries += new
        self.size += 1
        named = isinstance(member, dict) and (_is_named(member) or _text(member.get("id")))
        if not self or (len(self) < KEPT_MEMBERS and not named):
            self.append(member)
        return sum(1 + len(entry.identifiers) + len(entry.urls) for entry in new)


def listing_of(document: object) -> Listing:
    """Return the list in a document, in which ``Members`` may stand for arrays."""
    entries = _united(map(_entry, _jobs(document)))
    return Listing(
        entries=entries,
        paged=next(_signs_of_paging(document, len(entries)), None),
        shape=shape(document)[:SHAPE_LIMIT],
    )


def grouped(pairs: Iterable[tuple[str, _Value]]) -> Mapping[str, Sequence[_Value]]:
    """Return the values of each key, in order."""
    groups: dict[str, list[_Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the object. Raises ValueError if a name repeats: its first value would be hidden."""
    found = dict(pairs)
    if len(found) != len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {key[:50]!r} stands {count} times in one object")
    return found


def _jobs(value: object) -> Iterator[object]:
    """Yield every job: each object with a ``job_id`` or an identifier, each member of an array. An
    object inside a job is part of it, and a job too if it has a ``job_id``.
    """
    if isinstance(value, Members):
        yield from value.entries
    elif isinstance(value, list):
        for part in value:
            yield from _members(part)
    elif isinstance(value, dict):
        nested = (part for part in value.values() if isinstance(part, dict | list))
        inside = (job for part in nested for job in _jobs(part))
        if _is_named(value) or any(_identifier(*field) for field in value.items()):
            yield value
            yield from filter(_is_named, inside)
        else:
            yield from inside


def _members(part: object) -> Iterator[object]:
    """Yield a member of an array as a job, unless it only holds jobs that have a ``job_id``."""
    if isinstance(part, list):
        yield from _jobs(part)
        return
    jobs = list(_jobs(part))
    inside = [job for job in jobs if job is not part]
    holds = any(map(_is_named, inside))
    if not holds or len(inside) < len(jobs) or (isinstance(part, dict) and _text(part.get("id"))):
        yield part
    if holds:
        yield from inside


def _is_named(job: object) -> bool:
    return isinstance(job, _Named) or (
        isinstance(job, dict) and _text(job.get("job_id")) is not None
    )


def _entry(job: object) -> Entry:
    if isinstance(job, Entry):
        return job
    if not isinstance(job, dict):
        return Entry(job_id=_cleaned(job), status=None, identifiers=_EMPTY, urls=_EMPTY)
    inside = list(_fields(job))
    identifiers = frozenset(filter(None, (_identifier(*field) for field in inside))) or _EMPTY
    own_id = _text(job.get("id"))
    return (_Named if _is_named(job) else Entry)(
        job_id=_cleaned(job.get("job_id")) or _cleaned(None if own_id in identifiers else own_id),
        status=_cleaned(job.get("status")) or _cleaned(job.get("job_status")),
        identifiers=identifiers,
        urls=frozenset(v for _, v in inside if isinstance(v, str) and "://" in v) or _EMPTY,
    )


def _fields(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    yield name, value
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from _fields(part, inner)
    elif isinstance(value, list):
        for part in value:
            yield from _fields(part, name)


def _identifier(name: str, value: object) -> str | None:
    if name == "customer_media_info" and isinstance(value, dict):
        return _text(value.get("id"))
    return _text(value) if name in _IDENTIFIERS else None


def _text(value: object) -> str | None:
    """Return a text or a whole number as text; None for empty text or any other value."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole or (isinstance(value, str) and value) else None


def _cleaned(value: object) -> str | None:
    text = _text(value)
    return text and clean(text)


def _united(entries: Iterator[Entry]) -> tuple[Entry, ...]:
    nameless: list[Entry] = []
    named: dict[str, Entry] = {}
    for entry in entries:
        if entry.job_id is None:
            nameless.append(entry)
            continue
        known = named.get(entry.job_id, entry)
        named[entry.job_id] = Entry(
            job_id=entry.job_id,
            status=known.status or entry.status,
            identifiers=known.identifiers | entry.identifiers,
            urls=known.urls | entry.urls,
        )
    return (*named.values(), *nameless)


def _signs_of_paging(document: object, shown: int) -> Iterator[str]:
    """Yield each sign that there are more than these ``shown`` entries. Each array counts by itself
    too: it may be cut off while the others are whole.
    """
    if _is_full_page(shown):
        yield f"it shows {shown} jobs, a full page"
    for name, value in _outside(document):
        count = value.size if isinstance(value, Members) else isinstance(value, list) and len(value)
        if _is_full_page(count):
            yield f"it shows {count} jobs in one place, a full page"
        if _is_sign(name.lower(), value, shown):
            yield f"it says {name}" + (f" {value}" if isinstance(value, int) else "")


def _is_full_page(count: int) -> bool:
    power = count >= 16 and count & (count - 1) == 0  # noqa: PLR2004 - see PAGE_SIZES
    return count in PAGE_SIZES or power or (count > 0 and count % 50 == 0)


def _outside(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    yield name, value
    if isinstance(value, list):
        for part in value:
            yield from _outside(part)
    elif isinstance(value, dict) and not (_is_named(value) or _text(value.get("id"))):
        for inner, part in value.items():
            yield from _outside(part, inner)


def _is_sign(name: str, value: object, shown: int) -> bool:
    if any(part in name for part in _NEXT):
        return value not in (None, False, "", 0, [], {}, "false")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    except OverflowError:  # a number of hundreds of digits
        number = math.inf
    if name in _PAGES or name in _BEGIN:
        return number > (1 if name in _PAGES else 0)
    if name in _SIZE:
        return number <= shown
    return any(part in name for part in _TOTAL) and number > shown


def shape(value: object, depth: int = 0) -> str:
    """Return names and types without values, so that a maintainer can read an unknown list."""
    if isinstance(value, dict):
        if depth == _DEEPEST:
            return "{…}"
        named = {k if _NAME.fullmatch(k) else "…": v for k, v in value.items()}
        return "{" + ", ".join(f"{k}: {shape(v, depth + 1)}" for k, v in named.items()) + "}"
    if isinstance(value, list):
        return f"[{shape(value[0], depth + 1)}]" if value and depth < _DEEPEST else "[]"
    return "null" if value is None else type(value).__name__
