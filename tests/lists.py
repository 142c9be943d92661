"""Read a list of jobs from one body, which the client reads part by part."""

from worker.core.job_list import Listing
from worker.core.list_reader import ListReader, UnreadableError


def listing(body: bytes) -> Listing | None:
    """Return the list in this body, or None if it cannot be read."""
    reader = ListReader()
    try:
        reader.feed(body)
        return reader.end()
    except UnreadableError:
        return None
