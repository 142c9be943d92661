"""Local files from the table to the API: a real run, real files, the imitation as the judge."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.conftest import open_database
from tests.parts import (
    DAEMON,
    DRAIN,
    DRAIN_ALL,
    RUN_SETTINGS,
    RealTime,
    Worker,
    add,
    facts,
    going,
    listener,
    row,
    states,
    until,
)
from worker.core.file_address import address_of
from worker.core.model import Cap
from worker.core.reasons import StopReason
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.db.schema import uploads, videos
from worker.log import Event
from worker.runner.loop import Runner
from worker.runner.model import RunReport
from worker.runner.uploader import KEEP_SECONDS
from worker.simulator import Options, Simulator, Step, Uploading
from worker.store import shared_state

CHUNK = 1_000


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a root."""
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


def file(media: Path, name: str = "a.mp4", size: int = 2_500) -> Path:
    """Write a file of random bytes."""
    (media / name).write_bytes(os.urandom(size))
    return media / name


def address(path: Path) -> str:
    """Return a file's address."""
    return address_of(os.fsencode(path))


def worker(media: Path, **settings: object) -> Worker:
    """Return a worker with one root."""
    roots = {"upload_roots": str(media), "uploads": 1, **settings}
    return Worker(settings=replace(RUN_SETTINGS, **roots))  # type: ignore[arg-type]


@asynccontextmanager
async def api(**steps: dict[int, str]) -> AsyncIterator[Simulator]:
    """Yield the imitation with small chunks, and with troubles by step and request."""
    jobs = steps.pop("new_job", {})
    kinds = Uploading(chunk_bytes=CHUNK, script=steps)
    async with Simulator(Options(uploads=kinds, script=jobs)) as simulator:
        yield simulator


def sha256(path: Path) -> str:
    """Return a file's hash."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bought(simulator: Simulator) -> list[str]:
    """Return the hashes of what was bought, in its order; each address is a finished upload's."""
    finished = {upload.url: upload.sha256 for upload in simulator.uploads.finished}
    return [finished[job.url] for job in simulator.accepted]


def asked(simulator: Simulator, step: Step) -> list[dict[str, str]]:
    """Return the forms of the requests of one step."""
    return [dict(each.fields) for each in simulator.uploads.requests if each.step is step]


def chunks(simulator: Simulator) -> list[str]:
    """Return the indexes of the chunks that were sent, in their order."""
    return [form["chunk_index"] for form in asked(simulator, Step.CHUNK)]


async def upload_of(database: Database, video_id: int = 1) -> dict[str, object]:
    """Return a row of ``uploads``."""
    its = select(uploads).where(uploads.c.video_id == video_id)
    return dict(await database.read(lambda c: c.execute(its).mappings().one()))


async def change(database: Database, **columns: object) -> None:
    """Change the first upload as nobody does."""
    its = update(uploads).where(uploads.c.video_id == 1).values(**columns)
    await database.write(lambda c: c.execute(its), "test")


async def during(
    database: Database,
    simulator: Simulator,
    runs: Worker,
    act: Callable[[], object],
) -> RunReport:
    """Run it to its end; act while the API stands still at the first request that stalls."""
    async with runs.on(database, simulator.url) as runner, going(runner) as task:
        requests = simulator.uploads.requests
        await until(lambda: any(each.kind == "stall" for each in requests), task)
        acted = act()
        if isinstance(acted, Awaitable):
            await acted
        simulator.release()
        return await task


def draining(media: Path, **settings: object) -> Worker:
    """Return a worker with one root that drains to the end of all backoffs."""
    return replace(worker(media, **settings), options=DRAIN_ALL)


async def test_files_are_uploaded_and_bought(database: Database, media: Path) -> None:
    """Law 16: a drain uploads each file whole, then buys it, once."""
    sizes = (1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK)
    paths = [file(media, f"{n}.mp4", size) for n, size in enumerate(sizes)]
    await add(database, *map(address, paths), "https://videos.example/1.mp4")
    async with api() as simulator:
        report = await worker(media, uploads=2).run(database, simulator.url)
        assert StopReason.EMPTY is report.stop.reason
        assert 6 == report.counts.submitted
        finished = {upload.url: upload.sha256 for upload in simulator.uploads.finished}
        of_files = [finished[job.url] for job in simulator.accepted if job.url in finished]
        assert sorted(map(sha256, paths)) == sorted(of_files)
    assert {"submitted": 6} == await states(database)
    assert [(1, "accepted")] == await facts(database, 1)


async def test_the_video_keeps_its_address(database: Database, media: Path) -> None:
    """Law 17: a file is known by its own address, and bought once."""
    path = file(media)
    await add(database, address(path), address(path))
    async with api() as simulator:
        await worker(media).run(database, simulator.url)
        assert [sha256(path)] == bought(simulator)
    first, second = await row(database, 1), await row(database, 2)
    assert (address(path), "submitted") == (first["url"], first["state"])
    assert "failed" == second["state"]
    assert str(second["error"]).startswith("url: is that of video 1, which ")


# --- What is wrong with a file --------------------------------------------------------------------


def link(path: Path) -> None:
    """Put a link in the place of a file."""
    path.rename(path.with_name("other"))
    path.symlink_to(path.with_name("other"))


