"""Find the commands of all READMEs as they stand there, and what each needs to be run as it is.

The READMEs are the only list of commands: one that the tables below cannot run is an error that
names it.
"""

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.cli.catalogue import COMMANDS

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("", "config/deploy", "worker", "worker/api", "tests", "tests/proof", "tests/benchmarks")
"""Those that have a README."""
DOCUMENTS = {
    folder: (CHECKOUT / folder / "README.md").read_text(encoding="utf-8") for folder in FOLDERS
}
README = DOCUMENTS[""]
PYTEST = ".venv/bin/pytest"
PROGRAM = "valossa-ingest"
NAMES = frozenset(command.name for command in COMMANDS)

SHELL, SQL = "sh", "sql"
"""The fenced blocks that are typed."""

PROGRAMS = (PROGRAM, "sqlite3", "make", PYTEST)
"""With these begin the commands within the text."""

TYPED_AS = {
    "add": "add URL",
    "cancel": "cancel --state pending",
    "import": "import FILE…",
    "prune": "prune --older-than 90d",
    "release": "release --host dead.example",
    "resolve": "resolve ID --give-up",
    "resolve ID": "resolve ID --give-up",
    "results": "results verify",
    "retry": "retry --state failed",
    "show": "show ID",
}
"""The line a reader types for a name that does nothing alone, where its README shows no other."""

COMPLETED = {
    "--encoding": "import videos.csv",
    "--fail": "simulate",
    "--job-id": "resolve ID",
    "--map": "import foreign.csv",
    "--rejects": "import videos.csv",
}
"""The command to which a reader adds flags that a README shows with a value, by the first."""

STOPPED = {"run": 143, "simulate": 0, "page": 0}
"""Commands that go on until SIGTERM, and what they exit with then."""

FINDING = {f"{PROGRAM} {words}": 1 for words in ("audit", "follow", "health", "status --check")}
"""The exit codes of commands that find something in the prepared queue. All others exit with 0."""

RUN = (PROGRAM, "sqlite3", "export")
"""Lines that begin so are run as they are, in a folder of their own."""


def _only_read(line: str) -> str:
    """Return the command that says if a shell can read ``line``."""
    return f"sh -n -c {shlex.quote(line)}"


INSTEAD: Mapping[str, Callable[[str], str]] = {
    # builds the environment of this checkout, or runs this very test: does make know the target?
    "make": lambda line: re.sub("^make", f"make --dry-run -C {shlex.quote(str(CHECKOUT))}", line),
    # are there such tests?
    PYTEST: lambda line: (
        f"(cd {shlex.quote(str(CHECKOUT))} && {shlex.quote(sys.executable)} -m pytest"
        f" --collect-only -p no:cacheprovider{line.removeprefix(PYTEST)})"
    ),
    # downloads, and test_installed.py installs
    "python3 -m venv": _only_read,
    "~/valossa-env/bin/pip": _only_read,
    "git": _only_read,
    # ask the page of another shell
    "mark=$(curl": _only_read,
    "curl": _only_read,
    # there is no engine
    "docker": _only_read,
}
"""Stand-ins for lines that begin so and cannot be run inside a test."""

DAY = "a day"
"""The name of the value that stands for the days in a README, which are not the test's."""

CELLS = {
    "url": "https://videos.example/new-{n}.mp4",
    "media_id": "new-{n}",
    "language": "en-US",
    "transcript_url": "https://videos.example/new-{n}.srt",
    "face_min_relative_height": "0.1",
    "callback_url": "https://hooks.example/{n}",
    "priority": "1",
    "due_at": "2020-01-01 00:00:00",
}
"""The cells of a list of new videos, by column; anything will do in the others."""

_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_DATE = r"\d{4}-\d\d-\d\d"
_PLACEHOLDER = r"""\S*…\S*|<[^>]+>|(?<![\w$'"-])[A-Z][A-Z_0-9-]*(?:\.[a-z]+)?(?![\w=])"""


@dataclass(frozen=True)
class Session:
    """The lines that a reader types into one shell, in order."""

    lines: tuple[str, ...]

    @property
    def installs(self) -> bool:
        """Return True if it is a newcomer's, who has a list and nothing else."""
        return any(line.startswith("python3 -m venv") for line in self.lines)

    @property
    def endless(self) -> str | None:
        """Return the command that has to be stopped, None if it ends by itself."""
        words = self.lines[0].split()
        stays = words[0] == PROGRAM and set(words[1:2]) & set(STOPPED) and "--help" not in words
        return words[1] if stays else None


