"""Hold what the documents say against the program."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.processes.readme import DOCUMENTS
from worker import __doc__ as worker_map
from worker.cli.catalogue import COMMANDS
from worker.cli.parser import parser
from worker.db.schema import SCHEMA
from worker.log import Event
from worker.settings import NAMES, Settings, help_of
from worker.settings_sources import load

ROOT = Path(__file__).parent.parent
README = DOCUMENTS[""]
CONFIG = (ROOT / "config" / "worker.toml").read_text(encoding="utf-8")
MAPPED = ("api", "core", "db", "files", "runner", "store", "web")

MOST_LINES, MOST_WORDS = 220, 2_200
"""Of the README: what a newcomer reads before the first command of his own."""

TYPED = sorted(
    {
        line
        for text in DOCUMENTS.values()
        for line in re.findall(r"^valossa-ingest .*$", text, re.MULTILINE)
        + re.findall(r"`valossa-ingest ([a-z]+(?: [^`]*)?)`", text)
    }
)

PRIVATE = tuple(f"{name}.md" for name in ("design", "valossa-api", "house", "seat"))
"""Documents that a reader of this project does not have."""

FILES = sorted(
    path
    for folder in ("worker", "tests", "migrations", "config")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
) + [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".coverage")]


def headings(text: str) -> list[str]:
    """Return the headings of a document without its title."""
    return re.findall(r"^###? (.*)$", re.sub(r"(?ms)^```.*?^```$", "", text), re.MULTILINE)


def anchor(heading: str) -> str:
    """Return what a link to a heading is called."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def links(text: str) -> list[str]:
    """Return where the links of a document lead, without other sites."""
    found = re.findall(r"\]\(([^)]+)\)", text)
    return [link for link in found if "://" not in link]


def section(text: str, heading: str) -> str:
    """Return what stands under a heading of the second level."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def shown(value: object) -> str:
    """Return a default as the README shows it."""
    if value is None:
        return "none"
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


def test_the_readme_is_short() -> None:
    """The README has at most 220 lines and 2,200 words."""
    assert len(README.splitlines()) <= MOST_LINES
    assert len(README.split()) <= MOST_WORDS


def test_the_contents_list_every_section() -> None:
    """The first lines of the README link to each of its sections, in their order."""
    contents = re.findall(r"\[([^]]+)\]\(#([^)]+)\)", README.partition("\n## ")[0])
    assert [(heading, anchor(heading)) for heading in headings(README)] == contents


@pytest.mark.parametrize("folder", DOCUMENTS)
def test_every_link_leads_somewhere(folder: str) -> None:
    """Every link of a README names a file that is there, and a heading in it."""
    for link in links(DOCUMENTS[folder]):
        name, _, heading = link.partition("#")
        target = ROOT / folder / (name or "README.md")
        assert target.exists(), link
        if heading:
            assert heading in map(anchor, headings(target.read_text(encoding="utf-8"))), link


def test_the_readme_shows_every_setting_with_its_default() -> None:
    """The table of settings has each name once, in order, with the default of the program."""
    told: dict[str, str] = {}
    for names, values in re.findall(
        r"^\| (`\w+`[^|]*)\| ([^|]+) \|", section(README, "Settings"), re.MULTILINE
    ):
        found = re.findall(r"`(\w+)`", names)
        given = values.split(", ")
        told |= dict(zip(found, given if len(given) > 1 else given * len(found), strict=True))
    assert {name: shown(getattr(Settings(), name)) for name in NAMES} == told
    assert list(NAMES) == list(told)


def test_the_readme_has_the_exit_codes_of_every_command() -> None:
    """The README has each exit code of the help of each command, and those of some by their names:
    codes from 75 to 77 are of drains and of the commands that it names beside them.
    """
    codes = {
        each.name: {int(code) for code in re.findall(r"^  (\d+) ", each.epilog, re.MULTILINE)}
        for each in COMMANDS
    }
    others = section(README, "Exit codes").partition("Others:")[2].partition("`health`")[0]
    of_all, _, of_some = others.partition(";")
    told = {int(code) for code in re.findall(r"\b\d+\b", of_all)}
    told |= {129, 130, 143} if "signal" in of_all else set()
    named = [*re.findall(r"`(\w+)`", of_some), "drain"]
    more = {int(code) for code in re.findall(r"\b\d+\b", of_some)}
    assert codes == {
        name: found & (told | (more if name in named else set())) for name, found in codes.items()
    }
    assert more == {code for name in named for code in codes[name]} - told


def test_the_program_of_a_reader_leaves_that_of_make_alone() -> None:
    """The five commands of the README install into an environment that make does not use."""
    made = re.findall(r"^python3 -m venv (\S+) && (\S+)/bin/pip install", README, re.MULTILINE)
    assert [("~/valossa-env", "~/valossa-env")] == made


def test_no_file_names_a_document_that_is_not_here() -> None:
    """Every document that is cited comes with the project."""
    naming = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        if path != Path(__file__)
        for name in PRIVATE
        if re.search(rf"\b{re.escape(name)}", path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert [] == naming


def test_the_changelog_names_the_schema() -> None:
    """Whoever upgrades reads of which schema the program is."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"- The schema is at {SCHEMA}: run `valossa-ingest migrate`." in text.splitlines()


