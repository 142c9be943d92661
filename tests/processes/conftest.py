"""A worker's processes on one database, against the imitation of the API in the test's loop.

The imitation's book is the judge.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.processes.programs import Programs
from worker.simulator import Simulator


@pytest.fixture
async def worker(simulator: Simulator, url: str, tmp_path: Path) -> AsyncIterator[Programs]:
    """Return a way to start processes that share a database and an API, with short waits.

    They leave doubts alone; tests/proof covers reconciliation.
    """
    programs = Programs(
        tmp_path,
        {"VALOSSA_API_KEY": "demo-key"},
        database_url=url,
        api_url=simulator.url,
        rate=1_000,
        concurrency=4,
        timeout_seconds=20,
        backoff_base_seconds=900,
        on_doubt="hold",
    )
    yield programs
    await programs.put_away()
