"""A script as people write it: a semaphore, aiohttp, aiosqlite, and a commit after each step.

``python -m tests.benchmarks.peers.script_peer URL COUNT FOLDER``. Tried: 16, 64 and 256 at once. On
the one connection that all share, a commit takes along what others have just written: the more at
once, the fewer syncs. Where each step is a transaction of its own, it made 150 to 180 videos/s.
"""

import asyncio
import sys
from pathlib import Path

import aiohttp
import aiosqlite

from tests.benchmarks.peers.videos import body, check

AT_ONCE = 256
SUBMITTING = "UPDATE videos SET state = 'submitting' WHERE id = ?"
SUBMITTED = "UPDATE videos SET state = 'submitted', job_id = ? WHERE id = ?"


async def enqueue(table: aiosqlite.Connection, count: int) -> None:
    """Make the queue, a table of videos."""
    await table.execute("PRAGMA journal_mode = wal")
    await table.execute("PRAGMA synchronous = FULL")
    await table.execute("CREATE TABLE videos (id INTEGER PRIMARY KEY, state TEXT, job_id TEXT)")
    rows = ((number, "pending") for number in range(count))
    await table.executemany("INSERT INTO videos (id, state) VALUES (?, ?)", rows)
    await table.commit()


async def hand_in(
    table: aiosqlite.Connection, session: aiohttp.ClientSession, url: str, number: int
) -> None:
    """One video."""
    await table.execute(SUBMITTING, (number,))
    await table.commit()
    async with session.post(url, json=body(number)) as response:
        answer = await response.json()
    await table.execute(SUBMITTED, (answer["job_id"], number))
    await table.commit()


async def work(table: aiosqlite.Connection, session: aiohttp.ClientSession, url: str) -> None:
    """Hand in all that is pending."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with slots:
            await hand_in(table, session, url, number)

    pending = await table.execute_fetchall("SELECT id FROM videos WHERE state = 'pending'")
    await asyncio.gather(*(one(number) for (number,) in pending))


async def main(url: str, count: int, folder: Path) -> None:
    """Enqueue, hand in, check."""
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with (
        aiosqlite.connect(folder / "videos.db") as table,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        await enqueue(table, count)
        await work(table, session, url)
        rows = await table.execute_fetchall("SELECT job_id FROM videos")
    check([job_id for (job_id,) in rows], count)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
