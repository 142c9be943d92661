"""Look at a local file before its upload: what speaks against it, and how large it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from worker.core.file_address import AddressError, is_file, path_of
from worker.core.preflight import Finding, Weight
from worker.core.upload import size_problem
from worker.files.roots import AbsentError, RefusedError, identity_of, opened

STILL = timedelta(minutes=1)
"""A file that changed later than so long ago is perhaps being written."""


@dataclass(frozen=True, slots=True)
class Look:
    """The bytes of a file, 0 where it is not here, and what speaks against its upload."""

    size: int = 0
    found: tuple[Finding, ...] = ()


def look(given: Mapping[str, object], roots: Sequence[bytes], now: datetime) -> Look:
    """Return what is seen of the file of a row at ``now`` (UTC); nothing of an address of the web,
    or of one that the row's own check refuses.
    """
    url = str(given.get("url") or "")
    if not is_file(url):
        return Look()
    try:
        with opened(roots, path_of(url)) as descriptor:
            seen = identity_of(descriptor)
    except AddressError:
        return Look()
    except AbsentError as error:
        remedy = "start a worker where the file is, with its folder in upload_roots"
        return Look(found=(Finding(Weight.LOOK, f"url: {error}", remedy),))
    except RefusedError as error:
        remedy = "name a regular file that this user may read"
        return Look(found=(Finding(Weight.SURELY, f"url: {error}", remedy),))
    if (problem := size_problem(seen.size)) is not None:
        reason, _, remedy = problem.partition(": ")
        return Look(seen.size, (Finding(Weight.SURELY, f"url: {reason}", remedy),))
    changed = datetime.fromtimestamp(seen.changed_ns / 1e9, UTC)
    if abs(now - changed) < STILL:
        reason, remedy = "url: has changed within a minute", "wait until it is whole"
        return Look(seen.size, (Finding(Weight.PROBABLY, reason, remedy),))
    return Look(seen.size)