def pipe(path: Path) -> None:
    """Put a pipe in the place of a file."""
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_bytes(b""), "url: is empty"),
        (lambda path: os.truncate(path, 7_000_000_001), "url: has 7,000,000,001 bytes"),
        (link, "is a link"),
        (lambda path: path.with_name("b").hardlink_to(path), "has 2 names (hard links)"),
        (pipe, "is a pipe"),
        (folder, "is a folder"),
    ],
)
async def test_a_file_that_cannot_be_uploaded_fails_its_video(
    database: Database, media: Path, spoil: Callable[[Path], object], why: str
) -> None:
    """The row says why, and the run counts and tells it; nothing was sent, nothing was bought, no
    attempt is spent.
    """
    path, other = file(media), file(media, "z.mp4")
    spoil(path)
    await add(database, address(path), address(other))
    log, said = listener()
    async with api() as simulator:
        report = await replace(worker(media), log=log).run(database, simulator.url)
        assert [sha256(other)] == bought(simulator)
        assert 1 == len(asked(simulator, Step.INITIALIZE))
    video = await row(database, 1)
    assert ("failed", 0) == (video["state"], video["attempts"])
    assert why in str(video["error"])
    assert (1, 1, 2) == (report.counts.failed, report.counts.submitted, report.counts.ended)
    refused = [each for each in said if each["event"] == Event.VIDEO_REFUSED]
    told = {"event": "video_refused", "log_level": "warning", "video": 1}
    assert [{**told, "message": video["error"]}] == refused


async def test_a_run_does_not_count_what_it_did_not_fail(path: Path, media: Path) -> None:
    """A video that a person took away meanwhile is no failure of the run."""
    video = file(media)
    cancel = update(videos).values(state="cancelled")

    async def act() -> None:
        link(video)
        await database.write(lambda c: c.execute(cancel), "test")

    async with open_database(path) as database, api(chunk={1: "stall"}) as simulator:
        await add(database, address(video))
        report = await during(database, simulator, draining(media), act)
        assert 0 == report.counts.failed
        assert {"cancelled": 1} == await states(database)


@pytest.mark.parametrize("url", ["file:///media/../etc/shadow", "file://nas/a.mp4", "file:a.mp4"])
async def test_a_wrong_address_is_refused(path: Path, media: Path, url: str) -> None:
    """An address that names no file here is never opened."""
    async with open_database(path) as database:
        await add(database, url)
        async with api() as simulator:
            await worker(media).run(database, simulator.url)
            assert [] == simulator.uploads.requests
        video = await row(database, 1)
        assert ("failed", True) == (video["state"], str(video["error"]).startswith("url: "))


@pytest.mark.parametrize("name", ["absent.mp4", "secret.mp4"])
async def test_a_file_that_is_not_here_waits(database: Database, media: Path, name: str) -> None:
    """Others may have it: a drain goes on without it, and ends, also one that waits."""
    here = file(media)
    file(media.parent, "secret.mp4")
    root = media.parent if name == "secret.mp4" else media
    await add(database, address(root / name), address(here))
    async with api() as simulator:
        report = await draining(media).run(database, simulator.url)
        assert StopReason.EMPTY is report.stop.reason
        assert [sha256(here)] == bought(simulator)
    video = await row(database, 1)
    assert ("pending", "waits for its upload") == (video["state"], video["error"])
    told = (await upload_of(database))["error"]
    assert ("'absent.mp4' is not there" if name == "absent.mp4" else None) == told


async def test_a_file_that_is_not_here_is_looked_for_ever_less_often(
    path: Path, media: Path
) -> None:
    """After a minute, two, four, at most an hour; what nobody missed for long is forgotten."""
    time = RealTime()
    daemon = replace(worker(media), options=DAEMON, clock=time.clock)
    async with (
        open_database(path) as database,
        api() as simulator,
        daemon.on(database, simulator.url) as runner,
        going(runner) as task,
    ):
        await add(database, address(media / "absent.mp4"), address(media / "gone.mp4"))
        uploader = runner._uploader  # noqa: SLF001 - where else it is kept nobody sees
        assert uploader is not None

        def missed(seconds: float) -> bool:
            uploader.called.set()
            return [seconds] * 2 == [each for _, each in uploader._absent.values()]  # noqa: SLF001

        for seconds in (60, 120, 240, 480, 960, 1_920, 3_600, 3_600):
            await until(lambda wait=seconds: missed(wait), task)  # type: ignore[misc]
            time.monotonic += seconds
        time.monotonic += 7_200
        await until(lambda: missed(60), task)
        assert "'gone.mp4' is not there" == (await upload_of(database, 2))["error"]


def edit(path: Path) -> None:
    """Write into a file, and put its time back."""
    before = path.stat()
    with path.open("r+b") as opened:
        opened.write(b"edited")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    """Put another file in a file's place."""
    file(path.parent, "new").rename(path)


CHANGES = [
    edit,
    replaced,
    lambda path: os.truncate(path, 1_500),
    lambda path: os.truncate(path, 4_000),
]


