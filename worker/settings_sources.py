"""Read flags, environment and file into ``Settings``, or report every problem at once.

Knows neither network nor database.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

from worker.core.redact import without_query
from worker.settings import LOOPBACK, NAMES, SINKS, Check, Key, Settings

PREFIX = "WORKER_"
CONFIG = "WORKER_CONFIG"
KEY = "VALOSSA_API_KEY"
KEY_FILE = "VALOSSA_API_KEY_FILE"
PAGE_TOKEN = "WORKER_PAGE_TOKEN"  # noqa: S105 - the name of a variable
PAGE_TOKEN_FILE = "WORKER_PAGE_TOKEN_FILE"  # noqa: S105
SHORTEST_TOKEN = 16
"""Characters of a page's token; a shorter one can be guessed."""
KEY_FILE_LIMIT = 4096
FASTEST_PER_SECOND = 100_000
SHOWN = 200
"""Characters of a wrong value that are shown."""
ADDRESSES = frozenset({"api_url", "proxy", "callback_base_url", "default_callback_url"})
"""Settings that are shown without a password and a query."""
ABSURD = 1e9
"""Every number is below it: as seconds it is 31 years, which a calendar still has."""

NO_KEY = (
    f"no API key: set {KEY}, or {KEY_FILE} to a file that holds it "
    "(Valossa Portal, My Account > Subscriptions and API Keys)"
)

_QUOTES = "[\"'`\u2018-\u201f\xab\xbb]"
_NAME = r"(?i)^\W*(?:(?:export|set)\s+)?[\w-]*key[\w-]*\W{0,2}[=:]+\W*\w|^bearer\s"
_KEY_FAULTS = {
    "^\ufeff": "begins with a byte order mark (BOM): save it as UTF-8 without one",
    _NAME: "holds a name as well: write the key alone",
    f"^{_QUOTES}|{_QUOTES}$": "has quotes around the key: take them off",
    r"\s": "holds more than a key: one line, no spaces",
    "[^!-~]": "holds a character that no key has (U+{:04X}): copy the key anew",
}
"""Signs that a text is no bare key, in this order, each with the fault and the way out."""


class SettingsError(Exception):
    """The program cannot start; ``problems`` names each setting, its value, source and way out."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, the source of each, and a survey's problems. ``faulty`` ones have defaults."""

    settings: Settings
    sources: Mapping[str, str]
    problems: tuple[str, ...] = ()
    faulty: frozenset[str] = frozenset()

    @property
    def rate_source(self) -> str:
        """Return the sources of the rate and of its period."""
        both = dict.fromkeys(self.sources[name] for name in ("rate", "period_seconds"))
        return " and ".join(each for each in both if each != "default") or "default"


@dataclass(frozen=True, slots=True)
class RawValue:
    """A value as it was read, with the name of its source."""

    value: object
    source: str


def load(flags: Mapping[str, object], environment: Mapping[str, str], config: str | None) -> Loaded:
    """Return the settings from flags, then ``WORKER_*``, then the TOML file ``config`` (or the one
    that WORKER_CONFIG names), then defaults. Raises SettingsError with every problem.
    """
    loaded = survey(flags, environment, config)
    if loaded.problems:
        raise SettingsError(list(loaded.problems))
    return loaded


def survey(
    flags: Mapping[str, object], environment: Mapping[str, str], config: str | None
) -> Loaded:
    """Return the settings as ``load`` does, with the problems in place of an error, so that
    ``check`` can go on to the database and the API.
    """
    problems: list[str] = []
    path, source = (config, "--config") if config else (environment.get(CONFIG), CONFIG)
    layers = (
        _from_flags(flags),
        _from_environment(environment, problems),
        _from_file(path, source, problems) if path else {},
    )
    raw: dict[str, RawValue] = {}
    for layer in layers:
        raw |= {name: found for name, found in layer.items() if name not in raw}
    values, faulty = {}, set()
    for name, found in raw.items():
        try:
            values[name] = _value(name, found)
        except ValueError as error:
            problems.append(str(error))
            faulty.add(name)
    settings = Settings(**values)  # type: ignore[arg-type]
    sources = {name: raw[name].source if name in raw else "default" for name in NAMES}
    problems += (told for names, told in _contradictions(settings, sources) if not faulty & names)
    return Loaded(settings, sources, tuple(problems), frozenset(faulty))


