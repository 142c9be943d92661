import asyncio
import gzip
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from sqlalchemy import Connection, select, update
from structlog.typing import EventDict

from tests.conftest import Hands
from tests.parts import RUN_SETTINGS, Worker, add, listener, until
from worker.core.results import ENDINGS, FIRST_WAIT, TRIES, path_of
from worker.core.run_state import RunState
from worker.db.database import Database
from worker.db.schema import account, jobs, results
from worker.log import Log
from worker.runner.fetcher import HELD, IDLE, Fetcher
from worker.runner.reconciler import Reconciler
from worker.runner.reporter import Reporter
from worker.runner.result_files import ROOM, STEP, FolderError, Part, free_bytes
from worker.simulator import Options, Simulator
from worker.simulator import results as imitated
from worker.store import results as store

T = TypeVar("T")

FINISHED = Options(finished_share=1.0)


@dataclass(kw_only=True)
class Scene:
    """Finished jobs of a queue, the folder of their results, and the API that has them."""

    database: Database
    api: Simulator
    folder: Path
    hands: Hands
    log: Log
    events: list[EventDict]

    async def finished(self, count: int = 1, types: Sequence[str] = ("core",)) -> list[str]:
        """Return so many new finished jobs whose results are wanted."""
        made = []
        async with aiohttp.ClientSession() as client:
            for number in range(count):
                body = {"api_key": "demo-key", "media": {"video": {"url": f"https://v/{number}"}}}
                async with client.post(f"{self.api.url}/new_job", json=body) as answer:
                    made.append(str((await answer.json())["job_id"]))
        now = self.hands.clock.now()
        for job_id in made:
            url = f"https://v.example/{job_id}"
            await add(self.database, url, job_id=job_id, state="submitted", submitted_at=now)
        await self.database.write(lambda c: end(c, made, types, now), "test")
        return made

    @asynccontextmanager
    async def fetcher(
        self, name: str = "worker-1", free: Callable[[Path], int] = free_bytes
    ) -> AsyncIterator[Fetcher]:
        """Yield a fetcher of a process."""
        settings = replace(RUN_SETTINGS, results_dir=str(self.folder))
        worker = Worker(name=name, clock=self.hands.clock, log=self.log, settings=settings)
        async with worker.api(self.api.url) as api:
            yield Fetcher(
                Reconciler(
                    api=api,
                    limiter=worker.limiter(),
                    write=self.database.write,
                    transaction=worker.transaction(),
                    state=RunState(began_at=0.0),
                    reporter=Reporter(self.log),
                ),
                free,
            )

    async def fetch(self, times: int = 1) -> datetime:
        """Fetch so often, each time a minute later; return when to look again."""
        async with self.fetcher() as fetcher:
            for _ in range(times):
                self.hands.pass_seconds(61)
                again_at = await fetcher.fetch()
        return again_at

    async def row(self, job_id: str, kind: str = "core") -> dict[str, Any]:
        """Return a result as it stands."""
        which = results.c.job_id == job_id, results.c.type == kind
        found = await self.database.read(
            lambda c: c.execute(select(results).where(*which)).mappings().one()
        )
        return dict(found)

    def told(self, name: str) -> list[EventDict]:
        """Return the events of this name."""
        return [each for each in self.events if each["event"] == name]

    def files(self) -> list[Path]:
        """Return every file of the folder."""
        return [each for each in sorted(self.folder.rglob("*")) if each.is_file()]

    def whole(self, job_id: str, kind: str = "core", least: int = 0) -> bytes:
        """Return a result as the API has it."""
        (job,) = (each for each in self.api.accepted if each.job_id == job_id)
        return imitated.document(job, kind, least)


def end(connection: Any, ids: Sequence[str], types: Sequence[str], now: datetime) -> None:  # noqa: ANN401
    """End jobs as finished, and want their results."""
    which = jobs.c.job_id.in_(ids)
    connection.execute(update(jobs).where(which).values(ended_as="finished", ended_at=now))
    store.want(connection, types, now, ids)


