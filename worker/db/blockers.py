"""Find what keeps a queue from moving and none of its tables shows: locks, disk, processes.

Writes nothing, and asks only this machine's kernel and the database.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection, text

from worker.core.verdict import Cause
from worker.db.address import LOCK_KEY, File, Server

LEAST_FREE_BYTES = 1_000_000
"""With less, SQLite's log may not grow by one transaction."""

GONE = Cause(words="its process is gone", remedy="valossa-ingest run starts it anew")
"""The trouble of a daemon that was killed."""

_WRITE_LOCK = "120"
"""The byte of the file beside the log (-shm) that stands for SQLite's write lock."""

_SESSION = text(
    "SELECT a.pid, a.application_name, a.usename FROM "  # noqa: S608 - our own names
    "pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND l.granted "
    "AND (l.relation = 'videos'::regclass AND l.mode <> 'AccessShareLock' "
    "OR l.locktype = 'advisory' AND l.objsubid = 2 "  # a key of two numbers
    f"AND (l.classid::int, l.objid::int) = ({LOCK_KEY})) ORDER BY a.xact_start LIMIT 1"
)


def blocker(
    connection: Connection, address: File | Server, free: Callable[[Path], int]
) -> Cause | None:
    """Return what keeps the queue of ``connection`` from being written now; None if not known.
    ``free``: gives the free bytes of a folder's disk.
    """
    if isinstance(address, Server):
        return _blocking_session(connection)
    if free(address.path.parent) < LEAST_FREE_BYTES:
        return Cause(words=f"the disk of {address} is full", remedy="make room on it")
    return _locker(address.path) if _is_locked(address.path) else None


def _blocking_session(connection: Connection) -> Cause | None:
    found = connection.execute(_SESSION).first()
    if found is None:
        return None
    name = f"{found.application_name or 'another program'}, user {found.usename}"
    return Cause(
        words=f"session {found.pid} ({name}) holds rows or the lock of the queue",
        remedy=f"end its transaction, or SELECT pg_terminate_backend({found.pid})",
    )


def _is_locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            return error.sqlite_errorname == "SQLITE_BUSY"
        other.execute("ROLLBACK")
        return False


def _locker(path: Path) -> Cause:
    """Return the program that holds the write lock, by the kernel's list of locks."""
    words = f"another program has locked {path} for writing"
    with suppress(OSError):
        inode = Path(f"{os.path.realpath(path)}-shm").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if (
                fields[3] == "WRITE"
                and fields[5].endswith(f":{inode}")
                and fields[6] == _WRITE_LOCK
            ):
                return Cause(words=f"{words}: pid {fields[4]}", remedy=f"end it: kill {fields[4]}")
    return Cause(words=words, remedy=f"end it: fuser -v {path} names those that have it open")


def trouble_of(pid: int) -> Cause | None:
    """Return why a worker's process on this machine is silent; None if it is there and not stopped.
    A process that is none of this program's has taken over the number of one that is gone.
    """
    process = Path(f"/proc/{pid}")
    with suppress(OSError):
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        command = (process / "cmdline").read_bytes()
        if b"worker" in command or b"valossa-ingest" in command:
            stopped = Cause(
                words="its process is stopped", remedy=f"kill -CONT {pid} lets it go on"
            )
            return stopped if state in {"T", "t"} else None
    return GONE
