import dataclasses
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.decide import Policy
from worker.core.request import Defaults
from worker.core.results import ENDINGS
from worker.settings import NAMES, Key, Settings, help_of
from worker.settings_sources import (
    NO_KEY,
    Loaded,
    SettingsError,
    load,
    read_key,
    survey,
    unused_proxy,
)

SECRET = "sk-0123456789abcdef"
ANOTHER_FILE = "name a file that holds the key and that this user may read"
CHECKOUT = Path(__file__).parent.parent


def toml(folder: Path, text: str) -> str:
    """Write a settings file and return its path."""
    file = folder / "worker.toml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def from_environment(**variables: str) -> Loaded:
    """Return the settings that ``WORKER_*`` variables alone make."""
    return load({}, {f"WORKER_{name.upper()}": value for name, value in variables.items()}, None)


def problems_of(
    flags: Mapping[str, object], environment: Mapping[str, str], config: str | None
) -> list[str]:
    """Return the problems of these sources."""
    with pytest.raises(SettingsError) as caught:
        load(flags, environment, config)
    return caught.value.problems


def problems(**variables: str) -> list[str]:
    """Return the problems of ``WORKER_*`` variables."""
    return problems_of({}, {f"WORKER_{name.upper()}": v for name, v in variables.items()}, None)


def test_nothing_said_is_the_contract() -> None:
    """Without any source, every setting has its documented default."""
    expected = Settings(
        database_url="sqlite:///videos.db",
        api_url="https://api-eu.valossa.com/core/1.0",
        proxy=None,
        rate=1,
        period_seconds=1.0,
        max_per_day=None,
        max_total=None,
        concurrency=8,
        connect_timeout_seconds=10,
        timeout_seconds=60,
        max_attempts=8,
        backoff_base_seconds=15,
        backoff_max_seconds=900,
        retry_after_max_seconds=3600,
        poll_seconds=0.1,
        grace_seconds=None,
        url_margin_seconds=21600,
        on_doubt="reconcile",
        doubt_settle_seconds=300,
        default_language=None,
        default_callback_url=None,
        default_email_group=None,
        price_per_video=None,
        currency="EUR",
        drain_every_seconds=None,
        listen=None,
        listen_hosts=None,
        log_level="info",
        log_format="auto",
        progress="auto",
        notify_command=None,
        notify_url=None,
        ping_url=None,
    )
    loaded = load({}, {}, None)
    assert expected == loaded.settings
    assert dict.fromkeys(NAMES, "default") == loaded.sources
    assert (65, 7) == (expected.grace, Settings(timeout_seconds=2).grace)
    assert 0 == Settings(grace_seconds=0).grace


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    """Flag, environment, file and default win in that order, and each value names its source."""
    config = toml(tmp_path, 'rate = 2\nconcurrency = 2\nmax_attempts = 2\ndatabase_url = "f.db"')
    environment = {"WORKER_RATE": "3", "WORKER_CONCURRENCY": "3", "WORKER_CONFIG": config}
    flags = {"rate": 4, "concurrency": None, "database_url": "flag.db"}
    loaded = load(flags, environment, None)
    names = ("rate", "concurrency", "max_attempts", "database_url", "timeout_seconds")
    assert {
        "rate": (4, "--rate"),
        "concurrency": (3, "WORKER_CONCURRENCY"),
        "max_attempts": (2, config),
        "database_url": ("flag.db", "--database"),
        "timeout_seconds": (60.0, "default"),
    } == {name: (getattr(loaded.settings, name), loaded.sources[name]) for name in names}


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """An editor of Windows writes one, and ends lines in its own way."""
    file = tmp_path / "worker.toml"
    file.write_bytes(b"\xef\xbb\xbfrate = 2\r\nconcurrency = 3\r\n")
    loaded = load({}, {}, str(file)).settings
    assert (2, 3) == (loaded.rate, loaded.concurrency)


def test_the_named_file_beats_that_of_the_environment(tmp_path: Path) -> None:
    """``--config`` is not outvoted by WORKER_CONFIG, and an empty WORKER_CONFIG names no file."""
    (tmp_path / "other").mkdir()
    ours, theirs = toml(tmp_path, "rate = 2"), toml(tmp_path / "other", "rate = 3")
    assert 2 == load({}, {"WORKER_CONFIG": theirs}, ours).settings.rate
    assert 3 == load({}, {"WORKER_CONFIG": theirs}, None).settings.rate
    assert 1 == load({}, {"WORKER_CONFIG": ""}, None).settings.rate


