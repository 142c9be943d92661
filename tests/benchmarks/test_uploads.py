"""Measure uploads: their speed beside a plain loop, their memory, their pace, and what they take
from the sends beside them.
"""

import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import (
    HERE,
    KEY,
    Server,
    Usage,
    drain,
    make_queue,
    program_command,
    rate,
    run,
    serving,
    settings,
)

MB = 1_000_000
LARGEST = 7_000 * MB
ROUNDS = 5

Book = dict[str, list[float]]


def book(at: Server) -> Book:
    """Return what the server has done since the last call."""
    with urllib.request.urlopen(f"http://127.0.0.1:{at.port}/book") as answer:
        told: Book = json.load(answer)
    return told


def add_files(queue: Path, *sizes: int, priority: int = 0) -> Path:
    """Add files of zeros, which take no room on the disk, and return their folder."""
    media = queue.with_suffix(".media")
    media.mkdir(exist_ok=True)
    with closing(sqlite3.connect(queue)) as connection, connection:
        for number, size in enumerate(sizes):
            path = media / f"{number}.mp4"
            path.touch()
            os.truncate(path, size)
            row = (f"file://{path}", priority)
            connection.execute("INSERT INTO videos (url, priority) VALUES (?, ?)", row)
    return media


def upload(folder: Path, at: Server, name: str, *sizes: int, **settings: object) -> Usage:
    """Drain a new queue of files."""
    queue = make_queue(folder / f"{name}.db", 0)
    media = add_files(queue, *sizes)
    return drain(queue, at, slots=8, upload_roots=media, uploads=1, **settings)


def bytes_per_second(told: Book, size: int) -> float:
    """Return the speed of the one upload in a book."""
    return size / (told["ended"][0] - told["begun"][0])


@pytest.mark.timeout(1200)
def test_an_upload_keeps_up_with_a_plain_loop(tmp_path: Path, tell: Tell) -> None:
    """In turns on the same server, the same chunks of the same file."""
    ratios, speeds, size = [], [], 500 * MB
    plain = tmp_path / "plain.mp4"
    plain.touch()
    os.truncate(plain, size)
    with serving("sink.py") as at:
        for turn in range(ROUNDS):
            command = [sys.executable, str(HERE / "plain_upload.py"), at.url, str(plain)]
            run(command, tmp_path / "plain.log")
            loop = bytes_per_second(book(at), size)
            upload(tmp_path, at, str(turn), size)
            speeds.append(bytes_per_second(book(at), size))
            ratios.append(speeds[-1] / loop)
    tell(
        f"uploads: {median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}] of a plain loop "
        f"(wanted 0.8); {median(speeds) / MB:,.0f} MB/s"
    )
    assert median(ratios) >= 0.8


@pytest.mark.timeout(1200)
def test_the_memory_of_an_upload_is_small(tmp_path: Path, tell: Tell) -> None:
    """The highest resident size of a drain of the largest file."""
    with serving("sink.py") as at:
        used = upload(tmp_path, at, "largest", LARGEST)
        speed = bytes_per_second(book(at), LARGEST)
    tell(
        f"an upload of 7 GB: {used.peak_bytes / MB:.0f} MB of memory (wanted 120), "
        f"{used.cpu_seconds:.1f} s of processor, {speed / MB:,.0f} MB/s"
    )
    assert used.peak_bytes < 120 * MB


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("per_second", "uploads"), [(1 * MB, 1), (40 * MB, 4)])
def test_the_bytes_of_a_second_are_held(
    tmp_path: Path, tell: Tell, per_second: int, uploads: int
) -> None:
    """All uploads together, over twenty seconds."""
    sizes = [20 * per_second // uploads] * uploads
    queue = make_queue(tmp_path / "videos.db", 0)
    media = add_files(queue, *sizes)
    with serving("sink.py") as at:
        told = {"upload_roots": media, "uploads": uploads, "upload_bytes_per_second": per_second}
        drain(queue, at, slots=8, **told)
        done = book(at)
    speed = sum(sizes) / (max(done["ended"]) - min(done["begun"]))
    tell(
        f"upload_bytes_per_second = {per_second:,}, {uploads} at once: "
        f"{speed / per_second:.3f} of it (wanted 0.95 to 1.05)"
    )
    assert 0.95 <= speed / per_second <= 1.05


@pytest.mark.timeout(600)
def test_uploads_take_little_from_the_sends(tmp_path: Path, tell: Tell) -> None:
    """The pace of sends beside four uploads, which are limited to what a line of a gigabit has."""
    paces = {}
    with serving("sink.py") as at:
        for uploads in (0, 4):
            queue = make_queue(tmp_path / f"{uploads}.db", 2_000)
            media = add_files(queue, *[5_000 * MB] * uploads, priority=1)
            told = settings(
                database_url=queue,
                api_url=at.url,
                rate=50,
                upload_roots=media,
                uploads=4,
                upload_bytes_per_second=120 * MB,
                log_level="error",
            )
            command = program_command("drain", "--max-seconds", "15")
            code = subprocess.call(command, env={**told, "VALOSSA_API_KEY": KEY})
            assert code in {0, 75}
            done = book(at)
            paces[uploads] = rate(done["jobs"])
            assert len(done["begun"]) == uploads
    tell(f"sends beside four uploads: {paces[4] / paces[0]:.3f} of their pace alone (wanted 0.95)")
    assert paces[4] / paces[0] >= 0.95