@pytest.fixture
async def scene(database: Database, hands: Hands, tmp_path: Path) -> AsyncIterator[Scene]:
    """Yield a queue without jobs."""
    folder = tmp_path / "results"
    folder.mkdir()
    log, events = listener()
    async with Simulator(FINISHED) as api:
        yield Scene(database=database, api=api, folder=folder, hands=hands, log=log, events=events)


async def test_a_result_that_a_clock_ahead_has_planned_is_fetched(scene: Scene) -> None:
    """A try that is planned farther ahead than any wait goes is due at the next look."""
    (job_id,) = await scene.finished()
    plan = update(results).values(next_try_at=scene.hands.wall + timedelta(days=365))
    await scene.database.write(lambda c: c.execute(plan), "test")

    await scene.fetch()
    await scene.fetch()

    assert "stored" == (await scene.row(job_id))["state"]


@pytest.mark.parametrize(("trouble", "questions"), [("404", 2), ("500", 2), ("401", 1)])
async def test_a_round_asks_for_each_result_once_and_ends_at_a_refused_key(
    scene: Scene, trouble: str, questions: int
) -> None:
    """A round that takes longer than a result waits for its next try does not ask for it again."""
    await scene.finished(2)
    scene.api.options = replace(FINISHED, result_failures={trouble: 1.0})

    def a_minute_later(folder: Path) -> int:
        scene.hands.pass_seconds(61)
        return free_bytes(folder)

    async with scene.fetcher(free=a_minute_later) as fetcher, asyncio.timeout(10):
        await fetcher.fetch_each()

    assert questions == len(scene.api.questions)


async def test_a_result_is_on_the_disk_and_then_in_the_table(scene: Scene) -> None:
    """A fetched result stands in its file whole, and its row says size, hash, path and time."""
    (job_id,) = await scene.finished()

    await scene.fetch()

    row = await scene.row(job_id)
    (file,) = scene.files()
    data = file.read_bytes()
    assert scene.whole(job_id) == gzip.decompress(data)
    assert {
        "job_id": job_id,
        "type": "core",
        "state": "stored",
        "path": f"2026-01/{job_id}.core.json.gz",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "error": None,
        "tries": 0,
        "next_try_at": None,
        "fetched_at": scene.hands.wall,
    } == row
    assert scene.folder / row["path"] == file
    assert [job_id] == [each["job_id"] for each in scene.told("result_stored")]


async def test_every_type_is_fetched(scene: Scene) -> None:
    """Each of the nine types gets a file of its own, JSON compressed and text as it is."""
    (job_id,) = await scene.finished(types=tuple(ENDINGS))

    await scene.fetch(9)

    assert 9 == len(scene.files())
    for kind in ENDINGS:
        row = await scene.row(job_id, kind)
        data = (scene.folder / row["path"]).read_bytes()
        plain = gzip.decompress(data) if row["path"].endswith("gz") else data
        assert scene.whole(job_id, kind) == plain


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("cut", "the answer was cut off: ClientPayloadError"),
        ("cut-chunk", "the answer was cut off: ClientPayloadError"),
        ("cut-compressed", "the answer was cut off: ClientPayloadError"),
        ("half", "it is not JSON to its end"),
        ("empty", "it is not JSON to its end"),
        ("not-json", "it is not JSON to its end"),
        ("wrong-id", "it does not name this job"),
        ("404", "HTTP 404: "),
    ],
)
async def test_what_is_wrong_is_tried_again_and_leaves_no_file(
    scene: Scene, trouble: str, reason: str
) -> None:
    """A wrong answer leaves nothing on the disk, is counted with its reason, and comes again."""
    (job_id,) = await scene.finished()
    scene.api.options = replace(FINISHED, result_failures={trouble: 1.0})

    await scene.fetch()

    row = await scene.row(job_id)
    assert ("wanted", 1) == (row["state"], row["tries"])
    assert row["error"].startswith(reason)
    assert scene.hands.wall + FIRST_WAIT * 2 == row["next_try_at"]
    assert [] == scene.files()

    scene.api.options = FINISHED
    await scene.fetch()
    assert "stored" == (await scene.row(job_id))["state"]


