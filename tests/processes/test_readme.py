import asyncio
import os
import re
import secrets
import shutil
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from tests.processes.programs import Ended, Program, Programs, execute, states, videos
from tests.processes.readme import (
    DAY,
    DOCUMENTS,
    FINDING,
    README,
    SQL,
    STOPPED,
    Session,
    blocks,
    flags,
    hidden,
    lists,
    sessions,
    typed,
)
from worker.cli.catalogue import COMMANDS
from worker.cli.parser import parser
from worker.simulator import Options, Simulator

KEY = f"readme-{secrets.token_hex(8)}"
SESSIONS = list(dict.fromkeys(one for text in DOCUMENTS.values() for one in sessions(text)))
TYPED = [(session, number) for session in SESSIONS for number in range(len(session.lines))]

SCRIPT = {2: "400", 3: "lost"}
"""The answers to the videos that were sent before: one submitted, one refused, one in doubt."""

SQLITE3 = """\
#!{python}
import sqlite3, sys
from contextlib import closing
database, order = sys.argv[1:]
command, copy = order.split()
assert command == ".backup", f"no {{command}} without the shell of SQLite"
with closing(sqlite3.connect(database)) as whole, closing(sqlite3.connect(copy)) as other:
    whole.backup(other)
"""
"""Stands for the shell of SQLite on machines that have none."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A folder with a queue that was worked on, where its programs are, and the values of the
    words that a README leaves to its reader.
    """

    folder: Path
    path: str
    values: Mapping[str, str]

    def programs(self, folder: Path, simulator: Simulator) -> Programs:
        """Return processes as a shell in ``folder`` starts them, with the imitation for the API."""
        variables = {"VALOSSA_API_KEY": KEY, "PATH": self.path, "TMPDIR": str(folder)}
        variables |= {"WORKER_RESULTS_DIR": str(folder)}
        return Programs(folder, variables, api_url=simulator.url, rate=1_000)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Return the lists, and a database in which the program itself has left every state."""
    return asyncio.run(prepared(tmp_path_factory.mktemp("ground")))


async def prepared(folder: Path) -> Ground:
    """Import a list, let the daemon work on it, and leave three videos more to be sent. The one job
    has ended in error, and a host is held.
    """
    for name, text in lists(README).items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("media/talk.mp4", "media/2026/keynote.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    ground = Ground(folder=folder, path=search_path(folder), values={})
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    options = Options(keys=frozenset({KEY}), book=folder / "book.jsonl", script=SCRIPT)
    async with Simulator(options) as simulator:
        programs = ground.programs(folder, simulator)
        try:
            await programs.run("import", "first.csv", "--batch", f"videos.csv {yesterday}")
            daemon = await programs.start("run", concurrency=1, on_doubt="hold")
            await daemon.logged("attempt_ended", 3)
            daemon.signal(signal.SIGTERM)
            await daemon.ended()
        finally:
            await programs.put_away()
        lost = simulator.accepted[-1]
    database = folder / "videos.db"
    for n in (4, 5, 6):
        link = f"https://videos.example/{n}.mp4"
        execute(database, "INSERT INTO videos (url, media_id) VALUES (?, ?)", link, f"video-{n}")
    assert {"submitted": 1, "failed": 1, "in_doubt": 1, "pending": 3} == states(database)
    ended = "UPDATE jobs SET ended_as = 'error', transfer_status = 'error', ended_at = "
    execute(database, ended + "'2026-01-31 08:00:00.000000'")
    held = "INSERT INTO hosts (host, held_since, probe_at, why) VALUES ('dead.example', "
    execute(database, held + "'2026-01-31 08:00:00', '2026-01-31 08:15:00', 'no download')")
    execute(database, "UPDATE account SET held_hosts = 1")
    doubt = next(row["id"] for row in videos(database) if row["url"] == lost.url)
    values = {
        "ID": str(doubt),
        "X": lost.job_id,
        "URL": "https://videos.example/added.mp4",
        "FILE…": "videos.csv",
        "H": "dead.example",
        "--from URL --to URL": "--from videos.db --to moved.db",
        "--rejects FILE": "--rejects rejects.jsonl",
        "--metrics-file FILE": "--metrics-file queue.prom",
        "backup FILE": "backup copy.db",
        "VALOSSA_API_KEY=…": f"VALOSSA_API_KEY={KEY}",
        "COMMAND": "import",
        DAY: str(yesterday),
    }
    return Ground(folder=folder, path=ground.path, values=values)


def search_path(folder: Path) -> str:
    """Return where a shell finds the program of this environment, and a sqlite3."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    if shutil.which("sqlite3") is None:
        stand_in = folder / "bin" / "sqlite3"
        stand_in.parent.mkdir()
        stand_in.write_text(SQLITE3.format(python=sys.executable), encoding="utf-8")
        stand_in.chmod(0o755)
        places.insert(0, str(stand_in.parent))
    return os.pathsep.join(places)