def sessions(text: str) -> list[Session]:
    """Return every shell block and every command in the text; one to be stopped is alone."""
    found = [session for block in blocks(text, SHELL) for session in _of_block(block)]
    found += [Session((command,)) for span in spans(text) for command in _commands(span)]
    shown = {line for session in found for line in session.lines}
    for name, instead in TYPED_AS.items():
        if name in spans(text) and not any(line.startswith(f"{PROGRAM} {name} ") for line in shown):
            found.append(Session((f"{PROGRAM} {instead}",)))
    return list(dict.fromkeys(found))


def _of_block(block: str) -> list[Session]:
    lines = [_COMMENT.sub("", line).strip() for line in block.replace("\\\n", " ").splitlines()]
    alone = [Session((line,)) for line in lines if line]
    together = Session(tuple(one.lines[0] for one in alone if not one.endless))
    return [one for one in alone if one.endless] + [together] * bool(together.lines)


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks that say they are ``language``."""
    return [block for named, block in _FENCE.findall(text) if named == language]


def hidden(text: str) -> list[str]:
    """Return lines that look like commands, in blocks that are not typed."""
    others = [block for named, block in _FENCE.findall(text) if named not in {SHELL, SQL}]
    lines = [line.strip() for block in others for line in block.splitlines()]
    return [line for line in lines if line.split(" ")[0] in {"$", *PROGRAMS}]


def spans(text: str) -> list[str]:
    """Return the code within sentences and tables, each on one line."""
    return [" ".join(span.split()) for span in _SPAN.findall(_FENCE.sub("", text))]


def flags(text: str) -> set[str]:
    """Return the flags that are named alone."""
    return {span for span in spans(text) if re.fullmatch(r"--[a-z-]+", span)}


def columns(text: str) -> list[str]:
    """Return the columns that a list may have: those in the sentence that begins so."""
    said = re.search(r"^`videos\.csv` .*?\.\s", text, re.MULTILINE | re.DOTALL)
    assert said, "the README has no sentence that begins with `videos.csv` and names the columns"
    return list(dict.fromkeys(re.findall(r"`([a-z_]+)`", said[0])))


def lists(text: str) -> dict[str, str]:
    """Return the files that a reader has; ``first.csv`` is in the table already."""
    named = columns(text)
    rows = [named, *([CELLS.get(c, "1").format(n=n) for c in named] for n in (1, 2))]
    first = [f"https://videos.example/{n}.mp4,video-{n}" for n in (1, 2, 3)]
    return {
        "first.csv": "\n".join(["url,media_id", *first]),
        "videos.csv": "\n".join(",".join(row) for row in rows),
        "foreign.csv": "url,id\nhttps://videos.example/foreign.mp4,foreign",
        "fresh.csv": "media_id,language\nvideo-2,fi-FI\nvideo-4,fi-FI",
        "jobs.csv": "media_id,job_id\nvideo-5,7f1d3a90-0000-4000-8000-000000000005",
    }


def typed(line: str, values: Mapping[str, str]) -> str:
    """Return what is really run for a line; ``values`` are those of the words that the reader
    replaces. Raises AssertionError where it is not known how to run it, or what to write for such
    a word.
    """
    for beginning, instead in INSTEAD.items():
        if line.startswith(f"{beginning} "):
            return instead(line)
    assert line.split(maxsplit=1)[0] in RUN, f"{line}: name in {__name__} what is run for it"
    known = "|".join(
        rf"(?<!\S){re.escape(name)}(?!\S)" for name in sorted(values, key=len, reverse=True)
    )

    def value(found: re.Match[str]) -> str:
        if re.fullmatch(_DATE, found[0]):
            return values[DAY]
        assert found[0] in values, f"{line}: no value is known for {found[0]}; name one"
        return values[found[0]]

    filled = re.sub(rf"{known}|{_DATE}|{_PLACEHOLDER}", value, line)
    # Ports are for one, and these tests run beside each other.
    own = {"simulate": ("--port", "--port 0"), "page": ("--listen", "--listen 127.0.0.1:0")}
    flag, free = own.get(" ".join(filled.split()[1:2]), (PROGRAM, ""))
    filled = re.sub(r"(?<=--listen 127\.0\.0\.1:)\d+", "0", filled)
    return filled if flag in filled else f"{filled} {free}"


def _commands(span: str) -> Iterator[str]:
    """Yield the line to type for a span, if it is a command, the name of one, or flags for one. A
    setting with its value is none.
    """
    first = span.split(maxsplit=1)[0]
    if span == PROGRAM or (first in PROGRAMS and first != span):
        yield span
    elif first in NAMES and span not in TYPED_AS and not span.startswith(f"{first} = "):
        yield f"{PROGRAM} {span}"
    elif first.startswith("--") and first != span:
        yield f"{PROGRAM} {COMPLETED.get(first, 'COMMAND-WITH-THESE-FLAGS')} {span}"
