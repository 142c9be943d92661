from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, select, update

from tests.conftest import START
from tests.parts import add, facts, row
from tests.plain import Plain
from worker.core.job_list import Listing
from worker.core.model import Claim, Fact, Video
from worker.core.upload import OLDEST, Identity, Setback, Upload
from worker.db.database import Database
from worker.db.schema import jobs, uploads, videos
from worker.store import audit, changes, doubts, history, imports, pruning, queue
from worker.store import uploads as store
from worker.store.search import Filter
from worker.store.uploads import HELD, LOOK_AHEAD, Reach

WHO = "person:me"
FILE = Identity(device=1, inode=2, size=2_500, changed_ns=4)
LEASE = START + timedelta(seconds=180)
HERE = Reach("worker-1", (b"/media", b"/srv/talks"))
OTHER = Reach("worker-2", HERE.roots)


def address(number: int) -> str:
    """Return the address of a file."""
    return f"file:///media/{number}.mp4"


async def due(database: Database, *urls: str, **columns: object) -> None:
    """Insert videos that are due."""
    await add(database, *urls, **{"due_at": START, **columns})


async def handed(database: Database, now: datetime = START) -> list[int]:
    """Hand over what is due, as a claim does, and return the videos that wait."""

    def hand_over(connection: object) -> list[int]:
        rows = queue.due(connection, 2_000, now, None)  # type: ignore[arg-type]
        return [number for number, *_ in store.hand_over(connection, rows, now)]  # type: ignore[arg-type]

    return await database.write(hand_over, "test")


async def upload_of(database: Database, video_id: int) -> dict[str, object]:
    """Return a row of ``uploads``."""
    its = select(uploads).where(uploads.c.video_id == video_id)
    return dict(await database.read(lambda c: c.execute(its).mappings().one()))


async def take(
    database: Database, video_id: int, reach: Reach = HERE, now: datetime = START
) -> Upload | None:
    """Take an upload."""
    until = now + (LEASE - START)
    return await database.write(lambda c: store.take(c, video_id, reach, now, until), "test")


async def taken(database: Database, video_id: int = 1) -> Upload:
    """Take an upload that is there."""
    upload = await take(database, video_id)
    assert upload is not None
    return upload


async def look(database: Database, reach: Reach = HERE, now: datetime = START) -> list[int]:
    """Return the videos whose uploads can be taken."""
    return [number for number, _ in await database.read(lambda c: store.look(c, reach, now))]


async def next_at(
    database: Database, reach: Reach = HERE, now: datetime = START
) -> datetime | None:
    """Return when an upload can go on."""
    return await database.read(lambda c: store.next_at(c, reach, now))


async def keep(database: Database, upload: Upload, worker: str = "worker-1") -> bool:
    """Write how far an upload has come."""
    later = LEASE + timedelta(seconds=1)
    return await database.write(lambda c: store.keep(c, upload, worker, START, later), "test")


async def finish(
    database: Database, upload: Upload, worker: str = "worker-1", now: datetime = START
) -> bool:
    """Write the address of an upload."""
    url = f"valossaupload://{upload.video_id}"
    return await database.write(lambda c: store.finish(c, upload, worker, url, now), "test")


async def set_back(database: Database, setback: Setback, worker: str = "worker-1") -> None:
    """Give the first video's upload back."""
    await database.write(lambda c: store.set_back(c, 1, setback, worker, START), "test")


async def change(database: Database, video_id: int, **columns: object) -> None:
    """Change a video as another program."""
    its = update(videos).where(videos.c.id == video_id).values(**columns)
    await database.write(lambda c: c.execute(its), "test")


async def ready(database: Database, url: str = address(1), now: datetime = START) -> None:
    """Bring the first video's file to its end."""
    await due(database, url)
    await handed(database)
    assert await finish(database, await taken(database), now=now)


async def test_a_file_is_handed_over_once(database: Database) -> None:
    """A video with a file waits for its upload; one of the web does not."""
    await due(database, "file:///media/ab.mp4", "https://e.org/a.mp4")
    assert [1] == await handed(database)
    assert [1] == await handed(database)
    made = await upload_of(database, 1)
    assert ("file:///media/ab.mp4", "wanted") == (made["address"], made["state"])