def unused_proxy(settings: Settings, environment: Mapping[str, str]) -> str | None:
    """Return a sentence on a proxy of the environment that is not used; None if there is none."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        if environment.get(name) and not settings.proxy and settings.api_url.startswith("https:"):
            return (
                f'{name} is set, but not used: WORKER_PROXY="${name}" (the setting proxy) uses it'
            )
    return None


def read_key(environment: Mapping[str, str]) -> Key:
    """Return the API key from its variable or file. Raises SettingsError, which never shows it."""
    if (key := _secret(environment, KEY, KEY_FILE, "API key")) is None:
        raise SettingsError([NO_KEY])
    return key


def read_page_token(environment: Mapping[str, str], listen: str | None) -> Key | None:
    """Return the token of a page at ``listen``, None if none is set. Raises SettingsError."""
    token = _secret(environment, PAGE_TOKEN, PAGE_TOKEN_FILE, "token")
    if listen and token is None and listen.rpartition(":")[0].strip("[]") not in LOOPBACK:
        reached = f"listen = {listen} can be reached from other machines: set {PAGE_TOKEN_FILE}"
        raise SettingsError([f"{reached} or {PAGE_TOKEN}, or listen on 127.0.0.1"])
    if token and len(token.value) < SHORTEST_TOKEN:
        short = f"{token.source} is shorter than {SHORTEST_TOKEN} characters"
        raise SettingsError([f"{short}: make one with openssl rand -hex 16"])
    return token


def _secret(environment: Mapping[str, str], name: str, file_name: str, noun: str) -> Key | None:
    value, file = environment.get(name), environment.get(file_name)
    short = noun.removeprefix("API ")
    # 1. A file without a name. 2. Both at once. 3. The file. 4. The variable. 5. Neither.
    if file == "":
        problem = f"{file_name} is empty: name the file that holds the {short}, or unset it"
        raise SettingsError([problem])
    if value is not None and file is not None:
        raise SettingsError([f"{name} and {file_name} are both set: unset one of them"])
    if file is not None:
        return _checked(_held_in(file, file_name, short), f"the file {file} ({file_name})", noun)
    return None if value is None else _checked(value, name, noun)


def _held_in(file: str, name: str, noun: str) -> str:
    try:
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(KEY_FILE_LIMIT)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        remedy = f"name a file that holds the {noun} and that this user may read"
        raise SettingsError([f"{name}={file} cannot be read: {reason}: {remedy}"]) from None


def _checked(value: str, source: str, noun: str) -> Key:
    stripped = value.strip()
    if not stripped:
        raise SettingsError([f"{source} is empty: put the {noun} in it"])
    for sign, fault in _KEY_FAULTS.items():
        if found := re.search(sign, stripped):
            told = fault.format(ord(found[0][0])).replace("key", noun.removeprefix("API "))
            raise SettingsError([f"{source} {told}"])
    return Key(stripped, source)


def _from_flags(flags: Mapping[str, object]) -> dict[str, RawValue]:
    return {
        name: RawValue(value, "--database" if name == "database_url" else f"--{name}")
        for name, value in flags.items()
        if value is not None
    }


def _from_environment(environment: Mapping[str, str], problems: list[str]) -> dict[str, RawValue]:
    known = {PREFIX + name.upper(): name for name in NAMES}
    named = {name for name in environment if name.startswith(PREFIX)}
    ours = sorted(named - {CONFIG, PAGE_TOKEN, PAGE_TOKEN_FILE})
    for variable in ours:
        if variable not in known:
            near = _nearest(variable.removeprefix(PREFIX).lower())
            hint = f": did you mean {PREFIX}{near.upper()}?" if near else ": unset it"
            problems.append(f"{variable} is no setting{hint}")
    return {known[v]: RawValue(environment[v], v) for v in ours if v in known}


def _from_file(path: str, source: str, problems: list[str]) -> dict[str, RawValue]:
    import tomllib  # noqa: PLC0415 - most command lines name no file

    file = f"the settings file {path} ({source})"
    try:
        table = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}: name another, or none")
        return {}
    except (ValueError, RecursionError) as error:
        problems.append(f"{file} is not TOML: {error}: write it like config/worker.toml")
        return {}
    for name in sorted(table.keys() - set(NAMES)):
        near = _nearest(name)
        hint = f": did you mean {near}?" if near else ": take it out"
        problems.append(f"{name} in {path} is no setting{hint}")
    return {name: RawValue(value, path) for name, value in table.items() if name in NAMES}


def _nearest(name: str) -> str | None:
    import difflib  # noqa: PLC0415 - only who mistyped a name needs it

    return next(iter(difflib.get_close_matches(name, NAMES, n=1)), None)


def _value(name: str, raw: RawValue) -> object:
    """Return the value in its type. Raises ValueError with the fault and the source."""
    value: object = None
    try:
        value = _converted(raw.value, get_type_hints(Settings)[name])
        check: Check = Settings.__dataclass_fields__[name].metadata["check"]
        fault = None if value is None else check(value)
    except ValueError as error:
        fault = str(error)
    if fault:
        shown = _without_secrets(str(raw.value)) if name in ADDRESSES else raw.value
        listed = isinstance(raw.value, list | dict)
        if name in SINKS or (listed and name in {"database_url", *ADDRESSES}):
            shown = "…"  # which may hold a secret
        raise ValueError(f"{name} = {repr(shown)[:SHOWN]} ({raw.source}): {fault}")
    return value


def _without_secrets(url: str) -> str:
    if "://" in url:
        return without_query(url)
    return re.split("[?#]", url, maxsplit=1)[0].rpartition("@")[2]


def _converted(value: object, wanted: object) -> object:
    # 1. An empty text unsets what may be absent. 2. Text. 3. A whole number. 4. Any number.
    if wanted in (str | None, int | None, float | None) and value == "":
        return None
    if wanted in (str, str | None):
        if isinstance(value, str) and value:
            return value
        raise ValueError("must be text")
    return _number(value, int if wanted in (int, int | None) else float)


def _number(value: object, kind: type[int] | type[float]) -> float:
    readable = str | int if kind is int else str | int | float
    with suppress(ValueError, OverflowError):
        if isinstance(value, readable) and not isinstance(value, bool):
            number = kind(value)
            if abs(number) < ABSURD:
                return number
    raise ValueError(f"must be a {'whole ' if kind is int else ''}number below {ABSURD:,.0f}")


def _contradictions(
    settings: Settings, sources: Mapping[str, str]
) -> Iterator[tuple[set[str], str]]:
    """Yield what is wrong with settings that are right one by one, with the names of these."""

    def text(name: str) -> str:
        value = getattr(settings, name)
        return f"{name} = {value if isinstance(value, str) else f'{value:g}'} ({sources[name]})"

    if settings.rate / settings.period_seconds > FASTEST_PER_SECOND:
        both = f"{text('rate')} with {text('period_seconds')}"
        told = f"{both} is more than {FASTEST_PER_SECOND:,} a second: lower rate"
        yield {"rate", "period_seconds"}, told
    if settings.connect_timeout_seconds > settings.timeout_seconds:
        told = f"{text('connect_timeout_seconds')} is longer than {text('timeout_seconds')}"
        yield {"connect_timeout_seconds", "timeout_seconds"}, f"{told}: lower it"
    if settings.follow == "results" and settings.results_dir is None:
        yield {"follow", "results_dir"}, f"{text('follow')} needs a folder: set results_dir"
    needs = "needs jobs that are followed: take out"
    for name in ("max_in_progress", "callback_base_url"):
        if settings.follow == "off" and getattr(settings, name) is not None:
            yield {"follow", name}, f"{text(name)} {needs} {text('follow')}"
