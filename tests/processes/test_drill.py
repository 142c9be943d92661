"""A drill: nine ways to stall. Each is named within two minutes, and the way out works (law 18)."""

import os
import re
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from tests.conftest import open_database
from tests.plain import session
from tests.processes.programs import (
    Program,
    Programs,
    add_videos,
    execute,
    moment,
    states,
    until,
)
from tests.processes.test_disk import limit_files, long_log
from worker.core.verdict import Verdict, VerdictState
from worker.settings import Settings
from worker.simulator import Limit, Options, Simulator
from worker.snapshot import take

SOON = 115.0
"""Seconds from now, within two minutes."""

LOCKER = """\
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
"""Python that locks an SQLite file for writing until it is ended."""


async def verdict(url: Path | str, seconds: float = 0, **settings: object) -> Verdict:
    """Return the verdict so many seconds from now, if no row changes until then."""
    chosen = Settings(database_url=str(url), timeout_seconds=20, on_doubt="hold")
    chosen = replace(chosen, **settings)  # type: ignore[arg-type]
    async with open_database(str(url)) as database:
        at = database.now() + timedelta(seconds=seconds)
        return (await database.read(lambda c: take(c, chosen, at))).verdict


async def daemon(worker: Programs, url: Path | str, **settings: object) -> Program:
    """Start a daemon, and wait for its first heartbeat."""
    program = await worker.start("run", backoff_base_seconds=0, **settings)  # type: ignore[arg-type]
    await until(lambda: bool(execute(url, "SELECT 1 FROM workers")))
    return program


async def follow(worker: Programs, url: Path | str, judged: Verdict) -> None:
    """Do as the way out says: the last command, signal or SQL in it."""
    remedy = judged.remedy or ""
    if found := re.search(r"kill (-CONT )?(\d+)", remedy):
        os.kill(int(found[2]), signal.SIGCONT if found[1] else signal.SIGTERM)
    elif found := re.search("SELECT .*", remedy):
        execute(url, found[0])
    elif found := re.search(r"valossa-ingest (resume[ a-z-]*?)(?: ends|,)", remedy):
        assert 0 == (await worker.run(*found[1].split())).code


async def drained(worker: Programs, url: Path | str, **settings: object) -> None:
    """Let a drain hand in all that is left; then nothing is to be done."""
    assert 0 == (await worker.run("drain", **settings)).code
    assert {"submitted"} == {*states(url)}
    assert VerdictState.IDLE is (await verdict(url)).state


async def all_submitted(url: Path | str) -> None:
    """Wait until the daemon has handed in everything; then nothing is to be done."""
    await until(lambda: {"submitted"} == {*states(url)})
    assert VerdictState.IDLE is (await verdict(url)).state


async def test_paused_by_somebody(worker: Programs, path: Path) -> None:
    """A pause is named with its reason until ``resume``."""
    await daemon(worker, path)
    await worker.run("pause", "--reason", "wrong list")
    add_videos(path, 1)
    judged = await verdict(path)
    assert re.fullmatch(r"waiting: paused since .* UTC \(wrong list\)", judged.sentence)
    await follow(worker, path, judged)
    await all_submitted(path)


async def test_the_key_is_refused(worker: Programs, path: Path) -> None:
    """A refused key is named until a run has the right one."""
    wrong = await daemon(worker, path, variables={"VALOSSA_API_KEY": "wrong"})
    add_videos(path, 3)
    await wrong.logged("attempt_ended", 2)
    judged = await verdict(path)
    assert judged.sentence.startswith("needs a person: the API refuses the key")
    wrong.kill()
    await wrong.ended()
    await follow(worker, path, judged)
    await drained(worker, path, backoff_base_seconds=0)


async def test_the_address_is_wrong(worker: Programs, path: Path, simulator: Simulator) -> None:
    """A wrong address is named until a run has the right one."""
    wrong = await daemon(worker, path, api_url=f"{simulator.url}/elsewhere")
    add_videos(path, 3)
    await wrong.logged("attempt_ended", 2)
    judged = await verdict(path)
    assert judged.sentence.startswith("needs a person: what answers at api_url is not the API")
    wrong.kill()
    await wrong.ended()
    await follow(worker, path, judged)
    await drained(worker, path, backoff_base_seconds=0)


async def test_a_cap_is_full(worker: Programs, path: Path) -> None:
    """A full cap is named with the moment at which it opens, until it is raised."""
    program = await daemon(worker, path, max_per_day=1)
    add_videos(path, 2)
    await program.logged("attempt_ended")
    await until(lambda: states(path).get("submitted") == 1)
    judged = await verdict(path, max_per_day=1)
    assert judged.sentence.startswith("waiting: max_per_day = 1 is reached until 20")
    assert (True, "wait, or raise it") == (judged.until is not None, judged.remedy)
    await drained(worker, path, max_per_day=2)


async def test_a_cool_down_of_an_hour(worker: Programs, path: Path, simulator: Simulator) -> None:
    """A cool-down that the API asks for is named with its end, until it ends or is ended."""
    simulator.options = Options(limit=Limit(1, 3600))
    program = await daemon(worker, path)
    add_videos(path, 2)
    await program.logged("attempt_ended", 2)
    await until(
        lambda: bool(execute(path, "SELECT 1 FROM account WHERE cool_down_until > ?", moment(9)))
    )
    judged = await verdict(path)
    assert re.match(r"waiting: a cool-down until .* UTC \(HTTP 429", judged.sentence)
    simulator.options = Options()
    await follow(worker, path, judged)
    await all_submitted(path)


async def test_the_database_is_locked_by_another_program(worker: Programs, path: Path) -> None:
    """A program that locks an SQLite file is named by its process, until it ends."""
    await daemon(worker, path)
    execute(path, "INSERT INTO videos (url, due_at) VALUES ('https://v.example/1', ?)", moment(60))
    locker = await worker.start(str(path), program=("-c", LOCKER), measured=False)
    await locker.printed("locked")
    judged = await verdict(path, SOON)
    assert judged.sentence.startswith("needs a person: run on ")
    assert f": another program has locked {path} for writing: pid {locker.pid}" in judged.sentence
    await follow(worker, path, judged)
    await locker.ended()
    execute(path, "UPDATE videos SET due_at = ?", moment(-1))
    await all_submitted(path)


async def test_the_disk_is_full(worker: Programs, path: Path) -> None:
    """A full disk, on which no heartbeat can be written, is named until there is room."""
    with long_log(path) as log:
        program = await daemon(worker, path, measured=False)
        limit_files(program.pid, log.stat().st_size)
        add_videos(path, 2)
        await program.logged("database_trouble")
        settings = Settings(database_url=str(path), timeout_seconds=20)
        async with open_database(str(path)) as database:
            at = database.now() + timedelta(seconds=SOON)
            seen = await database.read(lambda c: take(c, settings, at, lambda _: 4_096))
        judged = seen.verdict
        assert "is silent since 20" in judged.sentence
        assert f": the disk of {path} is full" in judged.sentence
        assert "make room on it" == judged.remedy
        limit_files(program.pid, 1_000_000_000)
        await all_submitted(path)


async def test_the_worker_is_frozen(worker: Programs, path: Path) -> None:
    """A stopped process is named, and the signal that lets it go on."""
    program = await daemon(worker, path)
    execute(path, "INSERT INTO videos (url, due_at) VALUES ('https://v.example/1', ?)", moment(60))
    program.signal(signal.SIGSTOP)
    judged = await verdict(path, SOON)
    assert f"pid {program.pid}, is silent since" in judged.sentence
    assert ": its process is stopped" in judged.sentence
    await follow(worker, path, judged)
    execute(path, "UPDATE videos SET due_at = ?", moment(-1))
    await all_submitted(path)


async def test_all_rows_are_held_by_another_session(worker: Programs, served: str) -> None:
    """A session that locks the rows of a PostgreSQL table is named, and the SQL that ends it."""
    await daemon(worker, served)
    await worker.run("pause")
    add_videos(served, 2)
    with session(served) as other:
        other.execute("BEGIN")
        other.execute("SELECT id FROM videos FOR UPDATE")
        await worker.run("resume")
        execute(served, "UPDATE workers SET seen_at = ?", moment(SOON))  # as its heartbeats will
        judged = await verdict(served, SOON)
        execute(served, "UPDATE workers SET seen_at = ?", moment(0))
        assert judged.sentence.startswith("stalled: 2 due, 0 in flight, nothing has moved since 20")
        assert re.search(r": session \d+ \(another program, user \w+\) holds rows", judged.sentence)
        await follow(worker, served, judged)
        await all_submitted(served)