async def test_what_will_be_refused_is_not_uploaded(database: Database) -> None:
    """A wrong address, and the file of a video that may have a job, are left to the claim."""
    await due(database, address(1), state="submitted", job_id="j")
    await due(database, address(1), "file:///media/../etc/shadow")
    assert [] == await handed(database)
    await due(database, address(1), may_buy_twice=1)
    assert [4] == await handed(database)


async def test_a_finished_upload_is_sent_in_place_of_its_file(database: Database) -> None:
    """Law 16: the request names the upload of this video, and its file waits no more."""
    await ready(database)
    await due(database, "https://e.org/a.mp4")
    assert [] == await handed(database)
    claims = [
        Claim(
            video_id=n,
            video=Video(url=url),
            token="t",
            attempt=1,
            attempts=0,
            request_id="r",
            lease_until=LEASE,
        )
        for n, url in ((1, address(1)), (2, "https://e.org/a.mp4"))
    ]
    sent = await database.read(lambda c: store.addressed(c, claims))
    assert ["valossaupload://1", "https://e.org/a.mp4"] == [each.video.url for each in sent]
    assert claims[1:] == await database.read(lambda c: store.addressed(c, claims[1:]))


@pytest.mark.parametrize("days", [1, 24])
async def test_a_finished_upload_makes_its_video_due(database: Database, days: int) -> None:
    """A video that waited for its upload is sent at once, unless a person has put it off."""
    await due(database, address(1))
    await handed(database)
    until, now = START + timedelta(days=days), START + timedelta(seconds=5)
    await change(database, 1, held_host=HELD, due_at=until, error="waits")
    upload = await taken(database)
    assert await finish(database, upload, now=now)
    video, due_at = await row(database, 1), now if days == 1 else until
    assert (None, due_at, None) == (video["held_host"], video["due_at"], video["error"])
    made = await upload_of(database, 1)
    assert ("ready", now, None, None) == (
        made["state"],
        made["ready_at"],
        made["worker"],
        made["lease_until"],
    )


async def fact(database: Database, kind: Fact, job_id: str | None = None, attempt: int = 1) -> None:
    """Record a fact of the first video, at a time before its upload was ready by a clock that was
    set back.
    """
    at = START - timedelta(seconds=1)
    await database.write(
        lambda c: history.record(c, [(1, attempt)], kind, at, "w", job_id=job_id), "test"
    )


@pytest.mark.parametrize(
    ("kind", "job_id", "waits"),
    [
        (Fact.ACCEPTED, "j", True),
        (Fact.FOUND, "j", True),
        (Fact.REFUSED, None, True),
        (Fact.THROTTLED, None, False),
        (Fact.NOT_SENT, None, False),
        (Fact.ABSENT, None, False),
        (Fact.RELEASED, None, False),
    ],
)
async def test_an_upload_is_bought_once(
    database: Database, kind: Fact, job_id: str | None, *, waits: bool
) -> None:
    """Law 16: one that was bought or refused is not sent again: a person's retry uploads anew."""
    await ready(database)
    await fact(database, kind, job_id)
    assert ([1] if waits else []) == await handed(database)
    assert ("wanted" if waits else "ready") == (await upload_of(database, 1))["state"]


async def test_what_was_refused_before_an_upload_does_not_spend_it(database: Database) -> None:
    """Attempts are counted, and no clock is asked: a refusal before it says nothing of it."""
    await due(database, address(1), claims=1)
    await handed(database)
    assert await finish(database, await taken(database), now=START - timedelta(seconds=30))
    await fact(database, Fact.REFUSED)
    assert [] == await handed(database)
    await fact(database, Fact.REFUSED, attempt=2)
    assert [1] == await handed(database)


def retried(connection: Connection) -> None:
    """Retry what failed, as a person does."""
    assert 1 == changes.retry(connection, Filter(), doubts=False, now=START, who=WHO)


def imported(connection: Connection) -> None:
    """Bring the first video's file in once more."""
    terms = imports.options(connection, WHO, START, allow_duplicates=False)
    assert [1] == imports.add(connection, [{"url": address(1)}], START, terms).brought_back


def updated(connection: Connection) -> None:
    """Bring the first video's row in once more, as it was exported."""
    terms = imports.options(connection, WHO, START, allow_duplicates=False)
    rows = [{"url": address(1)}]
    assert 1 == imports.add_or_update(connection, rows, START, terms).updated