@pytest.mark.parametrize("step", ["initialize", "chunk", "finalize"])
@pytest.mark.parametrize("spoil", CHANGES)
async def test_a_file_that_changes_is_uploaded_anew(
    path: Path, media: Path, spoil: Callable[[Path], None], step: str
) -> None:
    """Law 16: what is bought is one whole file, as it was at one time."""
    video = file(media)
    async with open_database(path) as database, api(**{step: {1: "stall"}}) as simulator:
        await add(database, address(video))
        before = sha256(video)
        await during(database, simulator, draining(media), lambda: spoil(video))
        want = before if step == "finalize" else sha256(video)
        assert (step != "finalize") == (await upload_of(database))["changes"]
        assert [want] == bought(simulator)


async def test_a_file_that_changes_under_its_last_chunk_is_uploaded_anew(
    path: Path, media: Path
) -> None:
    """Law 16: no chunk is read after it, but finalize is not asked for."""
    video = file(media)
    async with open_database(path) as database, api(chunk={3: "stall"}) as simulator:
        await add(database, address(video))
        await during(database, simulator, draining(media), lambda: edit(video))
        assert [sha256(video)] == bought(simulator)
        assert 1 == len(asked(simulator, Step.FINALIZE))


async def on_disk(database: Database, media: Path, **steps: dict[int, str]) -> dict[str, object]:
    """Return the upload as it is on disk while the API stands still."""
    await add(database, address(file(media)))
    found: dict[str, object] = {}

    async def look() -> None:
        found.update(await upload_of(database))

    async with api(**steps) as simulator:
        await during(database, simulator, draining(media), look)
    return found


async def test_the_row_is_on_disk_before_initialize(database: Database, media: Path) -> None:
    """Law 16: under its lease, with the marks of the file."""
    found = await on_disk(database, media, initialize={1: "stall"})
    assert ("uploading", "worker-1", None) == (found["state"], found["worker"], found["upload_id"])
    assert found["lease_until"] is not None
    assert 2_500 == found["size"]


async def test_the_id_is_on_disk_before_the_first_chunk(database: Database, media: Path) -> None:
    """Law 16: a worker that follows goes on with this upload."""
    found = await on_disk(database, media, chunk={1: "stall"})
    assert found["upload_id"] is not None
    assert (CHUNK, 0) == (found["chunk_size"], found["acknowledged"])
    assert found["begun_at"] is not None


async def test_that_finalize_is_asked_for_is_on_disk_before(
    database: Database, media: Path
) -> None:
    """Law 16: a worker that follows begins anew."""
    found = await on_disk(database, media, finalize={1: "stall"})
    assert (3, None) == (found["acknowledged"], found["url"])


async def test_a_file_that_is_being_written_fails(path: Path, media: Path) -> None:
    """Three changes fail the video: nothing was bought."""
    video = file(media)
    kinds = dict.fromkeys(range(1, 99), "stall")
    async with open_database(path) as database, api(chunk=kinds) as simulator:
        await add(database, address(video))
        async with draining(media).on(database, simulator.url) as runner, going(runner) as task:
            for times in (1, 2, 3):
                await until(lambda times=times: times == len(chunks(simulator)), task)  # type: ignore[misc]
                edit(video)
                simulator.release()
            await task
        assert [] == simulator.accepted
        assert 3 == len(asked(simulator, Step.INITIALIZE))
        failed = await row(database, 1)
        assert "failed" == failed["state"]
        assert "it is being written" in str(failed["error"])


VANISHED: list[tuple[Callable[[Path], object], str]] = [
    (Path.unlink, "'a.mp4' is not there"),
    (lambda path: path.rename(path.with_name("moved")), "'a.mp4' is not there"),
    (lambda path: path.parent.rename(path.parent.with_name("gone")), "media' is not there"),
]


@pytest.mark.parametrize("step", ["chunk", "finalize"])
@pytest.mark.parametrize(("spoil", "why"), VANISHED)
async def test_a_file_that_vanishes_waits(
    path: Path, media: Path, step: str, spoil: Callable[[Path], object], why: str
) -> None:
    """It is left to those who have it. A whole upload of it is bought all the same."""
    video = file(media)
    async with open_database(path) as database, api(**{step: {1: "stall"}}) as simulator:
        await add(database, address(video))
        report = await during(database, simulator, draining(media), lambda: spoil(video))
        assert StopReason.EMPTY is report.stop.reason
        assert 0 == report.counts.failed
        state, upload = (await row(database, 1))["state"], await upload_of(database)
        if step == "finalize":
            assert ("submitted", "ready", 1) == (state, upload["state"], len(bought(simulator)))
        else:
            assert ("pending", "wanted", []) == (state, upload["state"], simulator.accepted)
            assert str(upload["error"]).endswith(why)


@pytest.mark.parametrize(
    ("spoil", "why"), [(link, "a link"), (pipe, "a pipe"), (folder, "a folder")]
)
async def test_a_file_that_becomes_something_else_fails(
    path: Path, media: Path, spoil: Callable[[Path], object], why: str
) -> None:
    """Between two chunks: nothing of it is bought, and the run counts it."""
    video = file(media)
    async with open_database(path) as database, api(chunk={1: "stall"}) as simulator:
        await add(database, address(video))
        report = await during(database, simulator, draining(media), lambda: spoil(video))
        assert (1, []) == (report.counts.failed, simulator.accepted)
        assert ["0"] == chunks(simulator)
        assert f"is {why}" in str((await row(database, 1))["error"])


