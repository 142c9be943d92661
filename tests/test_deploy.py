"""Hold what the recipes promise, as far as it shows without systemd, cron or an engine."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.cli.parser import parser
from worker.runner.loop import LONGEST_SLEEP_SECONDS
from worker.settings import Settings
from worker.settings_sources import KEY_FILE, survey

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "config" / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
CRONTAB = (FOLDER / "crontab").read_text(encoding="utf-8")
SERVICES = ("valossa-ingest.service", "valossa-ingest-drain.service")
PROGRAM = "/opt/valossa-ingest/bin/valossa-ingest"
STATE = "/var/lib/valossa-ingest"
LAST_WRITE_SECONDS = 5.0
"""The longest a stop takes after the grace, where the database can be written."""
DOCKER_STOP_SECONDS = 10.0

HARDENED = """
NoNewPrivileges=yes ProtectSystem=strict ProtectHome=yes PrivateTmp=yes PrivateDevices=yes
PrivateUsers=yes ProtectKernelModules=yes ProtectProc=invisible RestrictNamespaces=yes
MemoryDenyWriteExecute=yes CapabilityBoundingSet= SystemCallArchitectures=native UMask=0077
"""


def unit(name: str) -> dict[str, dict[str, list[str]]]:
    """Return a unit's sections, each name with its values in order."""
    sections: dict[str, dict[str, list[str]]] = {}
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            found = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return sections