def test_every_section_that_is_cited_is_there() -> None:
    """A section of worker/api/README.md that the code names has a heading with its number."""
    numbers = {each.partition(".")[0] for each in headings(DOCUMENTS["worker/api"])}
    for path in FILES:
        if path.suffix == ".py" and path != Path(__file__):
            text = " ".join(path.read_text(encoding="utf-8").split())
            for cited in re.findall(r"api/README\.md, sections? ([\d, and]+)", text):
                assert set(re.findall(r"\d+", cited)) <= numbers, path


def test_every_law_names_its_code_and_its_tests() -> None:
    """The laws are numbered 1 to 18; each one's files exist, and its tests cite it."""
    text = section(DOCUMENTS["worker"], "The laws")
    laws = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", text, re.MULTILINE | re.DOTALL)
    assert [str(number) for number in range(1, 19)] == [number for number, _ in laws]
    for number, law in laws:
        code, _, tests = law.partition("*Code:*")[2].partition("*Tests:*")
        parts, tested = re.findall(r"`([\w/]+\.py)`", code), re.findall(r"`([\w/]+\.py)`", tests)
        assert parts, number
        assert [] == [name for name in parts if not (ROOT / "worker" / name).exists()]
        assert tested, number
        for name in tested:
            cited = re.search(rf"(?i)\blaw {number}\b", (ROOT / name).read_text(encoding="utf-8"))
            assert cited, f"{name} does not cite law {number}"


def test_the_settings_file_shows_every_setting_with_its_default_and_its_line() -> None:
    """The settings file shows each setting once, in order, with its line of help."""
    shown = re.findall(r"^# (.*)\n# (\w+) = (.*)$", CONFIG, re.MULTILINE)
    assert list(NAMES) == [name for _, name, _ in shown]
    assert [help_of(name) for name in NAMES] == [text for text, _, _ in shown]


def test_the_settings_file_uncommented_is_the_defaults(tmp_path: Path) -> None:
    """The settings file without its # gives the defaults of the program."""
    lines = re.sub(r"^# (\w+ = )", r"\1", CONFIG, flags=re.MULTILINE)
    (tmp_path / "worker.toml").write_text(lines, encoding="utf-8")
    tomllib.loads(lines)
    loaded = load({}, {}, str(tmp_path / "worker.toml"))
    assert Settings().grace == loaded.settings.grace
    differing = {n for n in NAMES if getattr(loaded.settings, n) != getattr(Settings(), n)}
    assert {"grace_seconds"} == differing


@pytest.mark.parametrize("line", TYPED)
def test_every_command_of_the_readme_can_be_typed(line: str) -> None:
    """The program knows every command of a README."""
    words = shlex.split(line.split(" > ", 1)[0], comments=True)
    words = words[1:] if words[0] == "valossa-ingest" else words
    words = ["17" if word == "ID" else word for word in words]
    if words[0] not in {"COMMAND", "--print-completion"}:
        assert parser().parse_args(words).module


def test_the_readme_names_every_command() -> None:
    """The README names every command."""
    missing = {c.name for c in COMMANDS if not re.search(rf"`[^`]*\b{c.name}\b", README)}
    assert set() == missing


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_example_of_each_help_can_be_typed(command: object) -> None:
    """The program knows the example of each help."""
    example = getattr(command, "example")  # noqa: B009
    assert parser().parse_args(shlex.split(example.split(" > ", 1)[0])).module


def test_every_module_is_on_the_map() -> None:
    """The map names every module at the root, and exactly the modules of the rooms it lists."""
    rooms = (worker_map or "").partition("\nrooms\n")[2]
    at_root = {path.stem for path in (ROOT / "worker").glob("[!_]*.py")}
    assert set() == at_root - set(re.findall(r"\w+", rooms))
    for room in MAPPED:
        entry = re.search(rf"^  {room}/ (.*?)(?=^  \w|\Z)", rooms, re.MULTILINE | re.DOTALL)
        named = set(re.findall(r"\w+", entry[1].rpartition(":")[2])) if entry else set()
        assert {path.stem for path in (ROOT / "worker" / room).glob("[!_]*.py")} == named


def test_every_room_is_on_the_map() -> None:
    """The map names every folder of the program."""
    rooms = {path.parent.name for path in (ROOT / "worker").glob("*/__init__.py")}
    assert rooms == {room for room in rooms if f"{room}/" in (worker_map or "")}


def test_the_root_stays_small() -> None:
    """At most nine modules stand at the root beside ``__init__`` and ``__main__``."""
    assert len(list((ROOT / "worker").glob("[!_]*.py"))) <= 9


def test_every_event_is_logged_somewhere() -> None:
    """Every event of the list is logged by the program."""
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "worker").rglob("*.py"))
    assert set() == {event.name for event in Event if f"Event.{event.name}" not in code}