async def test_a_file_whose_reading_fails_waits(path: Path, tmp_path: Path) -> None:
    """Also for root, who reads all: nobody can read the first page of a process' memory."""
    own = f"{os.getpid()}"
    (tmp_path / "disk" / own).mkdir(parents=True)
    file(tmp_path / "disk" / own, "mem")
    way = tmp_path / "way"
    way.symlink_to(tmp_path / "disk")

    def spoil() -> None:
        way.unlink()
        way.symlink_to("/proc")

    async with open_database(path) as database, api(chunk={1: "stall"}) as simulator:
        await add(database, address(way / own / "mem"))
        report = await during(database, simulator, draining(way / own), spoil)
        assert (StopReason.EMPTY, []) == (report.stop.reason, simulator.accepted)
        assert "pending" == (await row(database, 1))["state"]
        upload = await upload_of(database)
        why = "cannot be read: Input/output error"
        assert ("wanted", why) == (upload["state"], upload["error"])


# --- What the API does ----------------------------------------------------------------------------


async def test_an_upload_goes_on_at_its_last_chunk(database: Database, media: Path) -> None:
    """After a crash, or on another worker, no chunk that is on disk is sent again."""
    path = file(media)
    await add(database, address(path))
    async with api(chunk={3: "500"}) as simulator:
        await worker(media).run(database, simulator.url)
        assert ["0", "1", "2", "2"] == chunks(simulator)
        assert 1 == len(asked(simulator, Step.INITIALIZE))
        assert [sha256(path)] == bought(simulator)


@pytest.mark.parametrize(
    ("spoil", "again"),
    [
        ({}, ["1", "2"]),
        ({"last_sha256": "other"}, ["0", "1", "2"]),
        ({"acknowledged": 3}, ["0", "1", "2"]),
        ({"device": 0}, ["0", "1", "2"]),
        ({"begun_at": RealTime().clock.now().replace(year=2020)}, ["0", "1", "2"]),
    ],
)
async def test_an_upload_is_resumed_only_where_all_fits(
    database: Database, media: Path, spoil: dict[str, object], again: Sequence[str]
) -> None:
    """Law 16: the last chunk has its hash, it is young, and finalize was not asked for. A disk that
    was mounted anew is no change of the file.
    """
    path = file(media)
    await add(database, address(path))
    async with api(chunk={2: "stall"}) as simulator:
        async with worker(media).on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: chunks(simulator)[1:], task)
        simulator.uploads.requests.clear()
        assert ("wanted", 0) == (
            (await upload_of(database))["state"],
            (await upload_of(database))["acknowledged"],
        )
        known = {"acknowledged": 1, **spoil}
        end = int(str(known["acknowledged"])) * CHUNK
        sent = hashlib.sha256(path.read_bytes()[end - CHUNK : end]).hexdigest()
        await change(database, **{"last_sha256": sent, **known})
        await worker(media).run(database, simulator.url)
        assert again == chunks(simulator)
        assert 1 == len(asked(simulator, Step.FINALIZE))
        assert [sha256(path)] == bought(simulator)
        assert 0 == (await upload_of(database))["changes"]


@pytest.mark.parametrize("kind", ["lost", "lost-fin", "half", "lost-502", "404", "400", "reset"])
async def test_a_finalize_in_doubt_is_begun_anew(path: Path, media: Path, kind: str) -> None:
    """Law 16: it is never asked for twice."""
    video = file(media)
    async with open_database(path) as database, api(finalize={1: kind}) as simulator:
        await add(database, address(video))
        await draining(media).run(database, simulator.url)
        assert 2 == len({form["upload_id"] for form in asked(simulator, Step.FINALIZE)})
        assert 2 == len(asked(simulator, Step.FINALIZE))
        assert [sha256(video)] == bought(simulator)


@pytest.mark.parametrize("kind", ["several", "other-scheme", "empty", "not-json"])
async def test_an_end_without_one_address_fails_the_video(
    path: Path, media: Path, kind: str
) -> None:
    """Law 16: nothing is guessed, nothing is bought; the row has the answer's shape."""
    async with open_database(path) as database, api(finalize={1: kind}) as simulator:
        await add(database, address(file(media)))
        await worker(media).run(database, simulator.url)
        video = await row(database, 1)
        assert ("failed", 0) == (video["state"], video["attempts"])
        assert "finalize_file_upload answered" in str(video["error"])
        assert [] == simulator.accepted


@pytest.mark.parametrize("kind", ["lost", "lost-fin", "half", "lost-502", "500", "reset", "429"])
async def test_a_chunk_without_a_clear_answer_is_sent_again(
    path: Path, media: Path, kind: str
) -> None:
    """The same bytes again, in the same upload."""
    video = file(media)
    async with open_database(path) as database, api(chunk={2: kind}) as simulator:
        await add(database, address(video))
        await draining(media).run(database, simulator.url)
        assert ["0", "1", "1", "2"] == chunks(simulator)
        assert 1 == len(asked(simulator, Step.INITIALIZE))
        assert [sha256(video)] == bought(simulator)


