"""The same videos through what others use: a drain against each of them, in turns."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import HERE, Server, drain, make_queue, rate, server

ROOT = HERE.parent.parent
ROOMS = ROOT / ".bench"
"""The peers' own environments; and all their data and ours, so that one disk holds it all."""
VIDEOS = 5_000
ROUNDS = 5
SLOTS = 64
WANTED = 8
HELD = 1.2
HANGS_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Peer:
    """A program in ``peers/``, in its own environment."""

    name: str
    title: str
    on_postgres: bool

    def hand_in(self, at: Server, place: str) -> float:
        """Return videos per second; ``place`` is a database or a folder. Kill it if it hangs."""
        program = f"tests.benchmarks.peers.{self.name}_peer"
        command = [python(self.name), "-m", program, f"{at.url}/new_job", str(VIDEOS), place]
        run(command, HANGS_SECONDS)
        return booked(at)


PEERS = (
    Peer("huey", "SqliteHuey", on_postgres=False),
    Peer("pgqueuer", "PgQueuer", on_postgres=True),
    Peer("procrastinate", "Procrastinate", on_postgres=True),
    Peer("script", "semaphore and commit, aiosqlite", on_postgres=False),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A peer and a drain, one right after the other."""

    peer: float
    drain: float


def run(command: list[str], timeout: float) -> None:
    """Run a command in the project's folder; what it said is in the AssertionError if it fails."""
    ended = subprocess.run(
        command,
        cwd=ROOT,
        timeout=timeout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:]


def requirements(name: str) -> Path:
    """Return the pinned packages of an environment."""
    return HERE / "peers" / f"{name}.txt"


def version(name: str) -> str:
    """Return the pinned version of the package that an environment is named after."""
    pins = dict(line.split("==") for line in requirements(name).read_text().split())
    return pins.get(name, pins.get("aiosqlite", ""))


def python(name: str) -> str:
    """Return the interpreter of an environment, which is made where it is missing or outdated."""
    room, needed = ROOMS / name, requirements(name)
    inside, ready = str(room / "bin" / "python"), room / "ready"
    if not ready.exists() or ready.read_text() != needed.read_text():
        run([sys.executable, "-m", "venv", "--clear", str(room)], HANGS_SECONDS)
        pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--requirement", str(needed)], HANGS_SECONDS)
        ready.write_text(needed.read_text())
    return inside


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Yield a PostgreSQL of its own process: the address of its database."""
    command = [python("postgres"), "-m", "tests.benchmarks.peers.postgres", str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@contextmanager
def data() -> Iterator[Path]:
    """Yield a folder that goes away."""
    ROOMS.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=ROOMS, prefix="data-") as folder:
        yield Path(folder)


def booked(at: Server) -> float:
    """Return the rate of the last run by the server's book, which must hold every video."""
    moments = at.book()
    assert len(moments) == VIDEOS
    return rate(moments)


def drained(at: Server, queue: Path) -> float:
    """Return the videos per second of a drain of a new queue."""
    drain(make_queue(queue, VIDEOS), at, slots=SLOTS)
    return booked(at)


def compare(peer: Peer, at: Server, database: str, folder: Path) -> Pair:
    """Return one round of one peer, in a new folder."""
    folder.mkdir()
    theirs = peer.hand_in(at, database if peer.on_postgres else str(folder))
    return Pair(theirs, drained(at, folder / "ours.db"))


def measure() -> dict[Peer, list[Pair]]:
    """Return all rounds, peer after peer in each, on one server."""
    pairs: dict[Peer, list[Pair]] = {peer: [] for peer in PEERS}
    with data() as folder, postgres(folder / "postgres") as database, server() as at:
        numbers = count()
        for _ in range(ROUNDS):
            for peer in PEERS:
                pair = compare(peer, at, database, folder / str(next(numbers)))
                pairs[peer].append(pair)
    return pairs


@pytest.mark.timeout(3600)
def test_a_drain_is_much_faster_than_what_others_use(tell: Tell) -> None:
    """Every peer takes each video from its queue durably, POSTs it, and writes the job id down."""
    factors = []
    for peer, pairs in measure().items():
        ratios = [pair.drain / pair.peer for pair in pairs]
        factors.append(median(ratios))
        tell(
            f"peers, {peer.title} {version(peer.name)}: "
            f"{median(pair.peer for pair in pairs):,.0f} videos/s; a drain is {factors[-1]:.1f} "
            f"[{min(ratios):.1f}-{max(ratios):.1f}] times as fast (wanted {WANTED})"
        )
    assert min(factors) >= HELD
