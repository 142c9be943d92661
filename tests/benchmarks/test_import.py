"""Measure an import into the queue against the SQLite shell's ``.import``."""

import csv
import os
import random
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import Usage, program, run
from worker.db.schema import videos

ROWS = 1_000_000
FEWER = 100_000
ROUNDS = 3
WANTED, HELD = 1 / 3, 0.2
"""The first is not reached, the second must not be lost."""
MORE_BYTES = 8 << 20
"""Memory that ten times the rows may take more."""

COLUMNS = ("url", "media_id", "title", "language")
GIVEN = {"priority": "0", "due_at": "2026-01-31 08:00:00.000000", "state": "pending"}
FILLED = (*COLUMNS, *GIVEN, "request_id")
"""Columns of the shell's list, which fill its indexes."""
LANGUAGES = ("en-US", "en-US", "en-US", "de-DE", "fi-FI", "")
WORDS = (
    *("async", "better", "code", "community", "data", "design", "django", "faster", "hints"),
    *("keynote", "learning", "lightning", "machine", "open", "packaging", "panel", "patterns"),
    *("python", "reviews", "scaling", "security", "source", "talks", "testing", "type", "web"),
)
TALKS = 400
"""At one conference."""


def talk(number: int, dice: random.Random) -> tuple[str, ...]:
    """Return a row of a list of conference talks.

    Every other link is signed; some titles are quoted, and some are not ASCII.
    """
    words = dice.choices(WORDS, k=dice.randint(3, 7))
    slug, event, place = "_".join(words), f"conf-{number // TALKS:05d}", f"{number % TALKS:03d}"
    url = f"https://s3.us.archive.example/nextdayvideo/{event}/{slug}_{place}.mp4"
    signature = f"Signature=EX%2FAMPLE{place}%3D&Expires=4102444800&AWSAccessKeyId=EXAMPLE"
    title = " ".join(words).capitalize()
    title += f', and "{words[0]}"' if number % 90 == 0 else ", again" if number % 12 == 0 else ""
    title = f"Häxan: {title}" if number % 35 == 0 else title
    link = f"{url}?{signature}" if number % 2 else url
    return link, f"{event}/{slug}-{place}", title, dice.choice(LANGUAGES)


def write_list(path: Path, count: int) -> Path:
    """Return a list of that many talks, the same each time."""
    dice = random.Random(count)
    return _write(path, COLUMNS, (talk(number, dice) for number in range(count)))


def write_filled_list(path: Path, count: int) -> Path:
    """Return the same talks, with all that an import of ours puts into the indexes."""
    dice, random_ids = random.Random(count), random.Random(0)
    rows = (
        (*talk(number, dice), *GIVEN.values(), f"{random_ids.getrandbits(128):032x}")
        for number in range(count)
    )
    return _write(path, FILLED, rows)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def bare_table() -> str:
    """Return SQL for a table like ``videos``, the columns of the list first.

    It has the same indexes and WAL, but no CHECK and no default.
    """
    dialect = sqlite.dialect()
    others = [column.name for column in videos.c if column.name not in FILLED]
    columns = ", ".join(
        f"{name} {videos.c[name].type.compile(dialect)}" + (" PRIMARY KEY" if name == "id" else "")
        for name in (*FILLED, *others)
    )
    indexes = (str(CreateIndex(index).compile(dialect=dialect)) for index in videos.indexes)
    return ";\n".join(("PRAGMA journal_mode=WAL", f"CREATE TABLE videos ({columns})", *indexes, ""))


@dataclass(frozen=True, slots=True)
class Round:
    """One import: how long it took, and what of the machine."""

    seconds: float
    used: Usage


def shell(path: Path, commands: str) -> str:
    """Return what the ``sqlite3`` shell says to these commands."""
    done = subprocess.run(
        ["sqlite3", str(path)], input=commands, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


def shell_import(path: Path, source: Path) -> Round:
    """Return the yardstick: one transaction into a bare table.

    The shell's warning about missing columns on each line is dropped.
    """
    shell(path, bare_table())
    begun = time.perf_counter()
    command = ["sqlite3", str(path), f".import --csv --skip 1 {source} videos"]
    used = run(command, Path(os.devnull))
    return Round(time.perf_counter() - begun, used)


def our_import(path: Path, source: Path) -> Round:
    """Run our import command into a migrated database."""
    log = path.with_suffix(".log")
    program(["migrate"], log, database_url=path)
    begun = time.perf_counter()
    used = program(["import", str(source)], log, database_url=path)
    return Round(time.perf_counter() - begun, used)


def count(path: Path) -> int:
    """Return the number of rows and remove the file, which takes half a gigabyte."""
    rows = int(shell(path, "SELECT count(*) FROM videos;"))
    path.unlink()
    return rows


@pytest.mark.timeout(3600)
def test_an_import_keeps_up_with_the_shell(tmp_path: Path, tell: Tell) -> None:
    """In turns: ours validates, looks for doubles and makes request ids, in transactions of a
    thousand rows that are on disk before the next; the shell does none of it. Both fill the same
    indexes: the shell's list brings what they hold.
    """
    source = write_list(tmp_path / "list.csv", ROWS)
    filled = write_filled_list(tmp_path / "filled.csv", ROWS)
    theirs, ours = [], []
    for turn in range(ROUNDS):
        bare, queue = tmp_path / f"bare-{turn}.db", tmp_path / f"queue-{turn}.db"
        theirs.append(shell_import(bare, filled))
        ours.append(our_import(queue, source))
        assert [ROWS, ROWS] == [count(bare), count(queue)]
    pairs = list(zip(theirs, ours, strict=True))
    ratios = [bare.seconds / own.seconds for bare, own in pairs]
    work = median(bare.used.cpu_seconds / own.used.cpu_seconds for bare, own in pairs)
    rates = [ROWS / median(each.seconds for each in side) for side in (ours, theirs)]
    tell(
        f"import: {median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}] of the sqlite3 shell "
        f"(wanted {WANTED:.2f}), {work:.2f} by processor time; "
        f"{rates[0]:,.0f} of {rates[1]:,.0f} rows/s"
    )
    assert median(ratios) >= HELD


@pytest.mark.timeout(3600)
def test_an_import_of_any_length_takes_the_same_memory(tmp_path: Path, tell: Tell) -> None:
    """A list of ten times the rows is read in the memory of the shorter one."""
    peaks = []
    for rows in (FEWER, ROWS):
        source = write_list(tmp_path / f"{rows}.csv", rows)
        peaks.append(our_import(tmp_path / f"{rows}.db", source).used.peak_bytes)
    fewer, more = peaks
    tell(
        f"import, memory: {more / 1e6:,.1f} MB for {ROWS:,} rows, {fewer / 1e6:,.1f} MB for "
        f"{FEWER:,} (wanted: at most {MORE_BYTES / 1e6:,.1f} MB more)"
    )
    assert more - fewer <= MORE_BYTES