def bought_again(connection: Connection) -> None:
    """Buy the first video's job again, which brought nothing."""
    assert 1 == changes.buy_again(connection, Filter(), START, WHO)


@pytest.mark.parametrize(
    ("state", "again"),
    [
        ("cancelled", retried),
        ("cancelled", imported),
        ("failed", retried),
        ("failed", updated),
        ("submitted", bought_again),
    ],
)
async def test_a_file_that_a_person_hands_in_once_more_is_uploaded_anew(
    database: Database, state: str, again: Callable[[Connection], None]
) -> None:
    """It may be another one by now. The old upload is that of the video until the new one begins,
    for a 500 that may have made a job of it.
    """
    await ready(database)
    await change(database, 1, state=state, **({"job_id": "j"} if state == "submitted" else {}))
    await database.write(
        lambda c: c.execute(update(jobs).values(ended_as="error", ended_at=START)), "test"
    )
    await database.write(again, "test")
    known = await database.read(lambda c: store.sent_as(c, 1, address(1)))
    assert "valossaupload://1" == known
    assert [1] == await handed(database)
    made = await upload_of(database, 1)
    assert ("wanted", None, None) == (made["state"], made["url"], made["begun_at"])


async def test_a_retry_leaves_the_upload_of_an_open_doubt(database: Database) -> None:
    """Law 16: the same upload is sent again, though a person retries the video."""
    await ready(database)
    await fact(database, Fact.IN_DOUBT)
    await change(database, 1, state="in_doubt")
    retry = partial(changes.retry, wanted=Filter(), doubts=True, now=START, who=WHO)
    assert 1 == await database.write(retry, "test")
    assert [] == await handed(database)
    assert "ready" == (await upload_of(database, 1))["state"]


async def test_an_upload_of_a_later_time_is_begun_anew(database: Database) -> None:
    """The clock was set back, so its age is not known."""
    await ready(database, now=START + timedelta(hours=1))
    assert [1] == await handed(database)


async def test_an_old_upload_is_begun_anew(database: Database) -> None:
    """No page says how long the API keeps one."""
    await ready(database)
    assert [] == await handed(database, START + OLDEST)
    assert [1] == await handed(database, START + OLDEST + timedelta(seconds=1))
    assert "wanted" == (await upload_of(database, 1))["state"]


async def test_a_video_in_doubt_is_never_uploaded_anew(database: Database) -> None:
    """Law 16: while a doubt is open, the same upload is sent again, however old."""
    await ready(database)
    await fact(database, Fact.IN_DOUBT)
    assert [] == await handed(database, START + 10 * OLDEST)
    await fact(database, Fact.ABSENT)
    assert [1] == await handed(database, START + 10 * OLDEST)


async def test_a_refusal_beside_a_doubt_uploads_nothing_anew(database: Database) -> None:
    """Law 16: the first attempt is in doubt, the second was refused; the same upload is sent."""
    await ready(database)
    await fact(database, Fact.IN_DOUBT)
    await fact(database, Fact.REFUSED, attempt=2)
    assert [] == await handed(database, START + 10 * OLDEST)
    assert "ready" == (await upload_of(database, 1))["state"]


async def test_an_address_is_of_one_upload(database: Database) -> None:
    """Law 16: the address of another video's upload is not written; its own is, once more."""
    await ready(database)
    await due(database, address(2))
    await handed(database)
    upload = await taken(database, 2)
    its = "valossaupload://1"
    assert not await database.write(lambda c: store.finish(c, upload, "worker-1", its, START), "t")
    made = await upload_of(database, 2)
    assert ("uploading", None) == (made["state"], made["url"])
    assert await finish(database, upload)
    assert "ready" == (await upload_of(database, 2))["state"]


async def test_an_upload_is_of_one_address(database: Database) -> None:
    """A video that names another file is not sent with the upload of the first."""
    await ready(database)
    await change(database, 1, url=address(2))
    assert [1] == await handed(database)
    made = await upload_of(database, 1)
    assert (address(2), "wanted", None) == (made["address"], made["state"], made["url"])


