"""Procrastinate: an asynchronous task; the job id goes to a table, by the app's own connections.

``python -m tests.benchmarks.peers.procrastinate_peer URL COUNT DATABASE``. A worker fetches one job
after the other, so several workers share the 64 slots. Tried: concurrency 16, 64, 256; 1 and 4
workers; 16 and 32 connections; finished jobs kept (its default) or deleted: 4 workers of 16 were
the fastest, by a little, and keeping or deleting made no clear difference.
"""

import asyncio
import sys

import aiohttp
from procrastinate import App, PsycopgConnector
from procrastinate.tasks import Task

from tests.benchmarks.peers.videos import body, check

WORKERS = 4
CONCURRENCY = 16
CONNECTIONS = 32
EMPTY = (
    "DROP SCHEMA public CASCADE",
    "CREATE SCHEMA public",
    "CREATE TABLE jobs (video integer PRIMARY KEY, job_id text NOT NULL)",
)
WRITE = "INSERT INTO jobs VALUES (%(video)s, %(job_id)s)"


def make_task(app: App, session: aiohttp.ClientSession, url: str) -> Task:
    """POST a video and store its job id."""

    async def hand_in(number: int) -> None:
        async with session.post(url, json=body(number)) as response:
            answer = await response.json()
        await app.connector.execute_query_async(WRITE, video=number, job_id=answer["job_id"])

    return app.task(name="hand_in")(hand_in)


async def enqueue(app: App, task: Task, count: int) -> None:
    """Make an empty database with the queue in it."""
    for command in EMPTY:
        await app.connector.execute_query_async(command)
    await app.schema_manager.apply_schema_async()
    await task.batch_defer_async(*({"number": number} for number in range(count)))
    await app.connector.execute_query_async("ANALYZE")


async def work(app: App) -> None:
    """Run workers until the queue is empty."""
    workers = (
        app.run_worker_async(
            concurrency=CONCURRENCY, wait=False, listen_notify=False, install_signal_handlers=False
        )
        for _ in range(WORKERS)
    )
    await asyncio.gather(*workers)


async def main(url: str, count: int, database: str) -> None:
    """Enqueue, hand in, check."""
    connector = PsycopgConnector(conninfo=database, min_size=CONNECTIONS, max_size=CONNECTIONS)
    app = App(connector=connector)
    async with app.open_async(), aiohttp.ClientSession() as session:
        await enqueue(app, make_task(app, session, url), count)
        await work(app)
        rows = await connector.execute_query_all_async("SELECT job_id FROM jobs")
    check([row["job_id"] for row in rows], count)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
