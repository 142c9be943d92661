import asyncio
import gzip
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.processes.programs import Ended, Program, Programs, execute, within
from tests.wire import Line, Wire
from worker.runner.result_files import ROOM, FolderError, Part
from worker.simulator import Options, Simulator
from worker.simulator import results as imitated
from worker.store.results import WantedResult

pytestmark = pytest.mark.slow

POINTS = ("part written", "synced", "renamed", "in the folder")

STOP_AT = """\
import os, runpy, sys, time
wanted, month = sys.argv[1], os.environ["WORKER_RESULTS_DIR"]
seen = set()
def reached(point):
    seen.add(point)
    if point == wanted:
        print(f"reached: {point}", flush=True)
        time.sleep(3600)
sync = os.fsync
def fsync(number):
    first = "synced" not in seen
    reached("part written" if first else "-")
    sync(number)
    reached("synced" if first else "in the folder")
os.fsync = fsync
def heard(event, arguments):
    if event == "open" and "synced" in seen and str(arguments[0]).startswith(month):
        reached("renamed")
sys.addaudithook(heard)
sys.argv[:2] = []
sys.argv.insert(0, "worker")
runpy.run_module("worker", run_name="__main__")
"""
"""Python that becomes the program, but stops dead at a named point of storing a result."""

READY = Options(finished_share=1.0)


@dataclass(frozen=True, kw_only=True)
class Store:
    """A queue with jobs, the folder of their results, and programs that work on it."""

    worker: Programs
    api: Simulator
    url: str
    folder: Path

    async def job(self) -> str:
        """Return a new job that has finished, whose result is wanted."""
        body = {"api_key": "demo-key", "media": {"video": {"url": "https://v.example/1"}}}
        async with (
            aiohttp.ClientSession() as client,
            client.post(f"{self.api.url}/new_job", json=body) as answer,
        ):
            job_id = str((await answer.json())["job_id"])
        columns = "url, state, job_id, submitted_at"
        at = "2026-01-31 10:00:00"
        execute(
            self.url,
            f"INSERT INTO videos ({columns}) VALUES ('https://v.example/1', 'submitted', ?, ?)",
            job_id,
            at,
        )
        execute(self.url, "UPDATE jobs SET ended_as = 'finished', ended_at = ?", at)
        return job_id

    async def start(self, *words: str, **settings: Any) -> Program:  # noqa: ANN401
        """Start ``results`` with these words."""
        return await self.worker.start("results", *words, results_dir=self.folder, **settings)

    async def results(self, *words: str, **settings: Any) -> Ended:  # noqa: ANN401
        """Run ``results`` with these words."""
        return await (await self.start(*words, **settings)).ended()

    async def fetch_all(self) -> Ended:
        """Fetch what is wanted, without the wait for a process that may be at it."""
        execute(self.url, "UPDATE results SET next_try_at = '2026-01-31 10:00:00.000000'")
        execute(self.url, "UPDATE account SET next_question_at = NULL")
        return await self.results("fetch", "--missing", "--json", api_url=self.api.url)

    def files(self) -> list[Path]:
        """Return every file of the folder."""
        return [each for each in self.folder.rglob("*") if each.is_file()]

    async def judged(self, job_id: str) -> None:
        """Check that the job has exactly one file, whole, verified and in the table."""
        (file,) = self.files()
        (job,) = (each for each in self.api.accepted if each.job_id == job_id)
        assert imitated.document(job, "core") == gzip.decompress(file.read_bytes())
        assert {"verified": 1, "wrong": []} == (await self.results("verify", "--json")).told
        (row,) = json.loads((await self.results("list", "--json")).out)
        assert ("stored", f"2026-01/{job_id}.core.json.gz") == (row["state"], row["path"])


@pytest.fixture
async def store(worker: Programs, url: str, tmp_path: Path) -> AsyncIterator[Store]:
    """Yield a queue, and the imitation whose jobs finish at once."""
    folder = tmp_path / "results"
    folder.mkdir()
    async with Simulator(READY) as api:
        yield Store(worker=worker, api=api, url=url, folder=folder)


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_on_the_way_to_the_disk_leaves_no_half_file(store: Store, point: str) -> None:
    """Killed at any step of storing, the next run leaves one whole file, its row, and no more."""
    job_id = await store.job()
    settings: dict[str, Any] = {"results_dir": store.folder, "api_url": store.api.url}
    program = await store.worker.start(
        *(point, "results", "fetch", "--missing"), program=("-c", STOP_AT), **settings
    )
    await program.printed(f"reached: {point}")
    program.kill()
    await program.ended()
    named = [file for file in store.files() if file.name.endswith(".gz")]
    assert (point in {"renamed", "in the folder"}) == bool(named)

    done = await store.fetch_all()

    assert (0, 1) == (done.code, done.told["stored"])
    await store.judged(job_id)


