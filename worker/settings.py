"""The settings: flags, environment and file into one frozen object, or every problem at once.

Knows neither network nor database. The key is no setting: it has a type of its own that never shows
its value.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, get_type_hints
from urllib.parse import urlsplit

from worker.core.decide import Policy
from worker.core.redact import without_query
from worker.core.request import Defaults

PREFIX = "WORKER_"
CONFIG = "WORKER_CONFIG"
KEY = "VALOSSA_API_KEY"
KEY_FILE = "VALOSSA_API_KEY_FILE"
KEY_FILE_LIMIT = 4096
FASTEST_PER_SECOND = 100_000
SHOWN = 200
"""Characters of a wrong value that are shown."""
ABSURD = 1e9
"""No number reaches it: as seconds 31 years, and still a moment that a calendar has."""

NO_KEY = (
    f"no API key: set {KEY}, or {KEY_FILE} to a file that holds it "
    "(Valossa Portal, My Account > Subscriptions and API Keys)"
)

T = TypeVar("T")
Check = Callable[[object], str | None]


class SettingsError(Exception):
    """The program cannot start; ``problems`` names each setting, its value, source and way out."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _at_least(limit: float) -> Check:
    return lambda value: (
        None if isinstance(value, int | float) and value >= limit else f"must be {limit:g} or more"
    )


def _above(limit: float) -> Check:
    return lambda value: (
        None if isinstance(value, int | float) and value > limit else f"must be above {limit:g}"
    )


def _one_of(*choices: str) -> Check:
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}"


def _anything(_: object) -> str | None:
    return None


def _address(value: object) -> str | None:
    """Only https, since every request carries the key; http for a simulator on this machine."""
    try:
        parts = urlsplit(str(value))
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"cannot be read ({error}): write it like https://api-eu.valossa.com/core/1.0"
    if not host or parts.query or parts.fragment or parts.username:
        return "must be an address like https://api-eu.valossa.com/core/1.0"
    if parts.scheme == "http" and host not in {"127.0.0.1", "localhost", "::1"}:
        return "would send the key in the clear: write https://"
    return None if parts.scheme in {"http", "https"} else "must begin with https://"


def _setting(default: T, help_text: str, check: Check = _anything) -> T:
    return field(default=default, metadata={"help": help_text, "check": check})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting with its default; times in seconds (design.md, section 7)."""

    database_url: str = _setting(
        "sqlite:///videos.db", "the queue: an SQLite file, or postgresql://user@host/database"
    )
    api_url: str = _setting(
        "https://api-eu.valossa.com/core/1.0", "where the Valossa Core API answers", _address
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
        3600.0, "a longer Retry-After ends a drain (75)", _at_least(0)
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
    default_language: str | None = _setting(None, "for rows that name none, such as en-US")
    default_callback_url: str | None = _setting(None, "for rows that name none")
    default_email_group: str | None = _setting(None, "for rows that name none")
    log_level: str = _setting(
        "info", "debug, info, warning or error", _one_of("debug", "info", "warning", "error")
    )
    log_format: str = _setting("auto", "auto, console or json", _one_of("auto", "console", "json"))

    @property
    def grace(self) -> float:
        """The grace in force: by default long enough that an orderly stop makes no doubts."""
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
    def reconciles(self) -> bool:
        """Return True if the API's list of jobs settles doubts."""
        return self.on_doubt == "reconcile"

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


NAMES = tuple(setting.name for setting in dataclasses.fields(Settings))


