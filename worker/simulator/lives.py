"""Decide the life of each job: its statuses from acceptance to its end. Pure; time is an argument.

Statuses: worker/api/README.md, section 4. What a job shows depends on its life and its age alone.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from worker.simulator import faults

QUEUED: Final = "queued"
FINISHED: Final = "finished"
ERROR: Final = "error"
GONE: Final = "gone"
"""In the book, a job that the API knows no more."""

JOB_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "denied": "job_status answers 404 in the middle third of its life, while the list shows it",
        "error": "downloaded; then it ends in error, with details",
        "error-bare": "it ends in error, without details and with no media_transfer_status",
        "forever": "it never ends",
        "gone": "from the middle of its life on, 404 and in no list",
        "missing": "404 and in no list in the middle third of its life",
        "on-hold": "on_hold for half of its life",
        "transfer-error": "it ends in error, since the video could not be downloaded",
        "unknown": "a status that no page names, for most of its life",
        "unknown-end": "for good a status that no page names, where its end should be",
        "unlisted": "in no list",
    }
)
"""Every kind of life with its meaning in one line, for help texts."""

UNKNOWN_STATUSES: Final = ("transcoding", "Finished", "done", "failed", "finished_partially")

_ERRORS: Final = {"error", "error-bare", "transfer-error"}
_ENDLESS: Final = {"forever", "unknown-end"}
_LAST: Final = 0.999
"""The largest share of a life that is not over."""
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:-([0-9]+(?:\.[0-9]+)?))?([smh])?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Span:
    """A range of seconds, both ends included."""

    shortest: float
    longest: float

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= self.longest:
            raise ValueError(f"{self.shortest} to {self.longest} s is no span of time")


def parse_span(text: str) -> Span:
    """Read `20`, `1.5s` or `10-30m`; raise ValueError naming the value and the way out."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write for example 20, 10-30 or 5-15m")
    first, last, unit = match.groups()
    seconds = _SECONDS[unit or "s"]
    try:
        return Span(float(first) * seconds, float(last or first) * seconds)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; write the shorter one first") from None


def check_job_kind(kind: str) -> None:
    """Raise ValueError, with the way out, unless `kind` is a kind of life."""
    if kind not in JOB_KINDS:
        raise faults.no_such(kind, "life", JOB_KINDS)


def parse_job_failure(text: str) -> tuple[str, float]:
    """Read `error=0.05`; raise ValueError naming the value and the way out."""
    return faults.parse_failure(text, check_job_kind, "error")


@dataclass(frozen=True, slots=True)
class Life:
    """A job's life: its kind, None if nothing is special, and its seconds until its end."""

    kind: str | None
    seconds: float
    word: str = UNKNOWN_STATUSES[0]

    @property
    def ends_as(self) -> str | None:
        """Return what the book calls its end; None if it never ends."""
        if self.kind in _ENDLESS:
            return None
        if self.kind == "gone":
            return GONE
        return ERROR if self.kind in _ERRORS else FINISHED

    @property
    def ends_after(self) -> float:
        """Return the age at its end in seconds."""
        return self.seconds / 2 if self.kind == "gone" else self.seconds


@dataclass(frozen=True, slots=True)
class Shown:
    """What the API shows of a job at one moment."""

    status: str
    transfer_status: str | None
    details: str | None = None
    listed: bool = True
    found: bool = True


def life_of(
    url: str,
    nth: int,
    *,
    span: Span,
    dead_hosts: Collection[str],
    failures: Mapping[str, float],
    scripted: str | None,
    seed: int,
) -> Life:
    """Return the life of the `nth` job of this address. The script wins over a dead host, and that
    over the dice, which depend on seed, address and `nth` alone.
    """
    dice = Random(f"{seed}/life/{url}/{nth}")
    seconds = dice.uniform(span.shortest, span.longest)
    rolled, word = dice.random(), dice.choice(UNKNOWN_STATUSES)
    if scripted is not None:
        return Life(scripted, seconds, word)
    if is_dead(url, dead_hosts):
        return Life("transfer-error", seconds, word)
    return Life(faults.pick(failures, rolled), seconds, word)


def is_dead(url: str, hosts: Collection[str]) -> bool:
    """Return True if the address is of one of the hosts, or of a bucket written `HOST/BUCKET`."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    bucket = parts.path.split("/", 2)[1:2]
    return not {host, "/".join((host, *bucket))}.isdisjoint(hosts)


def ended_life(ended_as: str) -> Life:
    """Return the life of a job whose end stands in the book."""
    return Life(None if ended_as == FINISHED else ended_as, 0.0)


def shown(life: Life, age: float, *, ended: bool) -> Shown:
    """Return what is shown of a job that was accepted `age` seconds ago. `ended`: its end stands in
    the book; without that none is shown, whatever the age.
    """
    over = age >= life.seconds if life.ends_as is None else ended
    if over:
        return _at_the_end(life)
    share = min(age / life.seconds, _LAST) if life.seconds else 0.0
    status, transfer = _on_the_way(life.kind, share)
    if life.kind == "unknown" and status != QUEUED:
        status = life.word
    absent = life.kind in {"missing", "denied"} and 1 / 3 <= share < 2 / 3
    return Shown(
        status,
        transfer,
        listed=life.kind != "unlisted" and not (absent and life.kind != "denied"),
        found=not absent,
    )


def _on_the_way(kind: str | None, share: float) -> tuple[str, str]:
    if share < 1 / 10:
        return QUEUED, "queued"
    if kind == "on-hold" and share < 6 / 10:
        return "on_hold", "queued"
    if kind == "transfer-error" or share < 3 / 10:
        return "preparing_analysis", "downloading"
    return "processing", "finished"


def _at_the_end(life: Life) -> Shown:
    match life.kind:
        case "forever":
            return Shown("processing", "finished")
        case "unknown-end":
            return Shown(life.word, "finished")
        case "gone":
            return Shown("processing", "finished", listed=False, found=False)
        case "error":
            return Shown(ERROR, "finished", "The analysis failed")
        case "error-bare":
            return Shown(ERROR, None)
        case "transfer-error":
            return Shown(ERROR, ERROR, "The video could not be downloaded: HTTP 404")
        case _:
            return Shown(FINISHED, "finished", listed=life.kind != "unlisted")
