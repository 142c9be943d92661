"""Judge a video before it is paid for: name what would surely, or probably, be paid for nothing."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache, partial
from ipaddress import ip_address
from urllib.parse import urlsplit

from worker.core.advice import kind
from worker.core.file_address import is_file
from worker.core.request import problem_of
from worker.core.signed_link import unsigned

NAMED = 1_000
"""Rows of a kind that are named, and hosts that are; the others are counted."""

COMPARED = 60_000
"""Names of rows that are remembered at least, to compare the next rows with: some 20,000 rows."""

_FORMATS = (
    "mp4|m4v|mov|mkv|webm|avi|mp[ge]|mpeg|m2v|m?ts|m2ts|mxf|wmv|asf|flv|f4v|3g[p2]|og[gv]|vob|divx"
)
_FORMAT, _PLAYLIST = re.compile(_FORMATS), re.compile("m3u8?|mpd")
_FILE_NAMED = re.compile(rf"\.(?:{_FORMATS})(?![\w.])", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"\s*(?:#?n/?a|<na>|nan|null|none|nil|undefined|unknown|und|tbd|[-?])\s*", re.IGNORECASE
)
"""Words that programs and people write for no value."""
_LANGUAGE = re.compile("[a-z]{2}-[A-Z]{2}")
_COMMON = re.compile(r"https?://([a-z0-9.-]+)(/[!-\"$->@-~]*)?(?:\?([!-\"$-~]*))?")
_SITE = re.compile(r"(?:www|m|music)\.")
_FILE = "give the address of the video file itself"
_PAGES = {
    **dict.fromkeys(("youtube.com", "youtube-nocookie.com", "youtu.be", "vimeo.com"), ("", _FILE)),
    "player.vimeo.com": ("/video/", _FILE),
    "archive.org": ("/(?:details|embed)/", "write /download/ITEM/FILE in place of /details/ITEM"),
    "drive.google.com": (r"/(?:a/[^/]+/)?(?:file/|open\b|drive/|folderview|embedded)", _FILE),
    "docs.google.com": (r"/(?:a/[^/]+/)?file/", _FILE),
    "dropbox.com": (r"/(?:sh|scl/fo|home|work)\b", "share the file itself, and write dl=1"),
}
"""The path of a page that shows a video or a folder, by its host, and the way to the file."""
_DROPBOX_PAGE = re.compile(r"/(?:s|scl/fi)/")


class Weight(StrEnum):
    """The weight of a finding, the heaviest first."""

    SURELY = "surely wasted"
    PROBABLY = "probably wasted"
    LOOK = "look"


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason why a video may be paid for nothing, and the way out."""

    weight: Weight
    reason: str
    remedy: str


def judge(given: Mapping[str, object], now: datetime, margin: timedelta) -> Iterator[Finding]:
    """Yield what speaks against paying for a video at ``now`` (UTC), given by column."""
    if (wasted := waste(given)) is not None:
        yield wasted
    elif (fault := problem_of(given, now, margin)) is not None:
        reason, _, remedy = fault.partition("; ")
        yield Finding(Weight.SURELY, reason, remedy or "correct it")
    else:
        yield from doubtful(given)


def waste(given: Mapping[str, object]) -> Finding | None:
    """Return why the API could get no video at the address of a row; None if it perhaps can."""
    url = str(given.get("url") or "")
    host, path, _ = _parts(url)
    page, remedy = _PAGES.get(host, (None, _FILE))
    if _PLACEHOLDER.fullmatch(url):
        reason = f"is {url.strip()!r}, which stands for no value"
    elif _is_unreachable(host):
        reason, remedy = "leads to a host that the API cannot reach", "put it on a public one"
    elif page is not None and re.match(page, path):
        reason = f"is a page of {host}, not a file"
    elif _PLAYLIST.fullmatch(_split(path)[1]):
        reason = "is a playlist, not a whole file"
    else:
        return None
    return Finding(Weight.SURELY, f"url: {reason}", remedy)


def doubtful(given: Mapping[str, object]) -> Iterator[Finding]:
    """Yield what probably makes a job of a row end in an error."""
    url, language = str(given.get("url") or ""), str(given.get("language") or "")
    host, path, query = _parts(url)
    if is_file(url) and not _FORMAT.fullmatch(_split(url)[1]):
        yield _probably("url: has no file ending of a video", "look if it is one")
    if host and not (_FORMAT.fullmatch(_split(path)[1]) or _FILE_NAMED.search(query)):
        yield _probably("url: has no file ending of a video", "look if it is the file itself")
    if url[:7].lower() == "http://":
        yield _probably("url: is plain http", "write https:// if the host has it")
    if host == "dropbox.com" or "dl=0" in query:
        sent = re.findall(r"(?:\A|&)(?:dl|raw)=([^&]*)", query)
        if "0" in sent or (_DROPBOX_PAGE.match(path) and not sent):
            yield _probably("url: leads to a page (dl=0)", "write dl=1")
    if _PLACEHOLDER.fullmatch(language):
        yield _probably(f"language: {language!r} stands for no value", "leave it empty")
    elif language and not _LANGUAGE.fullmatch(language):
        yield _probably(f"language: {language!r} is not of the form xx-XX", "write it like en-US")