async def test_a_failed_upload_is_begun_anew_by_a_retry(database: Database) -> None:
    """A person who retries the video has mended its file."""
    await due(database, address(1))
    await handed(database)
    await set_back(
        database,
        Setback(why="is a pipe", upload=replace(await taken(database), changes=2), is_refused=True),
    )
    assert [] == await handed(database)
    await change(database, 1, state="pending")
    assert [1] == await handed(database)
    made = await upload_of(database, 1)
    assert ("wanted", 0, None) == (made["state"], made["changes"], made["error"])


async def test_uploads_are_found_in_the_order_of_the_queue(database: Database) -> None:
    """Highest priority first, then longest due, then first come."""
    later = START + timedelta(seconds=1)
    await due(database, address(1), due_at=later)
    await due(database, address(2), address(3))
    await due(database, address(4), due_at=later, priority=5)
    assert {1, 2, 3, 4} == {*await handed(database, later)}
    assert [4, 2, 3, 1] == await look(database, now=later)


@pytest.mark.parametrize(
    "outside", ["file:///media2/a.mp4", "file:///media", "file:///srv/talk/a", "file:///other/a"]
)
async def test_a_worker_finds_what_its_roots_have(database: Database, outside: str) -> None:
    """Files outside of the roots, and absent ones, are left to others."""
    await due(database, outside, "file:///srv/talks/a", address(3), address(4))
    await handed(database)
    reach = Reach("worker-1", HERE.roots, {3})
    assert [2, 4] == await look(database, reach)
    assert [] == await look(database, Reach("worker-1", ()))


async def test_only_pending_videos_are_uploaded(database: Database) -> None:
    """A cancelled video's file is not."""
    await due(database, address(1), address(2))
    await handed(database)
    await change(database, 1, state="cancelled")
    assert [2] == await look(database)
    assert await take(database, 1) is None


async def test_two_workers_never_take_one_upload(database: Database) -> None:
    """Law 16: an upload is taken under a lease, and by another only once that has run out."""
    await due(database, address(1))
    await handed(database)
    first = await taken(database)
    assert [] == await look(database, OTHER)
    assert await take(database, 1, OTHER) is None
    assert (LEASE, START) == (await next_at(database, OTHER), await next_at(database))
    assert [1] == await look(database, OTHER, LEASE)
    assert first == await take(database, 1, OTHER, LEASE)
    assert not await keep(database, first)
    assert await finish(database, first)  # which writes nothing
    await set_back(database, Setback(why="lost", is_refused=True))
    assert ("uploading", "pending") == (
        (await upload_of(database, 1))["state"],
        (await row(database, 1))["state"],
    )


async def test_an_upload_is_kept_as_it_is(database: Database) -> None:
    """The next worker takes what was written, to the last mark."""
    await due(database, address(1))
    await handed(database)
    upload = replace(
        await taken(database),
        identity=FILE,
        upload_id="u",
        chunk_size=1_000,
        acknowledged=2,
        last_sha256="h",
        begun_at=START,
        changes=1,
        tries=2,
        restarts=3,
    )
    assert await keep(database, upload)
    later = LEASE + timedelta(seconds=1)
    assert later == (await upload_of(database, 1))["lease_until"]
    assert upload == await take(database, 1, OTHER, later)


async def test_an_upload_that_is_given_back_waits(database: Database) -> None:
    """It can be taken after its wait, with what is kept of it; its error says why."""
    await due(database, address(1))
    await handed(database)
    upload = replace(await taken(database), identity=FILE)
    await keep(database, upload)
    await set_back(
        database, Setback(why="HTTP 404", upload=upload.anew(), wait=timedelta(seconds=9))
    )
    soon = START + timedelta(seconds=9)
    assert ([], [1]) == (await look(database), await look(database, now=soon))
    assert (soon, soon) == (await next_at(database), await next_at(database, now=soon))
    made = await upload_of(database, 1)
    assert ("HTTP 404", None, None) == (made["error"], made["worker"], made["inode"])
    assert upload.anew() == await take(database, 1, now=soon)


async def test_an_upload_that_is_stopped_keeps_what_is_on_disk(database: Database) -> None:
    """Nothing of it is lost, and it can be taken at once."""
    await due(database, address(1))
    await handed(database)
    upload = replace(await taken(database), identity=FILE, upload_id="u", acknowledged=1)
    await keep(database, upload)
    await set_back(database, Setback())
    assert (upload, None) == (
        await take(database, 1, OTHER),
        (await upload_of(database, 1))["error"],
    )


