"""Time the queries of a queue inside the process: ``python asked.py DATABASE``."""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Connection

from worker.core.model import State
from worker.db.database import Database
from worker.store import search, shared_state, statistics
from worker.wiring import CLOCK

NOW = datetime.now(UTC)


def status(connection: Connection) -> None:
    """Run every query of ``status``."""
    statistics.overview(connection, NOW)
    shared_state.read(connection)


def left(connection: Connection) -> None:
    """Return the counts of a finished drain."""
    statistics.due(connection, statistics.in_state(connection, State.PENDING), NOW)


def failed(connection: Connection) -> None:
    """Run the query of the first page of ``list --state failed``."""
    search.matching(connection, search.Filter(states=(State.FAILED,)), 0, search.PAGE)


async def seconds(path: str, question: Callable[[Connection], None]) -> float:
    """Return how long an answer takes on a connection that has read the schema and nothing else."""
    async with Database(path, dice=random.random, now=CLOCK.now, waiting=print) as database:
        await database.read(shared_state.read)
        began = time.perf_counter()
        await database.read(question)
        return time.perf_counter() - began


if __name__ == "__main__":
    took = {
        each.__name__: asyncio.run(seconds(sys.argv[1], each)) for each in (status, left, failed)
    }
    sys.stdout.write(json.dumps(took))