VALUES: dict[str, tuple[str, object]] = {
    "database_url": ("/srv/queue.db", "/srv/queue.db"),
    "api_url": ("http://127.0.0.1:8765/core/1.0", "http://127.0.0.1:8765/core/1.0"),
    "proxy": ("http://me:pw@proxy.example:3128", "http://me:pw@proxy.example:3128"),
    "rate": ("50", 50),
    "period_seconds": ("0.5", 0.5),
    "max_per_day": ("100", 100),
    "max_total": ("", None),
    "concurrency": ("1", 1),
    "connect_timeout_seconds": ("1.5", 1.5),
    "timeout_seconds": ("30", 30.0),
    "max_attempts": ("1", 1),
    "backoff_base_seconds": ("0", 0.0),
    "backoff_max_seconds": ("1e3", 1000.0),
    "retry_after_max_seconds": ("0", 0.0),
    "poll_seconds": ("0.01", 0.01),
    "grace_seconds": ("0", 0.0),
    "url_margin_seconds": ("0", 0.0),
    "on_doubt": ("retry", "retry"),
    "doubt_settle_seconds": ("1", 1.0),
    "keep_days": ("90", 90),
    "follow": ("status", "status"),
    "results_dir": ("/srv/results", "/srv/results"),
    "results_types": ("core, visual_captions", "core, visual_captions"),
    "max_in_progress": ("500", 500),
    "callback_base_url": ("https://queue.example.com", "https://queue.example.com"),
    "default_language": ("fi-FI", "fi-FI"),
    "default_callback_url": ("http://me:word@h:1/a?b#c", "http://me:word@h:1/a?b#c"),
    "default_email_group": ("team", "team"),
    "upload_roots": ("/srv/media:/mnt/talks/", "/srv/media:/mnt/talks/"),
    "uploads": ("1", 1),
    "upload_bytes_per_second": ("1000", 1_000),
    "price_per_video": ("1.5", 1.5),
    "currency": ("USD", "USD"),
    "drain_every_seconds": ("", None),
    "listen": ("[::1]:8787", "[::1]:8787"),
    "listen_hosts": ("", None),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "progress": ("lines", "lines"),
    "notify_command": ("mail -s 'the queue' me", "mail -s 'the queue' me"),
    "notify_url": ("https://hooks.example.com/a?b=c", "https://hooks.example.com/a?b=c"),
    "ping_url": ("http://127.0.0.1:8000/ping/x", "http://127.0.0.1:8000/ping/x"),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_has_a_variable_and_a_line_of_help(name: str) -> None:
    """Every setting has a variable and a line of help."""
    text, value = VALUES[name]
    loaded = from_environment(**{name: text})
    assert (value, f"WORKER_{name.upper()}") == (
        getattr(loaded.settings, name),
        loaded.sources[name],
    )
    assert help_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_takes_every_setting_in_its_own_type(tmp_path: Path, name: str) -> None:
    """TOML's numbers and texts are taken as they are."""
    value = VALUES[name][1]
    spelled = "" if value is None else value
    shown = f'"{spelled}"' if isinstance(spelled, str) else str(spelled)
    assert value == getattr(
        load({}, {}, toml(tmp_path, f"{name} = {shown}")).settings,
        name,
    )


def test_the_file_that_shows_every_setting_shows_the_defaults(tmp_path: Path) -> None:
    """config/worker.toml with its # removed is equal to the defaults."""
    lines = (CHECKOUT / "config" / "worker.toml").read_text(encoding="utf-8").splitlines()
    shown = [line.removeprefix("# ") for line in lines if line.startswith("# ") and " = " in line]
    values = [line for line in shown if line.split(" = ")[0] in NAMES]
    assert list(NAMES) == [line.split(" = ")[0] for line in values]
    expected = dataclasses.replace(Settings(), grace_seconds=65.0)
    assert expected == load({}, {}, toml(tmp_path, "\n".join(values))).settings


LINK = "must be an address like https://hooks.example.com/queue, without user and password"
FOLLOW = "must be one of off, status, results"
CALLBACK = "must be an address like https://hooks.example.com/queue"
NO_CALLBACKS = (
    *("queue.example.com/hook", "/hook", "ftp://queue.example.com", "https:///hook"),
    *("https://q.example:99999/hook", "https://q.example/a hook"),
)
BASE = "must have no query (?) and no fragment (#), since it is continued: take that off"
WHOLE = "must be a whole number below 1,000,000,000"
ROOTS = "must be whole paths of folders, such as /srv/media"
NUMBER = "must be a number below 1,000,000,000"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("rate", "0", "must be 1 or more"),
        ("rate", "-5", "must be 1 or more"),
        ("rate", "1.5", WHOLE),
        ("rate", "", WHOLE),
        ("rate", "many", WHOLE),
        ("rate", "1000000000", WHOLE),
        ("rate", "1" + 400 * "0", WHOLE),
        ("max_attempts", "0", "must be 1 or more"),
        ("concurrency", "0", "must be 1 or more"),
        ("max_per_day", "0", "must be 1 or more"),
        ("max_total", "0", "must be 1 or more"),
        ("max_total", "many", WHOLE),
        ("max_per_day", "1.5", WHOLE),
        ("period_seconds", "0", "must be 0.01 or more"),
        ("period_seconds", "nan", NUMBER),
        ("timeout_seconds", "0", "must be above 0"),
        ("timeout_seconds", "inf", NUMBER),
        ("timeout_seconds", "-inf", NUMBER),
        ("timeout_seconds", "1e400", NUMBER),
        ("url_margin_seconds", "1e9", NUMBER),
        ("grace_seconds", "-1", "must be 0 or more"),
        ("poll_seconds", "soon", NUMBER),
        ("on_doubt", "guess", "must be one of reconcile, hold, retry"),
        ("follow", "on", FOLLOW),
        (
            "results_types",
            "core,faces",
            f"must be some of {', '.join(ENDINGS)}, separated by commas",
        ),
        ("max_in_progress", "0", "must be 1 or more"),
        ("callback_base_url", "queue.example.com", LINK),
        *(("default_callback_url", value, CALLBACK) for value in NO_CALLBACKS),
        ("listen", "127.0.0.1:65536", "must be like 127.0.0.1:8787 or [::1]:8787"),
        ("listen", "127.0.0.1", "must be like 127.0.0.1:8787 or [::1]:8787"),
        *(
            ("upload_roots", value, f"{ROOTS}: {root!r} is none")
            for value, root in (("media", "media"), ("/a:", ""), ("/", "/"), ("/a/../b", "/a/../b"))
        ),
        ("uploads", "0", "must be 1 or more"),
        ("upload_bytes_per_second", "999", "must be 1000 or more"),
        ("log_level", "INFO", "must be one of debug, info, warning, error"),
        ("log_format", "xml", "must be one of auto, console, json"),
        ("database_url", "", "must be text"),
        ("api_url", "", "must be text"),
    ],
)
def test_a_wrong_value_is_named_with_its_source_and_the_way_out(
    name: str, value: str, fault: str
) -> None:
    """A wrong value is reported with its setting, its source and the values allowed."""
    shown = repr(value)[:200]
    variable = f"WORKER_{name.upper()}"
    assert [f"{name} = {shown} ({variable}): {fault}"] == problems(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("notify_url", "hooks.example.com/s3cr3t", LINK),
        ("notify_url", "ftp://hooks.example.com/s3cr3t", LINK),
        ("notify_url", "https:///s3cr3t", LINK),
        ("ping_url", "https://ping.example.com/s3cr3t uuid", LINK),
        ("ping_url", "https://ping.example.com/?s3cr3t", BASE),
        ("ping_url", "https://ping.example.com/s3cr3t#", BASE),
        ("notify_command", "mail -s 'no end", "cannot be split into words (No closing quotation)"),
        ("notify_command", " ", "must name a program"),
    ],
)
def test_a_wrong_sink_is_named_without_its_value(name: str, value: str, fault: str) -> None:
    """A wrong command or address is reported, but not shown: it may hold a secret of its own."""
    (problem,) = problems(**{name: value})
    assert problem.startswith(f"{name} = '…' (WORKER_{name.upper()}): {fault}")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rate = true", f"rate = True ({{file}}): {WHOLE}"),
        ("timeout_seconds = false", f"timeout_seconds = False ({{file}}): {NUMBER}"),
        ("rate = 1.0", f"rate = 1.0 ({{file}}): {WHOLE}"),
        ("rate = [1]", f"rate = [1] ({{file}}): {WHOLE}"),
        ("timeout_seconds = nan", f"timeout_seconds = nan ({{file}}): {NUMBER}"),
        ("timeout_seconds = inf", f"timeout_seconds = inf ({{file}}): {NUMBER}"),
        ("poll_seconds = [1]", f"poll_seconds = [1] ({{file}}): {NUMBER}"),
        (f"poll_seconds = 1{400 * '0'}", f"poll_seconds = 1{199 * '0'} ({{file}}): {NUMBER}"),
        ("database_url = 5", "database_url = 5 ({file}): must be text"),
        ('database_url = ["a://u:PW@h"]', "database_url = '…' ({file}): must be text"),
        ('database_url = {a = "a://u:PW@h"}', "database_url = '…' ({file}): must be text"),
        ("default_language = 5", "default_language = 5 ({file}): must be text"),
        ("api_url = true", "api_url = 'True' ({file}): must be text"),
        ("pace = 5", "pace in {file} is no setting: take it out"),
        ("time_out_seconds = 5", "time_out_seconds in {file} is no setting: did you mean {t}?"),
        ("[worker]\nrate = 5", "worker in {file} is no setting: take it out"),
    ],
)
def test_a_file_is_held_to_the_same(tmp_path: Path, line: str, problem: str) -> None:
    """A boolean is no number, TOML's nan is none either, and no unknown name is passed over."""
    file = toml(tmp_path, line)
    expected = problem.format(file=file, t="timeout_seconds")
    assert [expected] == problems_of({}, {}, file)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """One start reports every problem, in a fixed order."""
    file = toml(tmp_path, 'log_level = "loud"\nbatch = 1\napi = "x"\nconcurency = 4')
    environment = {"WORKER_RATE": "0", "WORKER_RAET": "1", "WORKER_POLL_SECONDS": "x"}
    assert [
        "WORKER_RAET is no setting: did you mean WORKER_RATE?",
        f"api in {file} is no setting: did you mean api_url?",
        f"batch in {file} is no setting: take it out",
        f"concurency in {file} is no setting: did you mean concurrency?",
        "concurrency = 0 (--concurrency): must be 1 or more",
        f"poll_seconds = 'x' (WORKER_POLL_SECONDS): {NUMBER}",
        "rate = '0' (WORKER_RATE): must be 1 or more",
        f"log_level = 'loud' ({file}): must be one of debug, info, warning, error",
    ] == problems_of({"concurrency": 0}, environment, file)


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("WORKER_rate", "did you mean WORKER_RATE?"),
        ("WORKER_TIMEOUT", "did you mean WORKER_TIMEOUT_SECONDS?"),
        ("WORKER_DATABASE", "did you mean WORKER_DATABASE_URL?"),
        ("WORKER_API_KEY", "unset it"),
        ("WORKER_", "unset it"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest(variable: str, hint: str) -> None:
    """A mistyped variable is never silently without effect, and what it holds is not shown."""
    assert [f"{variable} is no setting: {hint}"] == problems_of({}, {variable: SECRET}, None)


def test_other_variables_are_none_of_our_business() -> None:
    """A program's surroundings may hold anything that does not begin with WORKER_."""
    assert Settings() == load({}, {"PATH": "/bin", "MY_WORKER_RATE": "0"}, None).settings


LONGER = "is longer than"
TOO_FAST = "is more than 100,000 a second: lower rate"


def test_two_settings_that_contradict_each_other_are_both_named(tmp_path: Path) -> None:
    """Two settings that contradict each other are both named with their sources."""
    at = toml(tmp_path, "period_seconds = 0.01\ntimeout_seconds = 5")
    assert [
        f"rate = 5000 (WORKER_RATE) with period_seconds = 0.01 ({at}) {TOO_FAST}",
        f"connect_timeout_seconds = 10 (default) {LONGER} timeout_seconds = 5 ({at}): lower it",
    ] == problems_of({}, {"WORKER_RATE": "5000"}, at)


def test_a_contradiction_is_named_beside_a_wrong_value(tmp_path: Path) -> None:
    """A wrong value hides the contradictions of its own setting alone."""
    at = toml(tmp_path, "rate = 200000\nperiod_seconds = 0\nfollow = 'off'\nmax_in_progress = 5")
    assert [
        f"period_seconds = 0 ({at}): must be 0.01 or more",
        f"max_in_progress = 5 ({at}) needs jobs that are followed: take out follow = off ({at})",
    ] == problems_of({}, {}, at)
    at = toml(tmp_path, "follow = 'results'\nresults_dir = 5")
    assert [f"results_dir = 5 ({at}): must be text"] == problems_of({}, {}, at)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"follow": "results"}, "follow = results (WORKER_FOLLOW) needs a folder: set results_dir"),
        (
            {"follow": "off", "max_in_progress": "9"},
            "max_in_progress = 9 (WORKER_MAX_IN_PROGRESS) {o}",
        ),
        (
            {"follow": "off", "callback_base_url": "https://q.example"},
            "callback_base_url = https://q.example (WORKER_CALLBACK_BASE_URL) {o}",
        ),
    ],
)
def test_what_needs_jobs_to_be_followed_is_not_set_in_vain(
    given: dict[str, str], problem: str
) -> None:
    """A cap of jobs and a callback need jobs that are followed, and results need a folder."""
    off = "needs jobs that are followed: take out follow = off (WORKER_FOLLOW)"
    assert [problem.format(o=off)] == problems(**given)