@pytest.mark.parametrize(
    "kinds",
    [{2: "lost", 3: "lost", 4: "lost"}, {2: "forgotten"}, {2: "400"}, {2: "401"}],
)
async def test_a_chunk_that_is_not_taken_begins_the_upload_anew(
    path: Path, media: Path, kinds: dict[int, str]
) -> None:
    """After three unclear answers, or a clear no."""
    video = file(media)
    async with open_database(path) as database, api(chunk=kinds) as simulator:
        await add(database, address(video))
        await draining(media).run(database, simulator.url)
        assert 2 == len(asked(simulator, Step.INITIALIZE))
        assert ["0", "1", "2"] == chunks(simulator)[-3:]
        assert [sha256(video)] == bought(simulator)


async def test_a_chunk_that_the_api_lost_is_missed_at_the_end(path: Path, media: Path) -> None:
    """An acknowledgement that lies costs an upload, and no video."""
    video = file(media)
    async with open_database(path) as database, api(chunk={2: "unkept"}) as simulator:
        await add(database, address(video))
        await draining(media).run(database, simulator.url)
        assert [sha256(video)] == bought(simulator)


async def test_an_api_that_keeps_nothing_fails_the_video(path: Path, media: Path) -> None:
    """As many uploads as attempts are allowed, then a person must look."""
    kinds = dict.fromkeys(range(1, 99), "forgotten")
    async with open_database(path) as database, api(chunk=kinds) as simulator:
        await add(database, address(file(media)))
        await draining(media).run(database, simulator.url)
        assert RUN_SETTINGS.max_attempts == len(asked(simulator, Step.INITIALIZE))
        video = await row(database, 1)
        assert ("failed", "url: HTTP 404: Upload not found (upload 3, the last one allowed)") == (
            video["state"],
            video["error"],
        )


@pytest.mark.parametrize(
    ("step", "times"), [("initialize", RUN_SETTINGS.max_attempts), ("finalize", 3)]
)
async def test_an_end_that_never_comes_fails_the_video(
    path: Path, media: Path, step: str, times: int
) -> None:
    """No clear answer to initialize, or a third end that is refused; others pass."""
    kinds = dict.fromkeys(range(1, 99), "400" if step == "finalize" else "lost")
    async with open_database(path) as database, api(**{step: kinds}) as simulator:
        await add(database, address(file(media)), address(file(media, "b.mp4")))
        await draining(media).run(database, simulator.url)
        assert {"failed": 2} == await states(database)
        assert 2 * times == len(asked(simulator, Step(step)))


async def test_an_upload_that_is_opened_is_no_end_of_a_trouble(path: Path, media: Path) -> None:
    """Where the API takes no chunk, it lasts since the first one."""
    kinds = dict.fromkeys(range(1, 99), "reset")
    async with open_database(path) as database, api(chunk=kinds) as simulator:
        await add(database, address(file(media)))
        async with draining(media).on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: runner.state.upload_trouble, task)
            first = runner.state.upload_trouble
            await until(lambda: chunks(simulator)[4:], task)
            last = runner.state.upload_trouble
            assert first is not None
            assert last is not None
            assert first[1] == last[1]


@pytest.mark.parametrize(
    ("kind", "reason", "options"),
    [
        ("401", StopReason.ACCOUNT, DRAIN),
        ("401", StopReason.ACCOUNT, DRAIN_ALL),
        ("404", StopReason.ADDRESS, DRAIN_ALL),
    ],
)
async def test_a_drain_gives_up_on_an_api_that_takes_no_file(
    path: Path, media: Path, kind: str, reason: StopReason, options: RunOptions
) -> None:
    """It says why; the files wait, as they are, for the next run."""
    time = RealTime()
    kinds = dict.fromkeys(range(1, 999), kind)
    async with open_database(path) as database, api(initialize=kinds) as simulator:
        await add(database, address(file(media)))
        async with (
            replace(worker(media), clock=time.clock, options=options).on(
                database, simulator.url
            ) as runner,
            going(runner) as task,
        ):
            await until(lambda: asked(simulator, Step.INITIALIZE)[1:], task)
            time.monotonic += 120.0
            report = await task
        assert reason is report.stop.reason
        assert ("pending", 0) == (
            (await row(database, 1))["state"],
            (await upload_of(database))["restarts"],
        )


async def test_a_drain_gives_up_on_a_key_that_is_refused_from_a_chunk_on(
    path: Path, media: Path
) -> None:
    """The upload is begun anew, and then initialize says that it is the key."""
    time, kinds = RealTime(), dict.fromkeys(range(1, 999), "401")
    later = {number: kind for number, kind in kinds.items() if number > 1}
    runs = replace(worker(media), clock=time.clock, options=DRAIN_ALL)
    async with open_database(path) as database, api(initialize=later, chunk=kinds) as simulator:
        await add(database, address(file(media)))
        async with runs.on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: asked(simulator, Step.INITIALIZE)[1:], task)
            time.monotonic += 120.0
            report = await task
        assert StopReason.ACCOUNT is report.stop.reason
        assert 1 == (await upload_of(database))["restarts"]