async def test_a_text_without_a_byte_is_none(scene: Scene) -> None:
    """An empty answer is no text, and is asked for again."""
    (job_id,) = await scene.finished(types=("speech_to_text_srt",))
    scene.api.options = replace(FINISHED, result_failures={"empty": 1.0})
    await scene.fetch()
    row = await scene.row(job_id, "speech_to_text_srt")
    assert ("it is empty", 1) == (row["error"], row["tries"])
    assert [] == scene.files()


async def test_what_stays_wrong_fails(scene: Scene) -> None:
    """After its last try a result is failed, with the reason, and is not asked for any more."""
    (job_id,) = await scene.finished()
    scene.api.options = replace(FINISHED, results_delay_seconds=1e9)
    async with scene.fetcher() as fetcher:
        for _ in range(TRIES + 2):
            scene.hands.pass_seconds(3_601)
            await fetcher.fetch()
    row = await scene.row(job_id)
    assert ("failed", TRIES, None) == (row["state"], row["tries"], row["next_try_at"])
    assert "HTTP 400: Job is not finished" == row["error"]
    assert TRIES == len(scene.api.questions)


@pytest.mark.parametrize("trouble", ["500", "proxy-502", "proxy-200"])
async def test_an_outage_fails_no_result(scene: Scene, trouble: str) -> None:
    """However long the API fails, a result is asked for, each time after as long as its job is
    over, an hour at most, and no try is used up.
    """
    (job_id,) = await scene.finished()
    scene.api.options = replace(FINISHED, result_failures={trouble: 1.0})
    waits = []
    async with scene.fetcher() as fetcher:
        scene.hands.pass_seconds(1)
        for _ in range(TRIES + 5):
            await fetcher.fetch()
            row = await scene.row(job_id)
            assert ("wanted", 0) == (row["state"], row["tries"])
            waits.append((row["next_try_at"] - scene.hands.wall).total_seconds())
            scene.hands.pass_seconds(waits[-1])
        assert [30, 31, 62, 124, 248, 496, 992, 1984, 3600, 3600] == waits[:10]
        assert TRIES + 5 == len(scene.api.questions)
        scene.api.options = FINISHED
        await fetcher.fetch()
    assert "stored" == (await scene.row(job_id))["state"]


@pytest.mark.parametrize("trouble", ["401", "429", "reset", "retry-after-503"])
async def test_what_is_not_the_results_fault_is_not_its_try(scene: Scene, trouble: str) -> None:
    """A refused account, a throttled question and a lost connection use up no try (law 7)."""
    (job_id,) = await scene.finished()
    scene.api.options = replace(FINISHED, result_failures={trouble: 1.0})

    await scene.fetch(TRIES + 1)

    row = await scene.row(job_id)
    assert ("wanted", 0) == (row["state"], row["tries"])


async def test_a_throttled_question_holds_everybody(scene: Scene) -> None:
    """A Retry-After becomes the cool-down of all, and no result is asked for while it lasts."""
    await scene.finished(2)
    scene.api.options = replace(FINISHED, result_failures={"retry-after-429": 1.0})
    await scene.fetch()
    async with scene.fetcher() as fetcher:
        again_at = await fetcher.fetch()
    until = await scene.database.read(lambda c: c.scalar(select(account.c.cool_down_until)))
    assert until == again_at
    assert 1 == len(scene.api.questions)


async def test_a_long_cool_down_holds_results_as_well(scene: Scene) -> None:
    """No result is asked for in a cool-down, however long it lasts."""
    await scene.finished()
    far = scene.hands.wall + timedelta(hours=1)
    values = {"cool_down_until": far, "cool_down_reason": "slow", "written_at": scene.hands.wall}
    await scene.database.write(lambda c: c.execute(update(account).values(values)), "test")
    await scene.fetch()
    assert [] == scene.api.questions