@pytest.mark.parametrize(
    "url",
    [
        "https://api-eu.valossa.com/core/1.0",
        "https://127.0.0.1/core",
        "http://127.0.0.1:8765/core/1.0",
        "http://localhost/core",
        "HTTP://LOCALHOST/core",
        "http://[::1]:8765/core",
    ],
)
def test_an_address_is_https_or_on_this_machine(url: str) -> None:
    """Only a server on this machine may be used without TLS."""
    assert url == from_environment(api_url=url).settings.api_url


LIKE = "must be an address like https://api-eu.valossa.com/core/1.0"
WRITE = "write it like https://api-eu.valossa.com/core/1.0"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("proxy.example:3128", "proxy.example:3128"),
        (f"me:{SECRET}@proxy.example:3128", "proxy.example:3128"),
        (f"socks5://me:{SECRET}@proxy.example", "socks5://proxy.example"),
        (f"http://me:{SECRET}@proxy.example:99999", "http://proxy.example:99999"),
        (f"http://me:{SECRET}@proxy.example/x", "http://proxy.example/x"),
        (f"http://proxy.example?{SECRET}", "http://proxy.example?…"),
        (f"http://me:{SECRET}@", "http://"),
    ],
)
def test_a_proxy_that_is_none_is_refused_without_its_password(value: str, shown: str) -> None:
    """A wrong proxy is named with the form that it must have, and its password is not shown."""
    with pytest.raises(SettingsError) as caught:
        load({}, {"WORKER_PROXY": value}, None)
    (problem,) = caught.value.problems
    assert problem.startswith(f"proxy = '{shown}' (WORKER_PROXY): must be an address like http://")
    assert SECRET not in problem