async def test_a_drain_gives_up_on_an_api_that_is_not_there(path: Path, media: Path) -> None:
    """An upload that was never begun costs none of its tries."""
    time = RealTime()
    drain = replace(worker(media), clock=time.clock)
    async with open_database(path) as database:
        await add(database, address(file(media)))
        async with drain.on(database, "http://127.0.0.1:9") as runner, going(runner) as task:
            await until(lambda: runner.state.upload_trouble, task)
            time.monotonic += 120.0
            report = await task
        assert StopReason.UNREACHABLE is report.stop.reason
        assert 0 == (await upload_of(database))["restarts"]


async def let_grow(database: Database) -> None:
    """Have each change of an upload take room, so that the next one meets a full disk."""
    grow = "INSERT INTO filler VALUES (zeroblob(100000))"
    trigger = f"CREATE TRIGGER grow AFTER UPDATE ON uploads BEGIN {grow}; END"
    for statement in ("CREATE TABLE filler (bytes BLOB)", trigger):
        await database.write(lambda c, s=statement: c.exec_driver_sql(s), "test")  # type: ignore[misc]


async def room(database: Database, pages: int) -> None:
    """Give the worker's own connection no more room than that."""
    pragma = f"PRAGMA max_page_count = {pages}"
    await database.write(lambda c: c.exec_driver_sql(pragma), "test")


@pytest.mark.parametrize(("step", "begun"), [("initialize", 2), ("chunk", 1), ("finalize", 2)])
@pytest.mark.parametrize("options", [DRAIN, DRAIN_ALL])
async def test_a_full_disk_ends_a_drain_that_uploads(
    path: Path, media: Path, step: str, begun: int, options: RunOptions
) -> None:
    """Law 16: what cannot be written is not gone on with, and a drain says so. With room again,
    the file is bought whole and once.
    """
    time, video = RealTime(), file(media)
    drain = replace(worker(media), clock=time.clock, options=options)
    async with open_database(path) as database, api(**{step: {1: "stall"}}) as simulator:
        await add(database, address(video))
        await let_grow(database)
        requests = simulator.uploads.requests
        async with drain.on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: any(each.kind == "stall" for each in requests), task)
            await room(database, 1)
            simulator.release()
            await until(lambda: runner.state.upload_trouble, task)
            time.monotonic = 120.0
            report = await task
        assert StopReason.DATABASE is report.stop.reason
        assert "full" in report.stop.message
        assert [] == simulator.accepted
        await room(database, 1_000_000)
        time.wall = RUN_SETTINGS.lease.total_seconds() + 1
        await drain.run(database, simulator.url)
        assert [sha256(video)] == bought(simulator)
        assert begun == len(asked(simulator, Step.INITIALIZE))


async def test_an_upload_goes_on_when_the_disk_has_room_again(path: Path, media: Path) -> None:
    """Its lease need not run out, and no chunk's answer is believed that is not on disk."""
    video = file(media)
    async with open_database(path) as database, api(chunk={2: "stall"}) as simulator:
        await add(database, address(video))
        await let_grow(database)
        requests = simulator.uploads.requests
        async with worker(media).on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: any(each.kind == "stall" for each in requests), task)
            await room(database, 1)
            simulator.release()
            await until(lambda: runner.state.upload_trouble, task)
            await room(database, 1_000_000)
            assert StopReason.EMPTY is (await task).stop.reason
        assert ["0", "1", "2", "0", "1", "2"] == chunks(simulator)
        assert [sha256(video)] == bought(simulator)
        assert 1 == len(asked(simulator, Step.INITIALIZE))


async def seen(runner: Runner, task: "asyncio.Task[RunReport]") -> None:
    """Wait until the uploader has looked again, and found nothing."""
    called = runner._uploader.called  # type: ignore[union-attr]  # noqa: SLF001 - it has files
    called.set()
    await until(lambda: not called.is_set(), task)


async def rename(database: Database, table: str, name: str) -> None:
    """Give a table another name."""
    sql = f"ALTER TABLE {table} RENAME TO {name}"
    await database.write(lambda c: c.exec_driver_sql(sql), "test")


async def test_an_outage_is_over_when_the_database_shows_nothing_to_take(
    path: Path, media: Path
) -> None:
    """A drain that waits for a file does not end for an outage that is over."""
    patient = worker(media, backoff_base_seconds=3_600.0, backoff_max_seconds=3_600.0)
    daemon = replace(patient, options=DAEMON)
    async with open_database(path) as database, api(chunk={1: "forgotten"}) as simulator:
        await add(database, address(file(media)))
        async with daemon.on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: chunks(simulator) and not runner.state.uploading, task)
            await rename(database, "uploads", "gone")
            runner._uploader.called.set()  # type: ignore[union-attr]  # noqa: SLF001 - it has files
            await until(lambda: runner.state.upload_trouble, task)
            await rename(database, "gone", "uploads")
            await seen(runner, task)
            assert runner.state.upload_trouble is None
        assert ["0"] == chunks(simulator)


async def test_a_look_is_no_end_of_a_trouble_with_a_row(path: Path, media: Path) -> None:
    """Law 14: where another program does not let an upload change, that lasts until one goes on."""
    refuse = (
        "BEFORE UPDATE ON uploads WHEN NEW.upload_id <> '' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    patient = draining(media, backoff_base_seconds=3_600.0, backoff_max_seconds=3_600.0)
    async with open_database(path) as database, api() as simulator:
        await add(database, address(file(media)))
        await database.write(lambda c: c.exec_driver_sql(f"CREATE TRIGGER t {refuse}"), "test")
        async with patient.on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: runner.state.upload_trouble, task)
            await seen(runner, task)
            trouble, _ = runner.state.upload_trouble or (None, 0.0)
        assert trouble is not None
        assert "the database refuses to write this row: no" == trouble.message


