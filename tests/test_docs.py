"""What the documents say is so."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from worker import __doc__ as worker_map
from worker.cli.parser import COMMANDS, parser
from worker.log import Event
from worker.settings import NAMES, Settings, help_of
from worker.settings_sources import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIG = (ROOT / "config" / "worker.toml").read_text(encoding="utf-8")
MAPPED = ("api", "core", "db", "runner", "store")

TYPED = sorted(
    set(re.findall(r"^valossa-ingest .*$", README, re.MULTILINE))
    | set(re.findall(r"`valossa-ingest ([a-z]+(?: [^`]*)?)`", README))
)


def test_the_settings_file_shows_every_setting_with_its_default_and_its_line() -> None:
    """A setting that nobody can find would not exist for a user."""
    shown = re.findall(r"^# (.*)\n# (\w+) = (.*)$", CONFIG, re.MULTILINE)
    assert list(NAMES) == [name for _, name, _ in shown]
    assert [help_of(name) for name in NAMES] == [text for text, _, _ in shown]


def test_the_settings_file_uncommented_is_the_defaults(tmp_path: Path) -> None:
    """Taking the # away would change what the program does."""
    lines = re.sub(r"^# (\w+ = )", r"\1", CONFIG, flags=re.MULTILINE)
    (tmp_path / "worker.toml").write_text(lines, encoding="utf-8")
    tomllib.loads(lines)
    loaded = load({}, {}, str(tmp_path / "worker.toml"))
    assert Settings().grace == loaded.settings.grace
    differing = {n for n in NAMES if getattr(loaded.settings, n) != getattr(Settings(), n)}
    assert {"grace_seconds"} == differing


@pytest.mark.parametrize("line", TYPED)
def test_every_command_of_the_readme_can_be_typed(line: str) -> None:
    """A reader would copy a command that the program does not know."""
    words = shlex.split(line.split(" > ", 1)[0], comments=True)
    words = words[1:] if words[0] == "valossa-ingest" else words
    words = ["17" if word == "ID" else word for word in words]
    if words[0] not in {"COMMAND", "--print-completion"}:
        assert parser().parse_args(words).module


def test_the_readme_names_every_command() -> None:
    """A command that only its author knows is of no use."""
    missing = {c.name for c in COMMANDS if not re.search(rf"`[^`]*\b{c.name}\b", README)}
    assert set() == missing


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_example_of_each_help_can_be_typed(command: object) -> None:
    """An example that fails is worse than none."""
    example = getattr(command, "example")  # noqa: B009
    assert parser().parse_args(shlex.split(example.split(" > ", 1)[0])).module


def test_every_module_is_on_the_map() -> None:
    """The map names every module outside the rooms for commands, formats and the imitation."""
    roots = (ROOT / "worker", *(ROOT / "worker" / room for room in MAPPED))
    modules = {path.stem for root in roots for path in root.glob("*.py")}
    named = set(re.findall(r"\w+", worker_map or ""))
    assert set() == {name for name in modules if not name.startswith("__")} - named


def test_every_room_is_on_the_map() -> None:
    """The map names every folder of the program."""
    rooms = {path.parent.name for path in (ROOT / "worker").glob("*/__init__.py")}
    assert rooms == {room for room in rooms if f"{room}/" in (worker_map or "")}


def test_the_root_stays_small() -> None:
    """At most nine modules stand at the root beside ``__init__`` and ``__main__``."""
    assert len(list((ROOT / "worker").glob("[!_]*.py"))) <= 9


def test_every_event_is_logged_somewhere() -> None:
    """The list of events would name what never happens."""
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "worker").rglob("*.py"))
    assert set() == {event.name for event in Event if f"Event.{event.name}" not in code}