async def test_a_file_that_is_refused_fails_its_video(database: Database) -> None:
    """The row says why; no attempt is spent, and nothing was bought."""
    await due(database, address(1))
    await handed(database)
    upload = await taken(database)
    await set_back(database, Setback(why="is a pipe\0", upload=upload.anew(), is_refused=True))
    video = await row(database, 1)
    assert ("failed", "url: is a pipe\ufffd", 0) == (
        video["state"],
        video["error"],
        video["attempts"],
    )
    assert [(0, "invalid")] == await facts(database, 1)
    assert "failed" == (await upload_of(database, 1))["state"]
    assert await next_at(database) is None


@pytest.mark.parametrize(
    ("columns", "is_due"),
    [
        ({"url": "https://e.org/a.mp4"}, True),
        ({"url": address(2)}, True),
        ({"url": "file:///a?"}, True),
        ({"state": "cancelled"}, False),
    ],
)
@pytest.mark.parametrize("step", ["keep", "finish"])
async def test_a_video_that_is_changed_meanwhile_is_let_go(
    database: Database, step: str, columns: dict[str, object], *, is_due: bool
) -> None:
    """Law 16: its upload is forgotten, and it is due with its new address."""
    await due(database, address(1))
    await handed(database)
    await change(database, 1, held_host=HELD, due_at=START + timedelta(days=1))
    upload = await taken(database)
    await change(database, 1, **columns)
    done = await (keep if step == "keep" else finish)(database, upload)
    assert (step == "finish") is done
    assert is_due is ((await row(database, 1))["held_host"] is None)
    gone = select(uploads.c.video_id)
    assert [] == await database.read(lambda c: list(c.scalars(gone)))


async def test_a_deleted_video_is_not_uploaded(database: Database) -> None:
    """Its row of uploads goes with the next look at it."""
    await due(database, address(1))
    await handed(database)
    upload = await taken(database)
    await database.write(lambda c: c.execute(videos.delete()), "test")
    assert not await keep(database, upload)


async def test_why_a_file_is_missed_is_written_while_nobody_has_it(database: Database) -> None:
    """A worker that has the file is not talked into it."""
    await due(database, address(1), address(2))
    await handed(database)
    await taken(database, 2)
    await database.write(
        lambda c: store.miss(c, {1: "is not there", 2: "is not there"}, START), "test"
    )
    errors = [(await upload_of(database, n))["error"] for n in (1, 2)]
    assert ["is not there", None] == errors


async def test_since_when_an_upload_has_an_error_is_kept(database: Database) -> None:
    """Others that try in vain change nothing; an upload that goes on does, and so does its wait."""
    soon, late = START + timedelta(seconds=5), START + timedelta(seconds=9)
    await due(database, address(1))
    await handed(database)
    upload = await taken(database)

    async def since() -> object:
        return (await upload_of(database, 1))["next_try_at"]

    async def give_back(now: datetime, wait: int = 0) -> object:
        held = Setback(why="HTTP 401", wait=timedelta(seconds=wait))
        await database.write(lambda c: store.set_back(c, 1, held, "worker-1", now), "test")
        return await since()

    assert (None, soon) == (await since(), await give_back(soon))
    assert await take(database, 1, now=late)
    assert (soon, soon) == (await since(), await give_back(late))
    assert await take(database, 1, now=late)
    assert await keep(database, upload)
    assert soon == await since()
    assert await keep(database, replace(upload, upload_id="u"))
    assert (None, late) == (await since(), await give_back(late))
    assert await take(database, 1, now=late)
    assert late + timedelta(seconds=3) == await give_back(late, 3)


async def test_since_when_a_file_is_missed_is_kept(database: Database) -> None:
    """The first miss counts, not the hand-over before it nor a miss after it."""
    await due(database, address(1))
    await handed(database)
    assert START == (await upload_of(database, 1))["next_try_at"]
    for second, why in ((5, "is not there"), (9, "cannot be read")):
        now = START + timedelta(seconds=second)
        await database.write(lambda c, n=now, w=why: store.miss(c, {1: w}, n), "test")  # type: ignore[misc]
        made = await upload_of(database, 1)
        assert (why, START + timedelta(seconds=5)) == (made["error"], made["next_try_at"])


