import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import open_database
from tests.plain import session
from worker.core.verdict import Cause
from worker.db.address import address_of
from worker.db.blockers import LEAST_FREE_BYTES, blocker, trouble_of


async def found(url: str | Path, free: int = LEAST_FREE_BYTES) -> Cause | None:
    """Return what keeps a queue from being written, on a disk with so many free bytes."""
    async with open_database(str(url)) as database:
        address = address_of(str(url))
        return await database.read(lambda c: blocker(c, address, lambda _: free))


async def test_nothing_blocks_a_queue_at_rest(url: str) -> None:
    """A database that can be written has no blocker."""
    assert await found(url) is None


async def test_a_full_disk_is_named(path: Path) -> None:
    """A disk with too little room for a transaction is named with the file on it."""
    full = await found(path, LEAST_FREE_BYTES - 1)
    assert Cause(words=f"the disk of {path} is full", remedy="make room on it") == full


async def test_the_program_that_locks_a_file_is_named(path: Path) -> None:
    """The holder of SQLite's write lock is named by its process."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        locked = await found(path)
    words = f"another program has locked {path} for writing: pid {os.getpid()}"
    assert Cause(words=words, remedy=f"end it: kill {os.getpid()}") == locked


async def test_the_session_that_holds_rows_is_named(served: str) -> None:
    """A session that locks rows of the queue is named with the SQL that ends it."""
    with session(served) as other:
        other.execute("INSERT INTO videos (url) VALUES ('https://v.example/1')")
        other.execute("BEGIN")
        other.execute("SELECT id FROM videos FOR UPDATE")
        ((number,),) = other.execute("SELECT pg_backend_pid()")
        held = await found(served)
    assert held is not None
    assert held.words.startswith(f"session {number} (another program, user ")
    assert held.remedy.endswith(f"SELECT pg_terminate_backend({number})")


async def test_the_session_that_holds_the_lock_is_named(served: str) -> None:
    """A session that holds the lock of the queue is named."""
    with session(served) as other:
        other.lock()
        ((number,),) = other.execute("SELECT pg_backend_pid()")
        held = await found(served)
    assert held is not None
    assert held.words.startswith(f"session {number} ")


@pytest.mark.parametrize(
    "key",
    [
        "1",
        "1, 2",
        "hashtext('valossa-ingest'), hashtext('another schema')",
        "hashtext('another program'), hashtext(current_schema())",
        "hashtext('valossa-ingest')::bigint << 32 | hashtext(current_schema())::oid::bigint",
    ],
)
async def test_the_lock_of_another_program_blocks_no_queue(served: str, key: str) -> None:
    """An advisory lock of another program, or of another queue, keeps nobody from writing."""
    with session(served) as other:
        other.execute(f"SELECT pg_advisory_lock({key})")
        assert await found(served) is None


async def test_a_reader_blocks_no_queue(served: str) -> None:
    """A session that only reads the queue is no blocker."""
    with session(served) as other:
        other.execute("BEGIN")
        other.execute("SELECT id FROM videos")
        assert await found(served) is None


def test_a_process_that_is_gone_or_another_program_is_gone() -> None:
    """An ended process, and one of another program, are no worker."""
    gone = Cause(words="its process is gone", remedy="valossa-ingest run starts it anew")
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    assert gone == trouble_of(ended.pid)
    with subprocess.Popen(["sleep", "60"]) as other:
        assert gone == trouble_of(other.pid)
        other.kill()


def test_a_process_that_is_there_has_no_trouble() -> None:
    """A process of this program that runs is not the cause of a silence."""
    program = [sys.executable, "-c", "print(flush=True); input()", "-m", "worker"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as there:
        assert there.stdout is not None
        there.stdout.readline()  # the system has its command line only some time after its start
        assert trouble_of(there.pid) is None
        there.kill()