@pytest.mark.parametrize(
    ("value", "shown", "fault"),
    [
        (f"https://me:{SECRET}@queue.example/", "https://queue.example/", LINK),
        (f"https://queue.example/q?tok={SECRET}", "https://queue.example/q?…", BASE),
        (f"https://queue.example/q#{SECRET}", "https://queue.example/q", BASE),
    ],
)
def test_a_base_that_is_none_is_refused_without_its_secrets(
    value: str, shown: str, fault: str
) -> None:
    """A wrong callback_base_url is named, but no password and no query that made it wrong."""
    told = f"callback_base_url = {shown!r} (WORKER_CALLBACK_BASE_URL): {fault}"
    assert [told] == problems(callback_base_url=value)


@pytest.mark.parametrize("name", ["api_url", "callback_base_url", "default_callback_url", "proxy"])
def test_a_list_in_the_place_of_an_address_is_not_shown(tmp_path: Path, name: str) -> None:
    """A list of addresses may hold passwords, which nothing takes out."""
    file = toml(tmp_path, f'{name} = ["https://me:{SECRET}@a.example/?s={SECRET}"]')
    assert [f"{name} = '…' ({file}): must be text"] == problems_of({}, {}, file)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_not_used_in_silence(name: str) -> None:
    """A proxy that other programs use is named with the setting that uses it here."""
    environment = {name: f"http://me:{SECRET}@proxy.example:3128"}
    told = f'{name} is set, but not used: WORKER_PROXY="${name}" (the setting proxy) uses it'
    assert told == unused_proxy(Settings(), environment)
    assert None is unused_proxy(Settings(proxy="http://proxy.example:3128"), environment)
    assert None is unused_proxy(Settings(api_url="http://127.0.0.1:1"), environment)
    assert None is unused_proxy(Settings(), {})