def service(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit's process."""
    return unit(name)["Service"]


def cron_line() -> str:
    """Return the one line that is a job, without its five fields of time."""
    (line,) = re.findall(r"^[\d*](?:\S* +){5}(.*)$", CRONTAB, re.MULTILINE)
    return str(line)


def listed(name: str) -> list[list[str]]:
    """Return the lists in square brackets after a name in the compose file or the Dockerfile."""
    found = re.findall(rf"\b{name}:? (\[.*\])$", COMPOSE + DOCKERFILE, re.MULTILINE)
    return [re.findall(r"[^\[\]\", ]+", words) for words in found]


def typed() -> Iterator[tuple[str, list[str]]]:
    """Every command line in the recipes, and where it stands."""
    for name in SERVICES:
        for line in service(name)["ExecStartPre"] + service(name)["ExecStart"]:
            yield name, shlex.split(line)
    (words,) = re.findall(rf"{PROGRAM}[^>]*", cron_line())
    yield "crontab", shlex.split(words)
    yield from (("compose.yaml", ["valossa-ingest", *words]) for words in listed("command"))
    (entry,) = listed("ENTRYPOINT")
    checks, started = listed("CMD"), re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    yield from (("Dockerfile", words) for words in checks if words[0] == entry[0])
    yield from (("Dockerfile", [*entry, *json.loads(words)]) for words in started)


def variables() -> Iterator[tuple[str, dict[str, str]]]:
    """Return the environment that each recipe gives the program."""
    for name in SERVICES:
        yield name, dict(line.split("=", 1) for line in service(name)["Environment"])
    for name, text, sign in (
        ("crontab", CRONTAB, "="),
        ("compose.yaml", COMPOSE, ": "),
        ("Dockerfile", DOCKERFILE, "="),
    ):
        found = re.findall(rf"\b((?:WORKER|VALOSSA)_\w+){sign}\"?([^\s\"]*)", text)
        yield name, dict(found)


@pytest.mark.parametrize(("recipe", "words"), list(typed()))
def test_every_command_of_a_recipe_can_be_typed(recipe: str, words: list[str]) -> None:
    """Every command of a recipe is one that the program takes."""
    assert Path(words[0]).name == "valossa-ingest", recipe
    assert parser().parse_args(words[1:]).module


def test_every_recipe_has_its_commands() -> None:
    """The commands of every recipe are found."""
    commands = {(name, words[1]) for name, words in typed()}
    assert {
        ("valossa-ingest.service", "migrate"),
        ("valossa-ingest.service", "run"),
        ("valossa-ingest-drain.service", "migrate"),
        ("valossa-ingest-drain.service", "drain"),
        ("crontab", "drain"),
        ("compose.yaml", "migrate"),
        ("Dockerfile", "health"),
        ("Dockerfile", "run"),
    } == commands


@pytest.mark.parametrize(("recipe", "given"), list(variables()))
def test_every_variable_of_a_recipe_is_a_setting(recipe: str, given: dict[str, str]) -> None:
    """Every variable of a recipe is a setting, and none holds the key."""
    assert (recipe, ()) == (recipe, survey({}, given, None).problems)
    assert {name for name in given if not name.startswith("WORKER_")} <= {KEY_FILE}
    assert (KEY_FILE in given) is (recipe != "Dockerfile")


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_waits_longer_than_the_grace(name: str) -> None:
    """Systemd waits longer than an orderly stop takes."""
    (wait,) = service(name)["TimeoutStopSec"]
    assert float(wait) > Settings().grace + LAST_WRITE_SECONDS
    assert ["SIGTERM"] == service(name)["KillSignal"]


def test_a_container_stops_within_its_time() -> None:
    """A container has more time to stop than an orderly stop takes."""
    given = dict(variables())
    grace = float(given["Dockerfile"]["WORKER_GRACE_SECONDS"])
    assert grace + 1 < DOCKER_STOP_SECONDS
    (wait,) = re.findall(r"^ +stop_grace_period: (\d+)s$", COMPOSE, re.MULTILINE)
    raised = float(given["compose.yaml"]["WORKER_GRACE_SECONDS"])
    assert float(wait) > raised + LAST_WRITE_SECONDS
    assert raised >= Settings().grace


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_nothing_but_its_work(name: str) -> None:
    """A service is confined to its work."""
    options = service(name)
    assert set() == set(re.findall(r"\S+", HARDENED)) - {
        f"{key}={value[0]}" for key, value in options.items()
    }
    assert ["AF_INET AF_INET6 AF_UNIX"] == options["RestrictAddressFamilies"]
    assert ["@system-service", "~@privileged @resources"] == options["SystemCallFilter"]
    assert ["valossa"] == options["User"]
    assert ["api-key:/etc/valossa-ingest/api-key"] == options["LoadCredential"]


def test_systemd_hears_the_program() -> None:
    """The daemon reports its readiness and feeds a watchdog that outlasts its loop's longest sleep;
    both services may show the verdict.
    """
    daemon, drain = map(service, SERVICES)
    assert (["notify"], ["infinity"]) == (daemon["Type"], daemon["TimeoutStartSec"])
    assert float(daemon["WatchdogSec"][0]) >= 3 * LONGEST_SLEEP_SECONDS
    assert ["main"] == daemon["NotifyAccess"] == drain["NotifyAccess"]


def test_a_service_comes_back_only_where_that_helps() -> None:
    """A service is restarted only after ends that a restart can mend."""
    daemon, drain = map(service, SERVICES)
    assert (["on-failure"], ["77 78"]) == (daemon["Restart"], daemon["RestartPreventExitStatus"])
    assert "Restart" not in drain
    assert ["75 143"] == drain["SuccessExitStatus"]


def test_the_timer_starts_the_drain_that_ends_before_the_next_one() -> None:
    """The timer's drain ends before the next one starts."""
    timer, drain = unit("valossa-ingest-drain.timer"), service("valossa-ingest-drain.service")
    assert ["yes"] == timer["Timer"]["Persistent"]
    assert "Unit" not in timer["Timer"]  # so it is the service of the same name
    (words,) = drain["ExecStart"]
    claiming = parser().parse_args(shlex.split(words)[1:]).max_seconds
    (longest,) = map(float, drain["TimeoutStartSec"])
    day = 24 * 60 * 60
    assert claiming + Settings().timeout_seconds < longest < day - float(drain["TimeoutStopSec"][0])


def sh(line: str, folder: Path, program: str) -> tuple[str, str]:
    """Run the line with a stand-in program; return the text that cron mails and the log."""
    file = folder / "bin" / "valossa-ingest"
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{program}\n")
    file.chmod(0o755)
    line = line.replace(str(Path(PROGRAM).parent.parent), str(folder)).replace(STATE, str(folder))
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "SHELL": "/bin/sh"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout, (folder / "drain.log").read_text()


@pytest.mark.parametrize("code", [0, 1, 2, 75, 77, 78, 130, 137, 143])
def test_cron_mails_only_when_a_person_is_needed(tmp_path: Path, code: int) -> None:
    """Cron mails only the ends that need a person."""
    mail, log = sh(cron_line(), tmp_path, f'echo told; echo \'{{"a": "\\\\c"}}\' >&2; exit {code}')
    said = 'told\n{"a": "\\c"}\n'
    expected = f"valossa-ingest drain: exit {code}\n{said}" if code in {1, 77, 78} else ""
    assert (expected, said) == (mail, log)


def test_a_long_log_is_not_mailed_whole(tmp_path: Path) -> None:
    """Only the end of a long log is mailed."""
    mail, log = sh(cron_line(), tmp_path, "seq 5000; exit 1")
    assert (41, "5000") == (len(mail.splitlines()), mail.splitlines()[-1])
    assert "1\n2\n" == log[:4]


def test_an_hour_of_cron_ends_before_the_next_one() -> None:
    """A drain of cron ends before the next one starts."""
    line = cron_line()
    assert "%" not in line  # cron makes a line end of it
    stops, ends = re.findall(r"timeout --preserve-status -k (\d+) (\d+) ", line)[0]
    (words,) = [words for name, words in typed() if name == "crontab"]
    claiming = parser().parse_args(words[1:]).max_seconds
    assert claiming + Settings().timeout_seconds < float(ends)
    assert float(stops) > Settings().grace + LAST_WRITE_SECONDS
    assert float(ends) + float(stops) < 60 * 60


def test_a_drain_that_hangs_gets_an_orderly_stop(tmp_path: Path) -> None:
    """A drain that hangs gets an orderly stop, and its exit code is kept."""
    line = re.sub(r"-k \d+ \d+ ", "-k 20 1 ", cron_line())
    assert "-k 20 1 " in line
    ends = "trap 'echo stopped; exit 1' TERM; while :; do sleep 0.05; done"
    mail, _ = sh(line, tmp_path, ends)
    assert ["valossa-ingest drain: exit 1", "stopped"] == [mail.splitlines()[0], mail.split()[-1]]


def test_a_container_may_do_nothing_but_its_work() -> None:
    """A container is confined to its work, and `inspect` does not show the key."""
    for line in (
        "  read_only: true",
        "  init: true",
        "  cap_drop: [ALL]",
        '  security_opt: ["no-new-privileges:true"]',
        "  tmpfs: [/tmp]",
        "    secrets: [api-key, page-token]",
        "      VALOSSA_API_KEY_FILE: /run/secrets/api-key",
        "    file: ./api-key",
    ):
        assert re.search(rf"^{re.escape(line)}(?:  #.*)?$", COMPOSE, re.MULTILINE), line
    final = DOCKERFILE.rpartition("\nFROM ")[2].splitlines()
    for line in ("USER worker", "VOLUME /data", "STOPSIGNAL SIGTERM"):
        assert line in final
    assert final.index("USER worker") > final.index(next(x for x in final if "useradd" in x))
