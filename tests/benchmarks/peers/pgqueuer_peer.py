"""PgQueuer: an asynchronous entrypoint; the job id goes to a table, by a pool of connections.

``python -m tests.benchmarks.peers.pgqueuer_peer URL COUNT DATABASE``. On uvloop, as its own command
runs it, with its recommended autovacuum, and fully durable. Tried: batches of 10 (its default), 32,
64, 128, 256, with 16, 32 and 64 connections, with and without a bound on what is in flight: 64, 128
and 32 were the fastest. Without a bound it POSTs all videos first and writes them down later, which
would be a rate of POSTs, not of videos handed in.
"""

import sys

import aiohttp
import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.models import Job
from pgqueuer.types import QueueExecutionMode

from tests.benchmarks.peers.videos import body, check

BATCH = 64
IN_FLIGHT = 2 * BATCH  # no less is accepted
CONNECTIONS = 32


async def enqueue(connection: asyncpg.Connection, count: int) -> None:
    """Make an empty database with the queue in it."""
    await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await connection.execute("CREATE TABLE jobs (video integer PRIMARY KEY, job_id text NOT NULL)")
    queries = Queries.from_asyncpg_connection(connection)
    await queries.install()
    await queries.optimize_autovacuum()
    numbers = [b"%d" % number for number in range(count)]
    await queries.enqueue(["hand_in"] * count, numbers, [0] * count)
    await connection.execute("VACUUM ANALYZE")


async def work(
    connection: asyncpg.Connection, pool: asyncpg.Pool, session: aiohttp.ClientSession, url: str
) -> None:
    """Run a worker until the queue is empty."""

    async def hand_in(job: Job) -> None:
        number = int(job.payload)
        async with session.post(url, json=body(number)) as response:
            answer = await response.json()
        await pool.execute("INSERT INTO jobs VALUES ($1, $2)", number, answer["job_id"])

    queuer = PgQueuer.from_asyncpg_connection(connection)
    queuer.entrypoint("hand_in")(hand_in)
    await queuer.run(
        batch_size=BATCH, max_concurrent_tasks=IN_FLIGHT, mode=QueueExecutionMode.drain
    )


async def main(url: str, count: int, database: str) -> None:
    """Enqueue, hand in, check."""
    connection = await asyncpg.connect(database)
    await enqueue(connection, count)
    async with (
        asyncpg.create_pool(database, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session,
    ):
        await work(connection, pool, session, url)
    check([row["job_id"] for row in await connection.fetch("SELECT job_id FROM jobs")], count)
    await connection.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