@pytest.mark.parametrize("taken", [0, 100])
async def test_a_kill_while_the_answer_comes_leaves_nothing(store: Store, taken: int) -> None:
    """Killed before the answer, or at its first bytes, the next run begins anew."""
    job_id = await store.job()
    reached = asyncio.Event()

    async def script(line: Line) -> None:
        await line.request()
        if taken:
            line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b" " * taken)
        reached.set()
        await line.rest()

    async with Wire(script) as wire:
        program = await store.start("fetch", "--missing", api_url=wire.url)
        await within(reached.wait())
        program.kill()
        await program.ended()
    assert "core" not in "".join(file.name for file in store.files() if file.suffix == ".gz")
    assert (0, 1) == ((done := await store.fetch_all()).code, done.told["stored"])
    await store.judged(job_id)


async def test_a_kill_when_the_row_is_written_changes_nothing(store: Store) -> None:
    """Killed after its last step, the result is there, and is not fetched again."""
    job_id = await store.job()
    program = await store.start("fetch", "--missing", api_url=store.api.url)
    await program.logged("result_stored")
    program.kill()
    await program.ended()
    assert 0 == (await store.fetch_all()).code
    assert 1 == len(store.api.questions)
    await store.judged(job_id)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a disk of this size on the folder; skip the test where that is not allowed."""
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may mount no disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_stops_the_fetching_until_there_is_room(store: Store) -> None:
    """On a disk that is nearly full nothing is stored, half or whole; one event says so, and the
    table. With room the same command goes on.
    """
    job_id = await store.job()
    with small_disk(store.folder, "260m"):
        filler = store.folder / "filler"
        filler.write_bytes(b"x" * 8 * 2**20)
        full = await store.results("fetch", "--missing", api_url=store.api.url)
        assert 1 == full.code
        assert "less than 256 MiB are free: make room, or mend the folder" in full.err
        assert 1 == len(full.events("results_held"))
        (row,) = execute(store.url, "SELECT state, tries, error FROM results")
        assert ("wanted", 0) == (row["state"], row["tries"])
        assert str(row["error"]).endswith("less than 256 MiB are free")
        assert [filler] == store.files()
        filler.unlink()
        assert 0 == (await store.fetch_all()).code
        await store.judged(job_id)


def test_a_disk_that_others_fill_leaves_no_half_file(tmp_path: Path) -> None:
    """A disk on which there is no byte left ends a result with the reason of the disk."""
    now = datetime(2026, 1, 31, tzinfo=UTC)
    kind = "speech_to_text_srt"
    wanted = WantedResult(job_id="j", type=kind, tries=0, accepted_at=now, ended_at=now)
    with small_disk(tmp_path, "64k"):
        part = Part(tmp_path, wanted, lambda _: ROOM)
        with pytest.raises(FolderError, match="No space left on device"):
            part.take(b"x" * 131_072)
        part.close()
        assert [] == [each for each in tmp_path.rglob("*") if each.is_file()]


async def test_a_full_disk_of_results_holds_up_no_send(store: Store) -> None:
    """A drain submits everything while its results find no room."""
    await store.job()
    execute(
        store.url,
        "INSERT INTO results (job_id, type, next_try_at) "
        "SELECT job_id, 'core', '2026-01-31 10:00:00.000000' FROM jobs",
    )
    for number in range(5):
        execute(store.url, "INSERT INTO videos (url) VALUES (?)", f"https://v.example/n{number}")
    with small_disk(store.folder, "4k"):
        (store.folder / "filler").write_bytes(b"x" * 4_096)
        program = await store.worker.start(
            "run", api_url=store.api.url, follow="results", results_dir=store.folder
        )
        await program.logged("results_held")
        await program.logged("attempt_ended", 5, outcome="accepted")
        program.signal(15)
        assert 143 == (await program.ended()).code


async def test_a_drain_follows_a_job_to_its_result(store: Store) -> None:
    """A video that is handed in, followed and finished has its result on the disk, verified."""
    execute(store.url, "INSERT INTO videos (url) VALUES ('https://v.example/1')")
    execute(store.url, "UPDATE account SET job_seconds = 0")
    settings: dict[str, Any] = {"follow": "results", "results_types": "core, speech_to_text_srt"}
    settings |= {"api_url": store.api.url, "results_dir": store.folder}
    assert 0 == (await store.worker.run("drain", **settings)).code

    done = await store.worker.run("results", "fetch", "--json", **settings)

    assert {"stored": 2, "wanted": 0, "failed": 0} == done.told
    assert {"verified": 2, "wrong": []} == (await store.results("verify", "--json")).told
    assert 2 == len(store.files())
