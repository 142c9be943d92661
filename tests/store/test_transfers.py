from datetime import datetime, timedelta

from sqlalchemy import insert, update

from tests.conftest import START
from tests.parts import later
from worker.core.transfer import Transfer
from worker.db.database import Database
from worker.db.schema import uploads, videos
from worker.store import transfers, workers
from worker.store.transfers import NO_ROOT
from worker.store.workers import WorkerRow

HOUR_SECONDS = 3_600
PATIENCE = timedelta(seconds=150)
MEDIA, OTHER = "file:///srv/media", "file:///srv/other"


async def put(database: Database, video: int, **columns: object) -> None:
    """Insert an upload."""
    row = {"video_id": video, "address": f"{MEDIA}/a.mp4", "state": "wanted", **columns}
    if row["state"] == "uploading":
        row |= {"worker": "w", "lease_until": START}
    if row["state"] == "ready":
        row |= {"url": "valossaupload://x"}
    its = {"id": video, "url": f"{row['address']}#{video}", "state": "pending"}
    await database.write(lambda c: c.execute(insert(videos), its), "test")
    await database.write(lambda c: c.execute(insert(uploads), row), "test")


async def left(
    database: Database, roots: list[str] | None = None, now: datetime = START
) -> Transfer:
    """Return what is left."""
    return await database.read(lambda c: transfers.transfer(c, roots, now, PATIENCE))


async def test_a_queue_without_files_has_none_left(database: Database) -> None:
    """All numbers are 0, and no speed is known."""
    assert Transfer() == await left(database, [MEDIA])


async def test_what_is_left_is_counted_in_bytes(database: Database) -> None:
    """Acknowledged chunks are sent, the last one only as far as the file goes; what is ready or
    failed is not left, and the size of what nobody has opened is not known.
    """
    await put(database, 1)
    await put(database, 2, size=100, chunk_size=30, acknowledged=2)
    await put(database, 3, size=100, chunk_size=30, acknowledged=4, state="uploading")
    await put(database, 4, size=7_000_000_000, state="ready")
    await put(database, 5, size=7_000_000_000, state="failed")
    found = await left(database)
    assert Transfer(files=3, uploading=1, unseen=1, size=200, sent=160, at=START) == found


async def test_an_upload_that_nobody_waits_for_is_not_left(database: Database) -> None:
    """A cancelled video's file is not uploaded."""
    await put(database, 1, error="'a.mp4' is not there")
    cancelled = update(videos).values(state="cancelled")
    await database.write(lambda c: c.execute(cancelled), "test")
    assert Transfer() == await left(database)
    assert [] == await database.read(lambda c: transfers.waiting(c, None))


async def test_an_upload_with_an_error_for_long_is_stuck(database: Database) -> None:
    """It is not yet within the patience, nor without an error, nor where no worker has its root."""
    long_ago, lately = later(START, -151), later(START, -150)
    await put(database, 1, error="HTTP 401", next_try_at=lately)
    await put(database, 2, next_try_at=long_ago)
    await put(database, 3, error="is not there", next_try_at=long_ago, address="file:///x/a")
    found = await left(database, [MEDIA])
    assert (0, "", lately) == (found.stuck, found.stuck_on, found.at)
    await put(database, 4, error="HTTP 401", next_try_at=long_ago)
    found = await left(database, [MEDIA])
    assert (1, "HTTP 401", 1) == (found.stuck, found.stuck_on, found.homeless)
    assert 2 == (await left(database)).stuck


async def test_the_speed_is_that_of_all_under_way(database: Database) -> None:
    """Each counts since it was begun; what ended long ago does not count beside them."""
    for video, chunks in ((1, 1), (2, 3)):
        begun = {"begun_at": later(START, -10 * chunks), "size": 10_000, "chunk_size": 1_000}
        await put(database, video, state="uploading", acknowledged=chunks, **begun)
    done = {"begun_at": later(START, -HOUR_SECONDS), "ready_at": later(START, -HOUR_SECONDS + 2)}
    await put(database, 3, state="ready", size=10, **done, chunk_size=5, acknowledged=2)
    assert 200 == (await left(database)).per_second


async def test_the_speed_is_else_that_of_what_ended(database: Database) -> None:
    """All their bytes by all their time; nothing under a second."""
    await put(database, 9)
    assert None is (await left(database)).per_second
    for video, seconds in ((1, 2), (2, 8)):
        done = {"begun_at": later(START, -100), "ready_at": later(START, -100 + seconds)}
        await put(database, video, state="ready", size=500, chunk_size=500, acknowledged=1, **done)
    assert 100 == (await left(database)).per_second
    assert 100 == await database.read(lambda c: transfers.speed(c, START))


async def test_files_below_no_living_root_are_homeless(database: Database) -> None:
    """A root is a folder, not the beginning of a name; where no worker lives, nobody is missed."""
    for video, name in enumerate(("media/a.mp4", "media2/a.mp4", "other/a.mp4", "medi/a.mp4"), 1):
        await put(database, video, address=f"file:///srv/{name}")
    assert [4, 3, 2, 0] == [
        (await left(database, roots)).homeless for roots in ([], [MEDIA], [MEDIA, OTHER], None)
    ]


async def test_why_uploads_wait_is_told_by_kind(database: Database) -> None:
    """The most frequent reason first, with its first video; what has none is not told."""
    await put(database, 1, error="'a.mp4' is not there")
    await put(database, 2, error="'b.mp4' is not there")
    await put(database, 3)
    await put(database, 4, address="file:///srv/stray/a.mp4", error="'a.mp4' is not there")
    await put(database, 5, error="x", state="failed")
    found = await database.read(lambda c: transfers.waiting(c, [MEDIA]))
    assert [2, 1] == [number for number, _, _ in found]
    assert [1, 4] == [video for _, _, video in found]
    assert NO_ROOT == found[1][1]
    nobody = await database.read(lambda c: transfers.waiting(c, None))
    assert [(3, 1)] == [(number, video) for number, _, video in nobody]


async def test_the_folders_are_those_of_the_living(database: Database) -> None:
    """None where nobody lives, which is not the same as a worker without any."""

    async def roots(seconds: float) -> list[str] | None:
        now = later(START, seconds)
        return await database.read(lambda c: workers.roots(workers.everyone(c), now))

    assert None is await roots(0)
    shown = {"a": f"{MEDIA}\n{OTHER}", "b": None}
    for name, folders in shown.items():
        member = WorkerRow(
            id=name, host="h", pid=7, command="run", started_at=START, upload_roots=folders
        )
        at = later(START, 100 if name == "b" else 0)
        await database.write(lambda c, m=member, t=at: workers.show(c, m, t), "test")  # type: ignore[misc]
    assert [MEDIA, OTHER] == await roots(30)
    assert [] == await roots(130)
    assert None is await roots(300)
