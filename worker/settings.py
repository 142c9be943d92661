"""Define every setting: name, type, default, help and check. Reads no source of values.

The API key is not a setting: ``Key`` never shows its value.
"""

import dataclasses
import operator
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from worker.core.decide import Policy
from worker.core.request import Defaults
from worker.core.results import ENDINGS

PROGRESS = ("auto", "live", "lines", "json", "none")

T = TypeVar("T")

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""The names of this machine for itself."""

LAST_PORT = 65_535

Check = Callable[[object], str | None]


def _bound(fits: Callable[[float, float], bool], words: str, limit: float) -> Check:
    fault = f"must be {words.format(limit)}"
    return lambda value: None if isinstance(value, int | float) and fits(value, limit) else fault


_at_least = partial(_bound, operator.ge, "{:g} or more")
_above = partial(_bound, operator.gt, "above {:g}")


def _one_of(*choices: str) -> Check:
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}"


def _address(value: object) -> str | None:
    """Accept https alone, since requests carry the key; http only for this machine's simulator."""
    try:
        parts = urlsplit(str(value))
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"cannot be read ({error}): write it like https://api-eu.valossa.com/core/1.0"
    if not host or parts.query or parts.fragment or parts.username:
        return "must be an address like https://api-eu.valossa.com/core/1.0"
    if parts.scheme == "http" and host not in LOOPBACK:
        return "would send the key in the clear: write https://"
    return None if parts.scheme in {"http", "https"} else "must begin with https://"


def _types(value: object) -> str | None:
    wrong = [name for name in str(value).split(",") if name.strip() not in ENDINGS]
    return f"must be some of {', '.join(ENDINGS)}, separated by commas" if wrong else None


def _listen(value: object) -> str | None:
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})", str(value))
    fits = found and int(found[2]) <= LAST_PORT
    return None if fits else "must be like 127.0.0.1:8787 or [::1]:8787"


def _proxy(value: object) -> str | None:
    try:
        parts = urlsplit(str(value))
        plain = parts.hostname and (parts.port or True) and not parts.path.strip("/")
    except ValueError:
        plain = None
    if plain and parts.scheme in {"http", "https"} and not (parts.query or parts.fragment):
        return None
    return "must be an address like http://proxy.example:3128 or http://user:password@host:port"


def _link(value: object) -> str | None:
    fits = re.fullmatch(r"https?://[^/?#\s@]+(:\d{1,5})?([/?]\S*)?", str(value))
    like = "must be an address like https://hooks.example.com/queue, without user and password"
    return None if fits else like


def _callback(value: object) -> str | None:
    """Accept what a row may name, also with user and password."""
    try:
        parts = urlsplit(str(value))
        fits = parts.hostname and (parts.port or True) and not re.search(r"\s", str(value))
    except ValueError:
        fits = None
    whole = fits and parts.scheme in {"http", "https"}
    return None if whole else "must be an address like https://hooks.example.com/queue"


def _base(value: object) -> str | None:
    """Accept what a path can be added to."""
    fault = "must have no query (?) and no fragment (#), since it is continued: take that off"
    return _link(value) or (fault if {"?", "#"} & {*str(value)} else None)


def _command(value: object) -> str | None:
    try:
        return None if shlex.split(str(value)) else "must name a program"
    except ValueError as error:
        return f"cannot be split into words ({error}): close the quotes"


def _roots(value: object) -> str | None:
    for root in str(value).split(":"):
        if not re.fullmatch(r"(/(?!\.{0,2}(/|\Z))[^/\0]+)+/?", root):
            return f"must be whole paths of folders, such as /srv/media: {root!r} is none"
    return None