_probably = partial(Finding, Weight.PROBABLY)


@lru_cache(maxsize=16)
def _parts(url: str) -> tuple[str, str, str]:
    """Return host, without www, path and query of a web address; empty texts for any other."""
    if common := _COMMON.fullmatch(url):
        host, path, query = common.groups("")
    else:
        try:
            parts = urlsplit(url)
            host, path, query = parts.hostname or "", parts.path, parts.query
        except ValueError:
            return "", "", ""
        if parts.scheme not in {"http", "https"}:
            return "", "", ""
    site = _SITE.match(host)
    return (host[site.end() :] if site else host).rstrip("."), path, query


def _is_unreachable(host: str) -> bool:
    last = host.rpartition(".")[2]
    if last.isdecimal() or ":" in host:
        try:
            return not ip_address(host).is_global
        except ValueError:  # no public name ends in a number
            return True
    return last in {"localhost", "local"}


def _split(address: str) -> tuple[str, str]:
    """Return an address without its file ending, and that in small letters; "" if it has none."""
    folder, slash, name = address.partition("?")[0].rpartition("/")
    stem, dot, ending = name.rpartition(".")
    return (folder + slash + stem, ending.lower()) if dot else (folder + slash + name, "")


@dataclass(slots=True)
class Compared:
    """Compare each row with those before it: the last ``COMPARED`` names, or up to twice as many.
    Names are kept as hashes, so that the memory has a bound.
    """

    _new: dict[int, int] = field(default_factory=dict)
    _old: dict[int, int] = field(default_factory=dict)

    def look(self, given: Mapping[str, object]) -> Iterator[Finding]:
        """Yield what an earlier row has in common with this one, and take this one in."""
        url = str(given.get("url") or "")
        thing, name = given.get("unsigned_url") or unsigned(url) or url, given.get("media_id")
        stem, ending = _split(str(thing))
        if self._differs(("thing", thing), url):
            reason = "url: is the object of an earlier row, under another signature"
            yield Finding(Weight.LOOK, reason, "keep one of the two")
        if _FORMAT.fullmatch(ending) and self._differs(("stem", stem), ending):
            reason = "url: is the video of an earlier row, in another format"
            yield Finding(Weight.LOOK, reason, "keep the best one")
        if name and self._differs(("name", name), stem):
            reason = "media_id: is that of an earlier row, with another link"
            yield Finding(Weight.LOOK, reason, "give each video an id of its own")

    def _differs(self, name: object, has: str) -> bool:
        """Return True if an earlier row of this name has something else."""
        key, own = hash(name), hash(has)
        found = self._new.get(key, self._old.get(key, own))
        if len(self._new) >= COMPARED:
            self._old, self._new = self._new, {}
        self._new.setdefault(key, found)
        return found != own


@dataclass(slots=True)
class Tally:
    """All that was found in many rows, by kind, and the hosts of the rows; ``rows`` are the first
    of each kind, ``size`` is the bytes of their local files.
    """

    hosts: Counter[str] = field(default_factory=Counter)
    numbers: Counter[Finding] = field(default_factory=Counter)
    rows: dict[Finding, list[object]] = field(default_factory=dict)
    size: int = 0

    def add(self, row: object, url: object, found: Iterable[Finding]) -> None:
        """Take in what was found in a row, which is named so and has this address."""
        host = _parts(str(url))[0] or str(url).partition(":")[0]
        self.hosts[host if host in self.hosts or len(self.hosts) < NAMED else "others"] += 1
        for each in found:
            of_kind = replace(each, reason=kind_of(each.reason))
            self.numbers[of_kind] += 1
            if self.numbers[of_kind] <= NAMED:
                self.rows.setdefault(of_kind, []).append(row)

    def sorted(self) -> list[tuple[Finding, int]]:
        """Return each kind of finding with its number, the heaviest and then the most first."""
        order = list(Weight)
        return sorted(
            self.numbers.items(), key=lambda each: (order.index(each[0].weight), -each[1])
        )

    def number(self, weight: Weight) -> int:
        """Return how many findings have this weight."""
        return sum(number for kind, number in self.numbers.items() if kind.weight is weight)


def kind_of(reason: str) -> str:
    """Return a reason without what differs from row to row."""
    return kind(re.split(r",? \d{4}-", reason, maxsplit=1)[0])[:120]