@dataclass(frozen=True, slots=True)
class Key:
    """The API key. Its value is shown by no text form of this object (law 11)."""

    value: str = field(repr=False)
    source: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and where each came from. A survey also has what is wrong; the settings in
    ``faulty`` stand at their defaults.
    """

    settings: Settings
    sources: Mapping[str, str]
    problems: tuple[str, ...] = ()
    faulty: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RawValue:
    """A value as it was read, with the name of its source."""

    value: object
    source: str


def help_of(name: str) -> str:
    """The line on a setting that help texts and config/worker.toml show."""
    text: str = Settings.__dataclass_fields__[name].metadata["help"]
    return text


def load(flags: Mapping[str, object], environment: Mapping[str, str], config: str | None) -> Loaded:
    """The settings from flags, then ``WORKER_*``, then the TOML file ``config`` (or the one that
    WORKER_CONFIG names), then defaults. Raises SettingsError with every problem.
    """
    loaded = survey(flags, environment, config)
    if loaded.problems:
        raise SettingsError(list(loaded.problems))
    return loaded


def survey(
    flags: Mapping[str, object], environment: Mapping[str, str], config: str | None
) -> Loaded:
    """What ``load`` gives, with every problem instead of an error, so that ``check`` can go on to
    what else is wrong.
    """
    problems: list[str] = []
    path, source = (config, "--config") if config else (environment.get(CONFIG), CONFIG)
    layers = (
        _from_flags(flags),
        _from_environment(environment, problems),
        _from_file(path, source, problems) if path else {},
    )
    said: dict[str, RawValue] = {}
    for layer in layers:
        for name, found in layer.items():
            said.setdefault(name, found)
    values, faulty = {}, set()
    for name, found in said.items():
        try:
            values[name] = _value(name, found)
        except ValueError as error:
            problems.append(str(error))
            faulty.add(name)
    settings = Settings(**values)  # type: ignore[arg-type]
    sources = {name: said[name].source if name in said else "default" for name in NAMES}
    if not faulty:
        problems += _contradictions(settings, sources)
    return Loaded(settings, sources, tuple(problems), frozenset(faulty))


def read_key(environment: Mapping[str, str]) -> Key:
    """The API key, from VALOSSA_API_KEY or the file that VALOSSA_API_KEY_FILE names. Raises
    SettingsError, which never shows a key.
    """
    value, file = environment.get(KEY), environment.get(KEY_FILE)
    if file == "":
        raise SettingsError([f"{KEY_FILE} is empty: name the file that holds the key, or unset it"])
    if value is not None and file is not None:
        raise SettingsError([f"{KEY} and {KEY_FILE} are both set: unset one of them"])
    if file is not None:
        return _checked_key(_key_in(file), f"the file {file} ({KEY_FILE})")
    if value is not None:
        return _checked_key(value, KEY)
    raise SettingsError([NO_KEY])


def _key_in(file: str) -> str:
    try:
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(KEY_FILE_LIMIT)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        remedy = "name a file that holds the key and that this user may read"
        raise SettingsError([f"{KEY_FILE}={file} cannot be read: {reason}: {remedy}"]) from None


def _checked_key(value: str, source: str) -> Key:
    stripped = value.strip()
    if not stripped:
        raise SettingsError([f"{source} is empty: put the API key in it"])
    if not stripped.isprintable() or " " in stripped:
        raise SettingsError([f"{source} holds more than a key: one line, no spaces"])
    return Key(stripped, source)


def _from_flags(flags: Mapping[str, object]) -> dict[str, RawValue]:
    spelled = {"database_url": "--database"}
    return {
        name: RawValue(value, spelled.get(name, f"--{name}"))
        for name, value in flags.items()
        if value is not None
    }


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, RawValue]:
    said = {}
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or variable == CONFIG:
            continue
        if name in NAMES and variable == PREFIX + name.upper():
            said[name] = RawValue(environment[variable], variable)
        else:
            near = _nearest(name)
            hint = f": did you mean {PREFIX}{near.upper()}?" if near else ": unset it"
            problems.append(f"{variable} is no setting{hint}")
    return said


def _from_file(path: str, source: str, problems: list[str]) -> dict[str, RawValue]:
    import tomllib  # noqa: PLC0415 - most command lines name no file

    told = f"the settings file {path} ({source})"
    try:
        with Path(path).open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        problems.append(f"{told} cannot be read: {error.strerror}: name another, or none")
        return {}
    except (ValueError, RecursionError) as error:
        problems.append(f"{told} is not TOML: {error}: write it like config/worker.toml")
        return {}
    for name in sorted(table.keys() - set(NAMES)):
        near = _nearest(name)
        hint = f": did you mean {near}?" if near else ": take it out"
        problems.append(f"{name} in {path} is no setting{hint}")
    return {name: RawValue(value, path) for name, value in table.items() if name in NAMES}


def _nearest(name: str) -> str | None:
    import difflib  # noqa: PLC0415 - only who mistyped a name needs it

    return next(iter(difflib.get_close_matches(name, NAMES, n=1)), None)


def _value(name: str, said: RawValue) -> object:
    """The value in its type. Raises ValueError with what is wrong with it."""
    value: object = None
    try:
        value = _converted(said.value, get_type_hints(Settings)[name])
        check: Check = Settings.__dataclass_fields__[name].metadata["check"]
        fault = None if value is None else check(value)
    except ValueError as error:
        fault = str(error)
    if fault:
        shown = _without_secrets(str(said.value)) if name == "api_url" else said.value
        raise ValueError(f"{name} = {repr(shown)[:SHOWN]} ({said.source}): {fault}")
    return value


def _without_secrets(url: str) -> str:
    if "://" in url:
        return without_query(url)
    return re.split("[?#]", url, maxsplit=1)[0].rpartition("@")[2]


def _converted(value: object, wanted: object) -> object:
    if wanted in (str | None, int | None) and value == "":
        return None
    if wanted in (str, str | None):
        if isinstance(value, str) and value:
            return value
        raise ValueError("must be text")
    if wanted in (int, int | None):
        return _whole(value)
    return _number(value)


def _whole(value: object) -> int:
    try:
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return int(_bounded(int(value)))
    except ValueError:
        pass
    raise ValueError(f"must be a whole number below {ABSURD:,.0f}")


def _number(value: object) -> float:
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return _bounded(float(value))
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"must be a number below {ABSURD:,.0f}")


def _bounded(number: float) -> float:
    if abs(number) < ABSURD:
        return number
    raise ValueError(number)


def _contradictions(settings: Settings, sources: Mapping[str, str]) -> list[str]:
    """What no setting is guilty of alone."""

    def told(name: str) -> str:
        return f"{name} = {getattr(settings, name):g} ({sources[name]})"

    problems = []
    if settings.rate / settings.period_seconds > FASTEST_PER_SECOND:
        problems.append(
            f"{told('rate')} with {told('period_seconds')} is more than "
            f"{FASTEST_PER_SECOND:,} a second: lower rate"
        )
    if settings.connect_timeout_seconds > settings.timeout_seconds:
        problems.append(
            f"{told('connect_timeout_seconds')} is longer than {told('timeout_seconds')}: lower it"
        )
    return problems
