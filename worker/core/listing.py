"""What a list of jobs shows, read leniently: its shape is undocumented (valossa-api.md, section 6).

Knows no HTTP. An array of objects with a job id is taken for the list, wherever it is nested.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """How many jobs were shown, and in how many of them the customer's own id stands somewhere."""

    jobs: int
    identified: int


def listing(body: bytes) -> Listing | None:
    """The list in this body, None where it is not JSON."""
    try:
        document = json.loads(body)
        entries = list(_entries(document))
        identified = sum(1 for entry in entries if _names_customer_id(entry))
    except (ValueError, RecursionError):
        return None
    return Listing(jobs=len(entries), identified=identified)


def _entries(value: object) -> Iterator[dict[str, object]]:
    if isinstance(value, dict):
        if isinstance(value.get("job_id"), str):
            yield value
            return
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _entries(part)


def _names_customer_id(value: object) -> bool:
    if isinstance(value, dict):
        named = value.get("customer_media_info")
        inside = isinstance(named, dict) and isinstance(named.get("id"), str)
        return inside or any(map(_names_customer_id, value.values()))
    return isinstance(value, list) and any(map(_names_customer_id, value))