async def test_an_upload_whose_end_cannot_be_written_waits(path: Path, media: Path) -> None:
    """Law 14: it says why, and is not uploaded again at once; the others go on."""
    refuse = "BEFORE UPDATE OF held_host ON videos WHEN NEW.id = 1 AND NEW.held_host IS NULL"
    patient = draining(media, backoff_base_seconds=3_600.0, backoff_max_seconds=3_600.0)
    async with open_database(path) as database, api() as simulator:
        await add(database, address(file(media)), address(file(media, "b.mp4")))
        sql = f"CREATE TRIGGER t {refuse} BEGIN SELECT RAISE(ABORT, 'no'); END"
        await database.write(lambda c: c.exec_driver_sql(sql), "test")
        async with patient.on(database, simulator.url) as runner, going(runner) as task:
            await until(lambda: runner.state.upload_trouble, task)
            await until(lambda: simulator.accepted, task)
            made = await upload_of(database)
    assert ("wanted", 1) == (made["state"], made["restarts"])
    assert "the database refuses to write this row: no" == made["error"]
    assert made["next_try_at"] is not None


async def test_no_chunk_is_read_again_while_the_next_one_is_sent(path: Path, media: Path) -> None:
    """Its hash is kept from the first time that the lease is prolonged, however often that is."""
    video, time = file(media), RealTime()
    before = hashlib.sha256(video.read_bytes()[:CHUNK]).hexdigest()
    drain = replace(draining(media), clock=time.clock)
    async with open_database(path) as database, api(chunk={2: "stall"}) as simulator:
        await add(database, address(video))

        async def kept(after: object) -> dict[str, object]:
            found: dict[str, object] = {"lease_until": after}
            async with asyncio.timeout(20):
                while found["lease_until"] == after or not found["acknowledged"]:
                    time.monotonic += KEEP_SECONDS
                    found = await upload_of(database)
            return found

        async def act() -> None:
            first = await kept(None)
            assert before == first["last_sha256"]
            edit(video)
            second = await kept(first["lease_until"])
            third = await kept(second["lease_until"])
            assert before == second["last_sha256"] == third["last_sha256"]

        await during(database, simulator, drain, act)
        assert [sha256(video)] == bought(simulator)


async def test_a_pause_that_the_api_asks_for_holds_all(database: Database, media: Path) -> None:
    """A Retry-After to an upload is a cool-down of every worker."""
    await add(database, address(file(media)))
    async with api(initialize={1: "retry-after-429"}) as simulator:
        report = await draining(media, retry_after_max_seconds=0.5).run(database, simulator.url)
        assert StopReason.COOL_DOWN is report.stop.reason
        assert 1 == len(asked(simulator, Step.INITIALIZE))
    assert "HTTP 429" in str((await database.read(shared_state.read)).cool_down_reason)


async def held_by_pause(database: Database) -> None:
    """Pause the queue."""
    now = RealTime().clock.now()
    await database.write(lambda c: shared_state.pause(c, now, "lunch"), "test")


async def held_by_cool_down(database: Database) -> None:
    """Begin a cool-down."""
    now = RealTime().clock.now()
    until = now.replace(year=now.year + 1)
    await database.write(lambda c: shared_state.cool_down(c, until, "slow", now), "test")


@pytest.mark.parametrize(
    ("hold", "reason"),
    [(held_by_pause, StopReason.PAUSED), (held_by_cool_down, StopReason.COOL_DOWN)],
)
async def test_what_holds_sends_holds_uploads(
    path: Path, media: Path, hold: Callable[[Database], Awaitable[None]], reason: StopReason
) -> None:
    """It ends between two chunks, keeps what it has, and the drain says why it is over."""
    time = RealTime()
    drain = replace(worker(media), clock=time.clock)
    async with open_database(path) as database, api(chunk={1: "stall"}) as simulator:
        await add(database, address(file(media)))

        async def act() -> None:
            await hold(database)
            time.monotonic += KEEP_SECONDS  # so that it is looked at with the next chunk

        report = await during(database, simulator, drain, act)
        assert reason is report.stop.reason
        assert ["0", "1"] == chunks(simulator)
        kept = await upload_of(database)
        assert ("wanted", 2, None) == (kept["state"], kept["acknowledged"], kept["worker"])


async def test_a_full_cap_holds_uploads(path: Path, media: Path) -> None:
    """A file that could not be sent would grow old."""
    videos_ = [file(media, f"{n}.mp4") for n in range(3)]
    async with open_database(path) as database, api() as simulator:
        await add(database, *map(address, videos_))
        drain = replace(worker(media), caps=(Cap(name="max_total", most=1, window=None),))
        report = await drain.run(database, simulator.url)
        assert StopReason.CAP is report.stop.reason
        assert 1 == len(simulator.accepted)
        assert 3 > len(simulator.uploads.finished)