async def test_results_share_the_budget_of_questions(scene: Scene) -> None:
    """A second result waits until the budget allows it, and its question moves the budget on."""
    await scene.finished(2)
    async with scene.fetcher() as fetcher:
        scene.hands.pass_seconds(100)
        await fetcher.fetch()
        again_at = await fetcher.fetch()
        budget = await scene.database.read(lambda c: c.scalar(select(account.c.next_question_at)))
        assert budget == again_at > scene.hands.wall
        assert 1 == len(scene.files())
        scene.hands.pass_seconds((again_at - scene.hands.wall).total_seconds())
        await fetcher.fetch()
    assert 2 == len(scene.files())


async def test_a_queue_that_has_moved_is_left_alone(scene: Scene) -> None:
    """Nothing is fetched for a queue that is worked on elsewhere."""
    await scene.finished()
    await scene.database.write(lambda c: c.execute(update(account).values(moved_to="x")), "test")
    await scene.fetch()
    assert [] == scene.files()
    assert [] == scene.api.questions


async def test_a_moment_of_a_clock_that_was_set_holds_nothing(scene: Scene) -> None:
    """A budget that is free in an hour was written by another clock."""
    await scene.finished()
    far = scene.hands.wall + timedelta(hours=1)
    await scene.database.write(
        lambda c: c.execute(update(account).values(next_question_at=far)), "test"
    )
    await scene.fetch()
    assert 1 == len(scene.files())


# What a crash leaves.


def compressed(document: object) -> bytes:
    """Return a document as a file has it."""
    return gzip.compress(json.dumps(document).encode())


def place(scene: Scene, job_id: str, kind: str = "core") -> Path:
    """Return the path of a result, in a folder that is there."""
    path = scene.folder / path_of(job_id, scene.hands.wall, kind)
    path.parent.mkdir(exist_ok=True)
    return path


LEFT = {
    "empty": b"",
    "foreign": compressed({"job_info": {"job_id": "another"}}),
    "nameless": compressed({}),
    "cut": compressed([])[:-1],
    "well-formed": compressed({"job_info": {"job_id": "mine"}}),
}


@pytest.mark.parametrize("left", LEFT)
async def test_a_file_without_a_row_proves_nothing(scene: Scene, left: str) -> None:
    """A file that has its last name, but no row, is replaced by what the API has."""
    (job_id,) = await scene.finished()
    place(scene, job_id).write_bytes(LEFT[left].replace(b"mine", job_id.encode()))

    await scene.fetch()
    (file,) = scene.files()
    assert scene.whole(job_id) == gzip.decompress(file.read_bytes())


@pytest.mark.parametrize("trouble", ["404", "cut", "wrong-id", "500", "reset"])
async def test_a_file_stays_until_its_replacement_is_whole(scene: Scene, trouble: str) -> None:
    """A file whose result is wanted again is there until another one is, whatever the API says."""
    (job_id,) = await scene.finished()
    await scene.fetch()
    (file,) = scene.files()
    was = file.read_bytes()
    again = {"state": "wanted", "next_try_at": scene.hands.wall}
    await scene.database.write(lambda c: store.write(c, job_id, "core", **again), "test")
    scene.api.options = replace(FINISHED, result_failures={trouble: 1.0})

    await scene.fetch()

    assert "wanted" == (await scene.row(job_id))["state"]
    assert [file] == scene.files()
    assert was == file.read_bytes()


async def test_a_failure_says_nothing_of_what_another_process_has_stored(scene: Scene) -> None:
    """A process that took more than a minute, and failed, does not change a row that another one
    has written meanwhile.
    """
    (job_id,) = await scene.finished()
    stored = {"state": "stored", "next_try_at": None, "fetched_at": scene.hands.wall}
    loop = asyncio.get_running_loop()

    def store_meanwhile(_: Path) -> int:
        work = scene.database.write(lambda c: store.write(c, job_id, "core", **stored), "test")
        asyncio.run_coroutine_threadsafe(work, loop).result()
        return ROOM

    scene.api.options = replace(FINISHED, result_failures={"404": 1.0})
    async with scene.fetcher(free=store_meanwhile) as fetcher:
        scene.hands.pass_seconds(61)
        await fetcher.fetch()
    assert 1 == len(scene.api.questions)
    row = await scene.row(job_id)
    assert ("stored", 0, None, None) == tuple(
        row[name] for name in ("state", "tries", "error", "next_try_at")
    )