def _setting(default: T, help_text: str, check: Check = lambda _: None) -> T:
    return field(default=default, metadata={"help": help_text, "check": check})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting with its default; times in seconds."""

    database_url: str = _setting(
        "sqlite:///videos.db", "the queue: an SQLite file, or postgresql://user@host/database"
    )
    api_url: str = _setting(
        "https://api-eu.valossa.com/core/1.0", "where the Valossa Core API answers", _address
    )
    proxy: str | None = _setting(
        None, "http(s) address of a proxy to reach an https api_url by CONNECT", _proxy
    )
    rate: int = _setting(1, "starts per period, for all processes together", _at_least(1))
    period_seconds: float = _setting(1.0, "the period that rate counts in", _at_least(0.01))
    max_per_day: int | None = _setting(
        None,
        "at most so many accepted or in doubt within 24 hours; a drain ends (75)",
        _at_least(1),
    )
    max_total: int | None = _setting(
        None, "at most so many accepted or in doubt in all; a drain ends (75)", _at_least(1)
    )
    concurrency: int = _setting(8, "requests in flight at once, per process", _at_least(1))
    connect_timeout_seconds: float = _setting(10.0, "until a connection stands", _above(0))
    timeout_seconds: float = _setting(60.0, "until an answer is there", _above(0))
    max_attempts: int = _setting(8, "counted attempts before a video fails", _at_least(1))
    backoff_base_seconds: float = _setting(
        15.0, "longest wait after the first attempt; doubles with each", _at_least(0)
    )
    backoff_max_seconds: float = _setting(900.0, "longest wait of all", _at_least(0))
    retry_after_max_seconds: float = _setting(
        3600.0, "a longer Retry-After ends a drain (75); a daemon probes", _at_least(0)
    )
    poll_seconds: float = _setting(0.1, "the longest that a new row goes unseen", _above(0))
    grace_seconds: float | None = _setting(
        None, "for work in flight after a stop; default timeout_seconds + 5", _at_least(0)
    )
    url_margin_seconds: float = _setting(
        21600.0, "a signed link that ends sooner is not sent", _at_least(0)
    )
    on_doubt: str = _setting(
        "reconcile",
        "reconcile by the API's list, hold for a person, or retry (may buy twice)",
        _one_of("reconcile", "hold", "retry"),
    )
    doubt_settle_seconds: float = _setting(
        300.0, "before an absent job counts as absent, or on_doubt = retry repeats", _at_least(0)
    )
    keep_days: int | None = _setting(
        None, "run prunes each night what was finished so many days ago", _at_least(1)
    )
    follow: str = _setting(
        "status",
        "jobs to their end: off, status, or results too",
        _one_of("off", "status", "results"),
    )
    results_dir: str | None = _setting(None, "the folder for the results of finished jobs")
    results_types: str = _setting("core", "results to fetch, separated by commas", _types)
    max_in_progress: int | None = _setting(
        None, "at most so many jobs accepted or in doubt that have not ended", _at_least(1)
    )
    callback_base_url: str | None = _setting(
        None, "address of the page for the API, which calls it when a job has ended", _base
    )
    default_language: str | None = _setting(None, "for rows that name none, such as en-US")
    default_callback_url: str | None = _setting(None, "for rows that name none", _callback)
    default_email_group: str | None = _setting(None, "for rows that name none")
    upload_roots: str | None = _setting(
        None, "folders below which local files may be uploaded, separated by colons", _roots
    )
    uploads: int = _setting(2, "local files uploaded at once, per process", _at_least(1))
    upload_bytes_per_second: int | None = _setting(
        None, "of all uploads of a process together", _at_least(1_000)
    )
    price_per_video: float | None = _setting(
        None, "what one accepted video costs, for status", _at_least(0)
    )
    currency: str = _setting("EUR", "of price_per_video")
    drain_every_seconds: float | None = _setting(
        None, "between a cron's drains: so long videos may be due without a worker", _above(0)
    )
    listen: str | None = _setting(
        None, "where run serves its page and its health, such as 127.0.0.1:8787", _listen
    )
    listen_hosts: str | None = _setting(
        None, "names, separated by commas, by which the page may be asked for, as behind a proxy"
    )
    log_level: str = _setting(
        "info", "debug, info, warning or error", _one_of("debug", "info", "warning", "error")
    )
    log_format: str = _setting("auto", "auto, console or json", _one_of("auto", "console", "json"))
    progress: str = _setting(
        "auto", "of drain and run, on stderr: auto, live, lines, json or none", _one_of(*PROGRESS)
    )
    notify_command: str | None = _setting(
        None, "program that gets the verdict as JSON on its input when a person is needed", _command
    )
    notify_url: str | None = _setting(None, "address that the same JSON is POSTed to", _link)
    ping_url: str | None = _setting(
        None, "dead man's switch of drains: /start is added, then nothing or /CODE", _base
    )

    @property
    def grace(self) -> float:
        """Return the grace in force; by default an orderly stop leaves no doubt."""
        return self.timeout_seconds + 5 if self.grace_seconds is None else self.grace_seconds

    @property
    def lease(self) -> timedelta:
        """Return how long a claim may go unsettled (law 4)."""
        return timedelta(seconds=2 * self.timeout_seconds + 60)

    @property
    def settle_after(self) -> timedelta:
        """Return the age from which an absent job counts as absent."""
        return timedelta(seconds=self.doubt_settle_seconds)

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Return the folders below which local files may be uploaded."""
        named = (root.rstrip("/") for root in (self.upload_roots or "").split(":"))
        return tuple(os.fsencode(root) for root in named if root)

    @property
    def reconciles(self) -> bool:
        """Return True if the API's list of jobs settles doubts."""
        return self.on_doubt == "reconcile"

    @property
    def follows(self) -> bool:
        """Return True if jobs are followed to their end."""
        return self.follow != "off"

    @property
    def result_types(self) -> tuple[str, ...]:
        """Return the types of results to fetch, each once."""
        return tuple(dict.fromkeys(map(str.strip, self.results_types.split(","))))

    @property
    def fetches(self) -> bool:
        """Return True if the results of finished jobs are fetched."""
        return self.follow == "results" and self.results_dir is not None

    @property
    def policy(self) -> Policy:
        """Return the settings about repeating."""
        return Policy(
            max_attempts=self.max_attempts,
            backoff_base_seconds=self.backoff_base_seconds,
            backoff_max_seconds=self.backoff_max_seconds,
        )

    @property
    def defaults(self) -> Defaults:
        """Return the values for rows that name none."""
        return Defaults(
            language=self.default_language,
            callback_url=self.default_callback_url,
            email_group=self.default_email_group,
        )


SINKS = ("notify_command", "notify_url", "ping_url")
"""Settings that may hold secrets of their own, and are shown in part."""

NAMES = tuple(setting.name for setting in dataclasses.fields(Settings))


@dataclass(frozen=True, slots=True)
class Key:
    """The API key. No text form of this object shows its value (law 11)."""

    value: str = field(repr=False)
    source: str


def help_of(name: str) -> str:
    """Return the line about a setting for help texts and config/worker.toml."""
    text: str = Settings.__dataclass_fields__[name].metadata["help"]
    return text
