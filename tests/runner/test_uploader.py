"""Local files from the table to the API: a real run, real files, the imitation as the judge."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.parts import DRAIN, DRAIN_ALL, RUN_SETTINGS, Worker, add, row, states
from worker.core.file_address import address_of
from worker.db.database import Database
from worker.runner.model import RunReport
from worker.simulator import Options, Simulator, Uploading


def address(path: Path) -> str:
    """Return a file's address."""
    return address_of(os.fsencode(path))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a root."""
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


def file(media: Path, name: str = "a.mp4", size: int = 2_500) -> Path:
    """Write a file of random bytes."""
    (media / name).write_bytes(os.urandom(size))
    return media / name


def worker(media: Path, **settings: object) -> Worker:
    """Return a worker with one root."""
    changed = replace(RUN_SETTINGS, upload_roots=str(media), **settings)  # type: ignore[arg-type]
    return Worker(settings=changed)


@asynccontextmanager
async def api(**uploads: object) -> AsyncIterator[Simulator]:
    """Yield the imitation with small chunks."""
    options = Options(uploads=Uploading(chunk_bytes=1_000, **uploads))  # type: ignore[arg-type]
    async with Simulator(options) as simulator:
        yield simulator


def bought(simulator: Simulator) -> list[str]:
    """Return the hashes of what was bought, in its order. Each address is a finished upload's."""
    finished = {upload.url: upload.sha256 for upload in simulator.uploads.finished}
    return [finished[job.url] for job in simulator.accepted]


def sha256(path: Path) -> str:
    """Return a file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_file_is_uploaded_and_bought(database: Database, media: Path) -> None:
    """Law 16: a drain uploads a file whole, then buys it, once."""
    paths = [file(media, f"{n}.mp4", size) for n, size in enumerate((1, 999, 1_000, 1_001, 5_000))]
    await add(database, *map(address, paths))
    async with api() as simulator:
        report = await worker(media).run(database, simulator.url)
        assert [sha256(path) for path in paths] == sorted(
            bought(simulator), key=[sha256(p) for p in paths].index
        )
    assert {"submitted": 5} == await states(database)
    print(report)