CLEAR = "would send the key in the clear: write https://"


@pytest.mark.parametrize(
    ("url", "shown", "fault"),
    [
        ("http://api-eu.valossa.com/core", "http://api-eu.valossa.com/core", CLEAR),
        ("http://127.0.0.1.example.com/", "http://127.0.0.1.example.com/", CLEAR),
        ("http://localhost.example.com/", "http://localhost.example.com/", CLEAR),
        ("ftp://127.0.0.1/", "ftp://127.0.0.1/", "must begin with https://"),
        ("api-eu.valossa.com/core", "api-eu.valossa.com/core", LIKE),
        (f"{SECRET}@a.example/core?k={SECRET}#{SECRET}", "a.example/core", LIKE),
        ("https://", "https://", LIKE),
        ("https:///core", "https:///core", LIKE),
        ("https://a.example/core#part", "https://a.example/core", LIKE),
        (f"https://a.example/?api_key={SECRET}", "https://a.example/?…", LIKE),
        (f"https://{SECRET}@a.example/core", "https://a.example/core", LIKE),
        (f"http://127.0.0.1:{SECRET}@a.example/core", "http://a.example/core", LIKE),
        (
            "https://a.example:99999/core",
            "https://a.example:99999/core",
            f"cannot be read (Port out of range 0-65535): {WRITE}",
        ),
        (
            "https://[a.example/core",
            "[unreadable URL]",
            f"cannot be read (Invalid IPv6 URL): {WRITE}",
        ),
    ],
)
def test_an_address_that_would_leak_the_key_is_refused(url: str, shown: str, fault: str) -> None:
    """No key goes over a network in the clear, nor is one that was put in the address shown."""
    assert [f"api_url = {shown!r} (WORKER_API_URL): {fault}"] == problems(api_url=url)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"rate = ", "Invalid value (at end of document)"),
        (b'log_level = "\xff"', "'utf-8' codec can't decode byte 0xff in position 13"),
        (b"rate = " + 5000 * b"[" + 5000 * b"]", "maximum recursion depth exceeded"),
        (b"rate = 1" + 5000 * b"0", "Exceeds the limit"),
    ],
)
def test_what_is_not_toml_is_one_problem(tmp_path: Path, content: bytes, reason: str) -> None:
    """Whatever stands in the file, the answer is a sentence with its path, and no traceback."""
    file = tmp_path / "worker.toml"
    file.write_bytes(content)
    expected = f"the settings file {file} (--config) is not TOML: {reason}"
    (told,) = problems_of({}, {}, str(file))
    assert expected == told[: len(expected)]


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_one_problem(tmp_path: Path, name: str, reason: str) -> None:
    """A named file that is missing is a problem."""
    file = os.path.normpath(tmp_path / name)
    what = f"cannot be read: {reason}: name another, or none"
    assert [f"the settings file {file} (--config) {what}"] == problems_of({}, {}, file)
    told = problems_of({}, {"WORKER_CONFIG": file}, None)
    assert [f"the settings file {file} (WORKER_CONFIG) {what}"] == told


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=20)))
def test_whatever_the_environment_says_ends_in_settings_or_problems(said: dict[str, str]) -> None:
    """No value of a variable makes a traceback, and each wrong one is named."""
    environment = {f"WORKER_{name.upper()}": value for name, value in said.items()}
    found = survey({}, environment, None)
    assert set(said) == {name for name in NAMES if found.sources[name] != "default"}
    named = {problem.split(" = ")[0] for problem in found.problems}
    assert found.faulty == found.faulty & named & set(said)