async def test_a_look_sees_no_more_than_it_hands_on(database: Database) -> None:
    """A million files that wait cost no more than a thousand, whichever of them are absent."""
    await due(database, *map(address, range(1, LOOK_AHEAD + 4)))
    await handed(database)
    reach = Reach("worker-1", HERE.roots, {1, 2})
    assert [*range(3, LOOK_AHEAD + 3)] == await look(database, reach)
    assert START == await next_at(database, reach)


async def test_nothing_is_left_for_a_worker_without_the_files(database: Database) -> None:
    """Files that others must do, or that are absent here, are no reason to go on."""
    await due(database, address(1))
    await handed(database)
    assert START == await next_at(database)
    for reach in (Reach("w"), Reach("w", (b"/other",)), Reach("w", HERE.roots, {1})):
        assert await next_at(database, reach) is None


NO_MOMENTS = {
    "sqlite": ("infinity", "now", "", "9", "30/11/2026", "2027-13-01 00:00:00"),
    "postgresql": ("infinity", "-infinity"),
}


@pytest.mark.parametrize("column", ["next_try_at", "lease_until"])
async def test_an_upload_that_waits_for_no_moment_goes_on(
    database: Database, plain: Plain, dialect: str, column: str
) -> None:
    """A wait or a lease whose end plain SQL made unreadable is over; nobody is held up by it."""
    await due(database, address(1))
    await handed(database)
    if column == "lease_until":
        await take(database, 1, OTHER)
    for bad in NO_MOMENTS[dialect]:
        plain.execute(f"UPDATE uploads SET {column} = ?", bad)
        assert (START, [1]) == (await next_at(database), await look(database))
        assert await next_at(database, Reach("w", HERE.roots, {1})) is None
    plain.execute(f"UPDATE uploads SET {column} = ?", "2027-01-01")
    assert [] == await look(database)
    plain.execute(f"UPDATE uploads SET {column} = ?", NO_MOMENTS[dialect][0])
    assert await take(database, 1)
    assert [] == await look(database)


async def test_the_api_knows_a_video_by_its_upload(database: Database) -> None:
    """Law 3: a list is searched for the address that was sent."""
    await ready(database)
    await due(database, "https://e.org/a.mp4", address(3))
    addresses: Sequence[str] = [
        await database.read(lambda c, n=n, url=url: store.sent_as(c, n, url))  # type: ignore[misc]
        for n, url in ((1, address(1)), (2, "https://e.org/a.mp4"), (3, address(3)))
    ]
    assert ["valossaupload://1", "https://e.org/a.mp4", address(3)] == addresses


async def test_a_doubt_and_an_audit_look_for_what_was_sent(database: Database) -> None:
    """Law 3: a list that shows the upload's address speaks of this video."""
    await ready(database)
    await change(database, 1, state="in_doubt", claims=1, attempts=1)
    await fact(database, Fact.IN_DOUBT)
    late = START + timedelta(days=9_000)
    (doubt,) = await database.read(lambda c: doubts.doubts(c, late))
    assert "valossaupload://1" == doubt.url
    await change(database, 1, state="submitted", job_id="j")
    nothing = Listing(entries=(), paged=None, shape="")
    (audited,) = await database.read(lambda c: audit.rows(c, nothing))
    assert "valossaupload://1" == audited.url


async def test_a_pruned_video_takes_its_upload_along(database: Database) -> None:
    """Nothing of it is left."""
    await ready(database)
    long_ago = START - timedelta(days=100)
    await change(database, 1, state="failed", updated_at=long_ago)
    await database.write(
        lambda c: pruning.prune(c, [1], START - timedelta(days=90), "status", START), "test"
    )
    assert [] == await database.read(lambda c: list(c.scalars(select(uploads.c.video_id))))


async def test_a_queue_knows_if_anything_waits(database: Database) -> None:
    """Only pending videos that were postponed for it count."""
    await due(database, address(1))
    assert not await database.read(store.any_waits)
    await change(database, 1, held_host=HELD)
    assert await database.read(store.any_waits)
    await change(database, 1, state="cancelled")
    assert not await database.read(store.any_waits)