Play = Callable[[Session], list[Ended]]


@pytest.fixture(scope="module")
def play(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Play:
    """Return a way to play a session, each in a folder of its own. It is played once, by the first
    test of its lines, so that processes of pytest-xdist share the work.
    """

    @cache
    def played(session: Session) -> list[Ended]:
        return asyncio.run(play_one(session, ground, tmp_path_factory.mktemp("played") / "ground"))

    return played


async def play_one(session: Session, ground: Ground, folder: Path) -> list[Ended]:
    """Play one session on a copy of the ground; a newcomer's has the lists only."""
    lines = [typed(line, ground.values) for line in session.lines]
    unmade = shutil.ignore_patterns(*(["videos.db*", "book.jsonl"] if session.installs else []))
    shutil.copytree(ground.folder, folder, ignore=unmade, copy_function=shutil.copy)
    options = Options(keys=frozenset({KEY}), book=folder / "book.jsonl")
    async with Simulator(options) as simulator:
        programs = ground.programs(folder, simulator)
        try:
            if session.endless:
                return [await stopped(programs, session.endless, lines[0])]
            return await type_in(programs, folder, lines, newcomer=session.installs)
        finally:
            await programs.put_away()


async def type_in(
    programs: Programs, folder: Path, lines: list[str], *, newcomer: bool
) -> list[Ended]:
    """Type lines into one shell; a newcomer's has no key yet."""
    said = folder / "said"
    said.mkdir()
    script = "".join(
        f"{{ {line}\n}} >said/{n}.out 2>said/{n}.err\necho $? >said/{n}.code\n"
        for n, line in enumerate(lines)
    )
    shell = await programs.run(
        "-c",
        f"exec </dev/null\n{script}",
        python=Path("/bin/sh"),
        program=(),
        variables={"VALOSSA_API_KEY": None} if newcomer else {},
    )
    assert (0, "", "") == (shell.code, shell.out, shell.err)

    def told(name: str) -> str:
        return (said / name).read_text(encoding="utf-8")

    return [
        Ended(code=int(told(f"{n}.code")), out=told(f"{n}.out"), err=told(f"{n}.err"), lines=())
        for n in range(len(lines))
    ]


async def stopped(programs: Programs, command: str, line: str) -> Ended:
    """Start a command that runs for ever, wait until it works, and stop it."""
    program = await programs.start("-c", f"exec {line}", python=Path("/bin/sh"), program=())
    await SEEN[command](program)
    program.signal(signal.SIGTERM)
    return await program.ended()


SEEN: Mapping[str, Callable[[Program], Awaitable[object]]] = {
    "run": lambda daemon: daemon.logged("attempt_ended", outcome="accepted"),
    "simulate": lambda simulate: simulate.printed("VALOSSA_API_KEY=demo-key"),
    "page": lambda page: page.printed("/sign-in?code="),
}
"""The wait of a test for each command that goes on until it is stopped."""


@pytest.mark.parametrize(
    ("session", "number"), TYPED, ids=[session.lines[number] for session, number in TYPED]
)
@pytest.mark.slow
def test_every_command_does_what_the_readme_says(play: Play, session: Session, number: int) -> None:
    """Every command of a README ends as it says, without a complaint and without the key."""
    done = play(session)[number]
    said = f"{done.out}\n{done.err}"
    code = STOPPED.get(session.endless or "", FINDING.get(session.lines[number], 0))
    complaints = [line for line in done.sentences if not line.startswith("added in ")]
    assert code == done.code, said
    assert [] == complaints or session.lines[number] in FINDING, said
    assert "Traceback" not in said
    assert KEY not in said


def test_every_statement_does_what_the_readme_says(ground: Ground, tmp_path: Path) -> None:
    """Plain SQL of a README makes videos that are due."""
    database = Path(shutil.copy(ground.folder / "videos.db", tmp_path))
    statements = blocks(README, SQL)
    assert statements
    with closing(sqlite3.connect(database)) as plain, plain:
        for statement in statements:
            plain.executescript(statement)
    assert 3 + len(statements) == states(database)["pending"]


def test_every_flag_of_the_readme_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag that a README names is one that a command takes."""
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            parser().parse_args([command.name, "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert flags(README)
    assert set() == set().union(*map(flags, DOCUMENTS.values())) - known


def test_no_command_of_the_readme_hides_from_these_tests() -> None:
    """No block of another kind holds a command, which would not be run."""
    assert [] == [line for text in DOCUMENTS.values() for line in hidden(text)]