def test_a_survey_goes_on_with_what_is_right() -> None:
    """``check`` can look at the rest although one setting is wrong; the wrong one is marked."""
    found = survey({}, {"WORKER_RATE": "x", "WORKER_CONCURRENCY": "3"}, None)
    assert (1, 3) == (found.settings.rate, found.settings.concurrency)
    assert (f"rate = 'x' (WORKER_RATE): {WHOLE}",) == found.problems
    assert frozenset({"rate"}) == found.faulty
    assert "WORKER_RATE" == found.sources["rate"]


# The key


BOM = "begins with a byte order mark (BOM): save it as UTF-8 without one"
NO_SUCH = "holds a character that no key has"


@pytest.mark.parametrize(
    "key",
    ["demo-key", "a8Sd7Fk3==", "key", "k:e=y", "a.b_c~d/e+f", "0", "monkey", "my-key-==", "export"],
)
def test_a_bare_key_is_a_key(key: str) -> None:
    """A key that stands alone in a line is taken, whatever signs of ASCII it holds."""
    assert key == read_key({"VALOSSA_API_KEY": key}).value


def key_file(folder: Path, content: bytes) -> str:
    """Write a file for VALOSSA_API_KEY_FILE and return its path."""
    file = folder / "key"
    file.write_bytes(content)
    return str(file)


