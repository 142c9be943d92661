"""Look at a local file before its upload: its size, and what speaks against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worker.core.file_address import AddressError, is_file, path_of
from worker.core.preflight import Finding, Weight
from worker.core.upload import Identity, size_problem
from worker.core.verdict import GIVE_ROOT
from worker.files.roots import AbsentError, RefusedError, identity_of, opened

STILL = timedelta(minutes=1)
"""A file that changed later than so long ago is perhaps being written."""


@dataclass(frozen=True, slots=True)
class Look:
    """The bytes of a file, 0 where it cannot be uploaded from here, and what was found."""

    size: int = 0
    found: tuple[Finding, ...] = ()


NOTHING = Look()


def look(given: Mapping[str, object], roots: Sequence[bytes], now: datetime) -> Look:
    """Return what is seen of the file of a row at ``now`` (UTC); nothing of an address of the web,
    or of one that the row's own check refuses.
    """
    url = str(given.get("url") or "")
    if not is_file(url):
        return NOTHING
    try:
        seen = inspect(path_of(url), roots)
    except AddressError:
        return NOTHING
    if isinstance(seen, Finding):
        return Look(found=(seen,))
    changed = datetime.fromtimestamp(seen.changed_ns / 1e9, UTC)
    fresh = Finding(Weight.PROBABLY, "url: has changed within a minute", "wait until it is whole")
    return Look(seen.size, (fresh,) if abs(now - changed) < STILL else ())


def inspect(path: bytes, roots: Sequence[bytes]) -> Identity | Finding:
    """Return the marks of a file, or why it cannot be uploaded from here. Raises AddressError."""
    try:
        with opened(roots, path) as descriptor:
            seen = identity_of(descriptor)
    except AbsentError as error:
        return Finding(Weight.LOOK, f"url: {error}", GIVE_ROOT)
    except RefusedError as error:
        return Finding(Weight.SURELY, f"url: {error}", "name a plain file that may be read")
    reason, _, remedy = (size_problem(seen.size) or "").partition(": ")
    return Finding(Weight.SURELY, f"url: {reason}", remedy) if reason else seen