async def test_a_part_that_was_left_is_written_anew(scene: Scene) -> None:
    """The part of a process that was killed is in nobody's way, and not gone on with."""
    (job_id,) = await scene.finished()
    path = place(scene, job_id)
    path.with_name(f"{path.name}.part").write_bytes(b"x" * 1_000_000)

    await scene.fetch()

    (file,) = scene.files()
    assert scene.whole(job_id) == gzip.decompress(file.read_bytes())


async def test_two_processes_do_not_write_one_file(scene: Scene) -> None:
    """A result that one process fetches is locked; another asks nothing, and looks again later."""
    (job_id,) = await scene.finished()
    wanted = await scene.database.read(lambda c: store.due(c, scene.hands.wall))
    assert wanted is not None
    part = Part(scene.folder, wanted, free_bytes)
    part.take(b"{")

    await scene.fetch()

    row = await scene.row(job_id)
    assert ("wanted", 0) == (row["state"], row["tries"])
    assert (None, scene.hands.wall + HELD) == (row["error"], row["next_try_at"])
    assert [] == scene.told("result_failed")
    assert [] == scene.api.questions
    assert 1 == len(scene.files())
    part.close()
    await scene.fetch()
    assert "stored" == (await scene.row(job_id))["state"]


async def test_what_one_process_asks_for_no_other_takes(scene: Scene) -> None:
    """A result whose answer has not come yet is nobody else's for a minute."""
    (job_id,) = await scene.finished()
    go = threading.Event()
    async with (
        scene.fetcher(free=lambda _: ROOM if go.wait(20) else 0) as first,
        scene.fetcher("worker-2") as second,
    ):
        scene.hands.pass_seconds(61)
        asking = asyncio.create_task(first.fetch())
        async with asyncio.timeout(10):
            while (await scene.row(job_id))["next_try_at"] < scene.hands.wall:
                pass  # each look lets the others work
        scene.hands.pass_seconds(31)
        assert scene.hands.wall + IDLE == await second.fetch()
        go.set()
        await asking
    assert "stored" == (await scene.row(job_id))["state"]
    assert 1 == len(scene.api.questions)


async def test_a_long_download_stays_reserved(scene: Scene) -> None:
    """However long it takes, no other process asks for the result, with whatever folder."""
    (job_id,) = await scene.finished()
    go = threading.Event()
    async with (
        scene.fetcher(free=lambda _: ROOM if go.wait(20) else 0) as first,
        scene.fetcher("worker-2") as second,
    ):
        scene.hands.pass_seconds(61)
        late = scene.hands.wall + timedelta(minutes=10)
        asking = asyncio.create_task(slowly(scene, first).fetch())
        async with asyncio.timeout(10):
            while (await scene.row(job_id))["next_try_at"] < late:
                pass  # each look lets the others work
        await second.fetch()
        assert [] == scene.api.questions
        go.set()
        await asking
    assert "stored" == (await scene.row(job_id))["state"]
    assert 1 == len(scene.api.questions)


def slowly(scene: Scene, fetcher: Fetcher) -> Fetcher:
    """Return a fetcher for whom each transaction takes half of what a result is reserved for."""

    async def write(work: Callable[[Connection], T], purpose: str) -> T:
        try:
            return await scene.database.write(work, purpose)
        finally:
            scene.hands.pass_seconds(HELD.total_seconds() / 2)

    return replace(fetcher, reconciler=replace(fetcher.reconciler, write=write))