def test_the_key_comes_from_its_variable() -> None:
    """The one variable holds it; a line end that slipped in is no part of it."""
    assert Key(SECRET, "VALOSSA_API_KEY") == read_key({"VALOSSA_API_KEY": f" {SECRET}\n"})


def test_the_key_comes_from_the_file_that_is_named(tmp_path: Path) -> None:
    """As secrets of containers and systemd arrive, with the line end that editors add."""
    file = key_file(tmp_path, f"{SECRET}\r\n".encode())
    expected = Key(SECRET, f"the file {file} (VALOSSA_API_KEY_FILE)")
    assert expected == read_key({"VALOSSA_API_KEY_FILE": file})


def test_no_text_of_a_key_shows_it() -> None:
    """Law 11: no text form of a key shows it."""
    key = Key(SECRET, "VALOSSA_API_KEY")
    texts = [repr(key), str(key), f"{key}", f"{key!r}", repr([key]), repr({"key": key})]
    assert [] == [text for text in texts if SECRET in text]
    assert "Key(source='VALOSSA_API_KEY')" == repr(key)


def test_no_key_says_how_to_give_one() -> None:
    """The first start without a key ends with both ways to name one, and where it is found."""
    with pytest.raises(SettingsError) as caught:
        read_key({})
    assert [NO_KEY] == caught.value.problems
    expected = ["VALOSSA_API_KEY", "VALOSSA_API_KEY_FILE", "Valossa Portal"]
    assert expected == [word for word in expected if word in NO_KEY]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "VALOSSA_API_KEY is empty: put the API key in it"),
        (" \n", "VALOSSA_API_KEY is empty: put the API key in it"),
        (f"{SECRET} x", "VALOSSA_API_KEY holds more than a key: one line, no spaces"),
        (f"{SECRET}\nmore", "VALOSSA_API_KEY holds more than a key: one line, no spaces"),
        (
            f"{SECRET[:4]}\u00a0{SECRET[4:]}",
            "VALOSSA_API_KEY holds more than a key: one line, no spaces",
        ),
        (f"{SECRET}\u2028more", "VALOSSA_API_KEY holds more than a key: one line, no spaces"),
        (f"{SECRET}\x1b[2J", f"VALOSSA_API_KEY {NO_SUCH} (U+001B): copy the key anew"),
        (f"{SECRET}\udcff", f"VALOSSA_API_KEY {NO_SUCH} (U+DCFF): copy the key anew"),
        (
            f"{SECRET[:4]}\u200b{SECRET[4:]}",
            f"VALOSSA_API_KEY {NO_SUCH} (U+200B): copy the key anew",
        ),
        (f"\ufeff{SECRET}", f"VALOSSA_API_KEY {BOM}"),
        *(
            (f"{before}{SECRET}{after}", "VALOSSA_API_KEY has quotes around the key: take them off")
            for before, after in (
                '""',
                "''",
                "``",
                "\u201c\u201d",
                "\u2018\u2019",
                "\xab\xbb",
                ('"', ""),
                ("", "'"),
            )
        ),
        *(
            (f"{before}{SECRET}", "VALOSSA_API_KEY holds a name as well: write the key alone")
            for before in (
                "api_key=",
                "api_key = ",
                "api_key: ",
                "API-KEY:",
                "apiKey=",
                "key=",
                'api_key="',
                "VALOSSA_API_KEY=",
                "export VALOSSA_API_KEY=",
                "set VALOSSA_API_KEY=",
                "Bearer ",
                '{"api_key": "',
                "X-API-Key: ",
                "?api_key=",
            )
        ),
    ],
)
def test_what_is_no_key_is_refused_unseen(value: str, problem: str) -> None:
    """A wrong paste is refused before a request carries it, and it is not repeated on a screen."""
    with pytest.raises(SettingsError) as caught:
        read_key({"VALOSSA_API_KEY": value})
    assert [problem] == caught.value.problems


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file {file} (VALOSSA_API_KEY_FILE) is empty: put the API key in it"),
        (
            b"\xff\xfe",
            f"VALOSSA_API_KEY_FILE={{file}} cannot be read: it is not UTF-8 text: {ANOTHER_FILE}",
        ),
        (
            b"key=" + SECRET.encode() + b"\nother=1\n",
            "the file {file} (VALOSSA_API_KEY_FILE) holds a name as well: write the key alone",
        ),
        (
            b"\xef\xbb\xbf" + SECRET.encode() + b"\r\n",
            f"the file {{file}} (VALOSSA_API_KEY_FILE) {BOM}",
        ),
        (
            f'"{SECRET}"\n'.encode(),
            "the file {file} (VALOSSA_API_KEY_FILE) has quotes around the key: take them off",
        ),
    ],
)
def test_a_file_that_holds_no_key_is_refused_unseen(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    """A wrong file is named, and nothing of what it holds is shown."""
    file = key_file(tmp_path, content)
    with pytest.raises(SettingsError) as caught:
        read_key({"VALOSSA_API_KEY_FILE": file})
    assert [problem.format(file=file)] == caught.value.problems


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")]
)
def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, reason: str) -> None:
    """An unreadable key file is reported with its path."""
    file = os.path.normpath(tmp_path / name)
    with pytest.raises(SettingsError) as caught:
        read_key({"VALOSSA_API_KEY_FILE": file})
    expected = f"VALOSSA_API_KEY_FILE={file} cannot be read: {reason}: {ANOTHER_FILE}"
    assert [expected] == caught.value.problems


