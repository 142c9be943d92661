"""Name the host of a link, and decide when it is held and when a probe may go. Knows no clock."""

import re
import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta

from worker.core.model import value

WINDOW, MOST = 4, 3
"""So many of the last ended jobs of a host, and the failed downloads among them that hold it."""

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=15), timedelta(days=1)
"""Between the hold, or a probe, and the next probe: each wait is twice the one before."""

LONGEST = 300
"""Characters of a name that is taken for a host; a key of PostgreSQL's indexes must be short."""

_LINK = re.compile(
    r"\s*(?!file:|valossaupload:)(?:[a-z][a-z0-9+.-]*:)?[/\\]{2}(?:[^/?#\\]*@)?(\[[^/?#\\\]]*\]|[^/?#\\:@\]]*)(?::\d*)?"
    r"[/\\]*([^/?#\\]*)",
    re.IGNORECASE,
)
_PATH_STYLE = re.compile(
    r"s3(?:-[a-z0-9-]+)?(?!.*\.s3[.-])\..+"
    r"|storage\.(?:googleapis\.com|cloud\.google\.com|yandexcloud\.[a-z]+)"
    r"|[a-z0-9-]+\.(?:digitaloceanspaces\.com|r2\.cloudflarestorage\.com)"
)
"""Hosts whose buckets are the first part of the path. Azure has an account in the host's name."""


def host_of(url: str) -> str:
    """Return the host of a link in lower case, or host/bucket of a store that many share; an empty
    text for what names none, as a file and its upload do.
    """
    if (found := _LINK.match(url)) is None:
        return ""
    host, bucket = found[1].lower().rstrip("."), found[2]
    name = f"{host}/{bucket}" if bucket and _PATH_STYLE.fullmatch(host) else host
    return name if len(name) <= LONGEST and name.isprintable() else ""


@value
class HeldHost:
    """A host from which the API could not download, and whose videos are held.

    Attributes:
        why: The evidence, as a clause.
        videos: Pending videos that are held; ``first``: the oldest of them.
        failed: Jobs that were bought and could not be downloaded, in all.
        probe_at: When the next probe may go (UTC).
        probes: Number of probes since ``since``; ``probe_video``: the last one, if there is any.
    """

    host: str
    since: datetime
    why: str
    videos: int
    first: int | None
    failed: int
    probe_at: datetime
    probes: int
    probe_video: int | None

    @property
    def remedy(self) -> str:
        """Return the way out. It names the host as the error of a held video does, since the name
        alone may be the end of another host's.
        """
        at = f"a probe goes at {self.probe_at:%Y-%m-%d %H:%M:%S} UTC"
        sends = f"valossa-ingest release --host {self.host} sends all once it serves again"
        theirs = shlex.quote(f"jobs of {self.host} could not")
        return f"{at}; {sends}, cancel --state pending --error-like {theirs} puts them away"


def told(held: Sequence[HeldHost]) -> str:
    """Return a sentence on the held hosts, of which the first has the most videos."""
    number = sum(each.videos for each in held)
    for_hosts = f" for {len(held)} hosts, most of them" if len(held) > 1 else ","
    return f"{number} held{for_hosts} since {held[0].why}"


def is_dead(downloads_failed: Sequence[bool]) -> bool:
    """Return True if the last ended jobs of a host, at most ``WINDOW``, say that it is dead."""
    return sum(downloads_failed) >= MOST


def wait(probes: int) -> timedelta:
    """Return the time from the hold, or from the last of ``probes`` probes, to the next one."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(probes, 7))