@pytest.mark.usefixtures("remade")
async def test_a_download_outlasts_an_outage_of_the_database(scene: Scene) -> None:
    """A reservation that cannot be prolonged ends no download, and is prolonged later."""
    (job_id,) = await scene.finished()
    go = threading.Event()
    async with scene.fetcher(free=lambda _: ROOM if go.wait(20) else 0) as fetcher:
        scene.hands.pass_seconds(61)
        asking = asyncio.create_task(slowly(scene, fetcher).fetch())
        async with asyncio.timeout(10):
            while (await scene.row(job_id))["next_try_at"] < scene.hands.wall:
                pass
            await rename(scene.database, "results", "gone")
            lost_at = scene.hands.wall
            await until(lambda: scene.hands.wall >= lost_at + 3 * HELD)
            await rename(scene.database, "gone", "results")
            while (await scene.row(job_id))["next_try_at"] < lost_at + 4 * HELD:
                pass
        go.set()
        await asking
    assert "stored" == (await scene.row(job_id))["state"]


async def rename(database: Database, table: str, name: str) -> None:
    """Give a table another name."""
    sql = f"ALTER TABLE {table} RENAME TO {name}"
    await database.write(lambda c: c.exec_driver_sql(sql), "test")


async def test_a_fetch_that_is_left_leaves_no_part(scene: Scene) -> None:
    """When a run ends, the part of a result is gone before its task is."""
    await scene.finished()
    scene.api.options = replace(FINISHED, result_bytes=50_000_000)
    async with scene.fetcher() as fetcher:
        scene.hands.pass_seconds(61)
        asking = asyncio.create_task(fetcher.fetch())
        await until(lambda: scene.api.questions)
        assert 1 == len(scene.files())
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert [] == scene.files()


# The folder.


async def test_without_the_folder_nothing_is_fetched_until_it_is_back(scene: Scene) -> None:
    """A missing folder stops the fetching, with one event and the words in the table, and uses up
    no try; the folder itself is not made, since a disk may be missing there.
    """
    first, second = await scene.finished(2)
    scene.folder.rename(scene.folder.with_name("gone"))
    async with scene.fetcher() as fetcher:
        for _ in range(3):
            scene.hands.pass_seconds(61)
            assert scene.hands.wall + HELD == await fetcher.fetch()
        assert fetcher.held is not None
        assert fetcher.held.endswith("No such file or directory")
        assert [] == scene.api.questions
        assert not scene.folder.exists()
        assert 1 == len(scene.told("results_held"))
        assert fetcher.held == (await scene.row(first))["error"]
        scene.folder.with_name("gone").rename(scene.folder)
        for _ in range(2):
            scene.hands.pass_seconds(61)
            await fetcher.fetch()
    assert 2 == len(scene.told("result_stored"))
    for row in (await scene.row(first), await scene.row(second)):
        assert (0, "stored") == (row["tries"], row["state"])


async def test_results_leave_room_for_others(scene: Scene) -> None:
    """Nothing is asked for while little is free below the folder, so that a queue on the same disk
    goes on; with room it is fetched.
    """
    (job_id,) = await scene.finished()
    free = [ROOM, ROOM - 1]
    async with scene.fetcher(free=lambda _: free[-1]) as fetcher:
        scene.hands.pass_seconds(61)
        assert scene.hands.wall + HELD == await fetcher.fetch()
        assert f"{scene.folder}: less than 256 MiB are free" == fetcher.held
        row = await scene.row(job_id)
        assert ("wanted", 0, fetcher.held) == (row["state"], row["tries"], row["error"])
        assert [] == scene.api.questions
        assert [] == scene.files()
        free.pop()
        scene.hands.pass_seconds(61)
        await fetcher.fetch()
    assert "stored" == (await scene.row(job_id))["state"]


async def test_a_disk_that_fills_up_meanwhile_ends_a_result(scene: Scene) -> None:
    """While a result is written, the room is looked at every few MiB."""
    await scene.finished(types=("speech_to_text_srt",))
    wanted = await scene.database.read(lambda c: store.due(c, scene.hands.wall))
    assert wanted is not None
    free = [ROOM - 1, ROOM]
    part = Part(scene.folder, wanted, lambda _: free.pop())
    part.take(b"x" * (STEP - 1))
    part.take(b"x")
    with pytest.raises(FolderError, match="less than 256 MiB are free"):
        part.take(b"x")
    part.close()
    assert [] == scene.files()