def test_a_key_file_without_a_name_is_told_as_such() -> None:
    """An emptied variable is reported as a missing name."""
    with pytest.raises(SettingsError) as caught:
        read_key({"VALOSSA_API_KEY_FILE": ""})
    expected = "VALOSSA_API_KEY_FILE is empty: name the file that holds the key, or unset it"
    assert [expected] == caught.value.problems


def test_two_sources_of_a_key_are_one_too_many(tmp_path: Path) -> None:
    """Two sources of a key at once are refused."""
    file = key_file(tmp_path, SECRET.encode())
    with pytest.raises(SettingsError) as caught:
        read_key({"VALOSSA_API_KEY": SECRET, "VALOSSA_API_KEY_FILE": file})
    expected = ["VALOSSA_API_KEY and VALOSSA_API_KEY_FILE are both set: unset one of them"]
    assert expected == caught.value.problems


def test_a_run_reads_its_policy_and_defaults_from_the_settings() -> None:
    """The values that a run derives from the settings are those that a person set."""
    chosen = Settings(
        timeout_seconds=20.0,
        doubt_settle_seconds=7.0,
        max_attempts=3,
        backoff_base_seconds=2.0,
        backoff_max_seconds=9.0,
        default_language="fi-FI",
        default_callback_url="https://example.org/done",
        default_email_group="team",
    )
    assert (25, timedelta(seconds=100)) == (chosen.grace, chosen.lease)
    assert timedelta(seconds=7) == chosen.settle_after
    expected = Policy(max_attempts=3, backoff_base_seconds=2.0, backoff_max_seconds=9.0)
    assert expected == chosen.policy
    defaults = Defaults(
        language="fi-FI", callback_url="https://example.org/done", email_group="team"
    )
    assert defaults == chosen.defaults
    on_doubt = ("reconcile", "hold", "retry")
    assert [True, False, False] == [Settings(on_doubt=each).reconciles for each in on_doubt]


def test_the_roots_are_folders_however_they_are_written() -> None:
    """A slash at the end changes nothing: files below would be in no root of any worker."""
    assert (b"/srv/media", b"/a") == Settings(upload_roots="/srv/media/:/a").roots
    assert () == Settings().roots