async def test_a_stop_ends_between_two_chunks(database: Database, media: Path) -> None:
    """All that was sent is on disk, and the lease is given back at once."""
    await add(database, address(file(media)))
    async with api(chunk={2: "stall"}) as simulator:
        daemon = replace(worker(media), options=DAEMON)
        async with daemon.on(database, simulator.url) as runner:
            task = asyncio.create_task(runner.run())
            await until(lambda: chunks(simulator)[1:], task)
            runner.stop()
            simulator.release()
            report = await task
        assert StopReason.STOPPED is report.stop.reason
        assert ["0", "1"] == chunks(simulator)
    kept = await upload_of(database)
    assert ("wanted", 2, None) == (kept["state"], kept["acknowledged"], kept["lease_until"])


async def test_two_workers_upload_each_file_once(database: Database, url: str, media: Path) -> None:
    """Law 16: no file is uploaded by two at the same time."""
    paths = [file(media, f"{n}.mp4") for n in range(12)]
    await add(database, *map(address, paths))
    async with api() as simulator, open_database(url) as other:
        first, second = worker(media, uploads=2), replace(worker(media, uploads=2), name="worker-2")
        await asyncio.gather(first.run(database, simulator.url), second.run(other, simulator.url))
        await first.run(database, simulator.url)
        assert sorted(map(sha256, paths)) == sorted(bought(simulator))
        assert 12 == len(asked(simulator, Step.INITIALIZE))


async def test_a_dead_workers_upload_is_taken_over(database: Database, media: Path) -> None:
    """Its lease runs out; the next one goes on where it was."""
    path, time = file(media), RealTime()
    await add(database, address(path))
    async with api(chunk={3: "stall"}) as simulator:
        async with worker(media).on(database, simulator.url) as runner:
            task = asyncio.create_task(runner.run())
            await until(lambda: chunks(simulator)[2:], task)
            sent = hashlib.sha256(path.read_bytes()[CHUNK : 2 * CHUNK]).hexdigest()
            await change(database, acknowledged=2, last_sha256=sent)
            left = await upload_of(database)
            runner.stop()
            runner.hurry()
            await task
        await change(database, **left)
        assert 1 == (await states(database))["pending"]
        time.wall = RUN_SETTINGS.lease.total_seconds() + 1
        later = replace(worker(media), name="worker-2", clock=time.clock)
        await later.run(database, simulator.url)
        assert ["0", "1", "2", "2"] == chunks(simulator)
        assert [sha256(path)] == bought(simulator)


async def test_a_cancelled_video_is_not_uploaded_further(path: Path, media: Path) -> None:
    """The upload ends, and nothing is bought."""
    async with open_database(path) as database, api(chunk={1: "stall"}) as simulator:
        await add(database, address(file(media)))
        cancel = update(videos).values(state="cancelled")
        await during(
            database,
            simulator,
            draining(media),
            lambda: database.write(lambda c: c.execute(cancel), "test"),
        )
        assert [] == simulator.accepted
        assert {"cancelled": 1} == await states(database)


async def test_an_address_that_is_given_twice_buys_one_file(
    database: Database, media: Path
) -> None:
    """Law 16: nobody knows which of two files an address of the API stands for."""
    for name in ("a.mp4", "b.mp4"):
        await add(database, address(file(media, name)))
        async with api() as simulator:  # whose addresses are those of the one before
            report = await worker(media).run(database, simulator.url)
    assert ([], 1) == (simulator.accepted, report.counts.failed)
    assert {"submitted": 1, "failed": 1} == await states(database)
    error = "url: finalize_file_upload answered the address of another video's upload; "
    assert f"{error}retry uploads anew" == (await row(database, 2))["error"]


async def test_a_doubt_is_sent_again_with_the_same_upload(path: Path, media: Path) -> None:
    """Law 16: a video in doubt is never uploaded anew."""
    async with open_database(path) as database, api(new_job={1: "lost"}) as simulator:
        await add(database, address(file(media)))
        again = draining(media, on_doubt="retry", doubt_settle_seconds=0.0)
        await again.run(database, simulator.url)
        assert 2 == len(simulator.requests)
        assert 1 == len({request.url for request in simulator.requests})
        assert 1 == len(simulator.uploads.finished)


async def test_a_worker_without_roots_leaves_files_alone(database: Database, media: Path) -> None:
    """Their videos wait for one that has them; those of the web are sent."""
    await add(database, address(file(media)), "https://videos.example/1.mp4")
    async with api() as simulator:
        report = await Worker(options=DRAIN_ALL).run(database, simulator.url)
        assert StopReason.EMPTY is report.stop.reason
        assert 1 == len(simulator.accepted)
        assert {"pending": 1, "submitted": 1} == await states(database)
        await worker(media).run(database, simulator.url)
    assert {"submitted": 2} == await states(database)


async def test_a_daemon_finds_what_others_hand_over(database: Database, media: Path) -> None:
    """A file that comes while nothing is due is uploaded at once."""
    daemon = replace(worker(media), options=DAEMON)
    async with api() as simulator, daemon.on(database, simulator.url) as runner, going(runner):
        for name in ("a.mp4", "b.mp4"):
            await add(database, address(file(media, name)))
            async with asyncio.timeout(4):
                await simulator.wait_for_accepted(1 if name == "a.mp4" else 2)
