import asyncio
import random
from datetime import datetime

import pytest
from sqlalchemy import Connection, delete, func, select, update

from tests.conftest import START, open_database
from tests.parts import add, facts, later, row, take
from worker.core.evidence import is_made
from worker.db.database import Database
from worker.db.schema import history, videos
from worker.store import imports
from worker.store.bulk import NewVideo
from worker.store.holders import REASONS
from worker.store.imports import ImportOptions, Intake

NOW = START
SAME_JOB_ID, SAME_URL, SAME_OBJECT, SAME_MEDIA_ID = REASONS.values()
WHO = "person:somebody"
BEGAN = later(NOW, 10**9)
"""A moment after all that a table says of itself."""


def talk(number: int, **columns: object) -> dict[str, object]:
    """Return an admitted row."""
    return {"url": f"https://example.org/{number}.mp4", "media_id": f"talk-{number}", **columns}


def begun(connection: Connection, *, allow_duplicates: bool = False) -> ImportOptions:
    """Return the terms of an import that begins after all that is there."""
    return imports.options(connection, WHO, BEGAN, allow_duplicates=allow_duplicates)


def address(number: int) -> str:
    """Return the address of a talk."""
    return str(talk(number)["url"])


async def add_new(database: Database, *rows: NewVideo) -> Intake:
    """Import one chunk, as the first of its list."""
    return await database.write(lambda c: imports.add(c, rows, NOW, begun(c)), "test")


async def add_all(database: Database, *rows: NewVideo) -> Intake:
    """Import one chunk with --allow-duplicates."""
    return await database.write(
        lambda c: imports.add(c, rows, NOW, begun(c, allow_duplicates=True)), "test"
    )


async def bring(
    database: Database, *rows: NewVideo, now: datetime = NOW, allowed: bool = False
) -> Intake:
    """Import one chunk with --update."""
    return await database.write(
        lambda c: imports.add_or_update(c, rows, now, begun(c, allow_duplicates=allowed)), "test"
    )


async def change(database: Database, video_id: int, **columns: object) -> None:
    """Change one row by plain SQL."""
    await database.write(
        lambda c: c.execute(update(videos).where(videos.c.id == video_id).values(**columns)), "test"
    )


async def urls(database: Database) -> list[str]:
    """Return every address in the table, by id."""
    ordered = select(videos.c.url).order_by(videos.c.id)
    return list(await database.read(lambda c: c.scalars(ordered).all()))


def summary(done: Intake) -> tuple[int, int, dict[str, int], dict[str, int]]:
    """Return the counts: inserted, updated, skipped, left."""
    return done.inserted, done.updated, dict(done.skipped), dict(done.left)


async def test_a_row_is_due_at_once_and_complete(database: Database) -> None:
    """A row without other values is due now, with priority 0, pending, as by a plain INSERT."""
    assert (1, 0, {}, {}) == summary(await add_new(database, {"url": "https://example.org/a.mp4"}))
    await add(database, "https://example.org/b.mp4", due_at=NOW)
    ours, theirs = await row(database, 1), await row(database, 2)
    for own in ("id", "url", "request_id"):
        assert ours.pop(own) != theirs.pop(own)
    for moment in ("created_at", "updated_at"):
        assert isinstance(ours.pop(moment), datetime)
        theirs.pop(moment)
    assert theirs == ours
    assert ["https://example.org/a.mp4"] == [
        claim.video.url for claim in await take(database, NOW, limit=1)
    ]


async def test_rows_may_fill_different_columns(database: Database) -> None:
    """Each row of a chunk keeps its own columns, and its other columns are empty."""
    due_at = later(NOW, 60)
    await add_new(database, talk(1, title="A", priority=5), {"url": "u", "due_at": due_at})
    first, second = await row(database, 1), await row(database, 2)
    assert ("talk-1", "A", 5, NOW) == tuple(
        first[name] for name in ("media_id", "title", "priority", "due_at")
    )
    assert (None, None, 0, due_at) == tuple(
        second[name] for name in ("media_id", "title", "priority", "due_at")
    )
    assert first["request_id"] != second["request_id"]


async def test_the_same_url_is_skipped(database: Database) -> None:
    """An address that the table or the file has already is skipped."""
    await add(database, "https://example.org/1.mp4")
    done = await add_new(database, talk(1), talk(2), talk(2, media_id="other"), {"url": "u"})
    assert (2, 0, {SAME_URL: 2}, {}) == summary(done)
    assert ["https://example.org/1.mp4", "https://example.org/2.mp4", "u"] == await urls(database)


async def test_the_same_media_id_is_skipped(database: Database) -> None:
    """A media id that the table has already is skipped; rows without one are not."""
    await add(database, "u-1", media_id="talk-1")
    rows: list[NewVideo] = [talk(1), talk(2), {"url": "u-3"}, {"url": "u-4"}]
    done = await add_new(database, *rows, {"url": "u-5", "media_id": None})
    assert (4, 0, {SAME_MEDIA_ID: 1}, {}) == summary(done)
    assert ["u-1", "https://example.org/2.mp4", "u-3", "u-4", "u-5"] == await urls(database)


async def test_empty_media_ids_in_the_table_are_no_doubles(database: Database) -> None:
    """An empty media id in the table is no double of a row without one."""
    await add(database, "u-1", "u-2", media_id="")
    assert (1, 0, {}, {}) == summary(await add_new(database, {"url": "u-3"}))


async def test_an_import_can_be_repeated(database: Database) -> None:
    """A list imported again after an interruption inserts each row once."""
    rows = [talk(number) for number in range(5)]
    await add_new(database, *rows[:3])
    assert (2, 0, {SAME_URL: 3}, {}) == summary(await add_new(database, *rows))
    assert (0, 0, {SAME_URL: 5}, {}) == summary(await add_new(database, *rows))
    assert [each["url"] for each in rows] == await urls(database)


async def test_duplicates_are_inserted_where_they_are_wanted(database: Database) -> None:
    """--allow-duplicates adds each row that it is given."""
    assert (3, 0, {}, {}) == summary(await add_all(database, talk(1), talk(1), talk(2)))
    assert (1, 0, {}, {}) == summary(await add_all(database, talk(1)))
    assert (0, 0, {}, {}) == summary(await add_all(database))


async def test_a_row_with_a_job_is_submitted(database: Database) -> None:
    """A row that brings a job is submitted and never sent."""
    await add_new(database, talk(1, job_id="job-1"), talk(2))
    first = await row(database, 1)
    assert ("submitted", "job-1", NOW) == (first["state"], first["job_id"], first["submitted_at"])
    assert [2] == [claim.video_id for claim in await take(database, NOW, limit=9)]


async def test_a_job_belongs_to_one_video(database: Database) -> None:
    """A second row for one job is skipped, even with --allow-duplicates."""
    await add_new(database, talk(1, job_id="job-1"))
    done = await add_new(
        database, talk(2, job_id="job-1"), talk(3, job_id="j"), talk(4, job_id="j")
    )
    assert (1, 0, {SAME_JOB_ID: 2}, {}) == summary(done)
    done = await add_all(database, talk(1), talk(1, job_id="job-1"))
    assert (1, 0, {SAME_JOB_ID: 1}, {}) == summary(done)


async def test_two_imports_at_once_insert_nothing_twice(url: str, database: Database) -> None:
    """Two imports of one list at once insert each row once."""
    rows = [talk(number) for number in range(200)]
    async with open_database(url) as other:
        chunks = [rows[start : start + 20] for start in range(0, 200, 20)]
        done = await asyncio.gather(
            *(add_new(each, *chunk) for chunk in chunks for each in (database, other))
        )
    assert (200, 200) == (
        sum(each.inserted for each in done),
        sum(each.skipped.total() for each in done),
    )
    assert sorted(str(each["url"]) for each in rows) == sorted(await urls(database))


async def test_many_rows_go_in_whole(database: Database) -> None:
    """A list longer than one statement is inserted exactly, with unique request ids."""
    dice = random.Random(1)
    heights = [dice.random() for _ in range(2_500)] + [5e-324, 2**-70, 1.0]
    rows = [
        talk(number, face_min_relative_height=height, priority=number - 2**63 + 1)
        for number, height in enumerate(heights)
    ]
    twice: list[NewVideo] = [row for row in rows for _ in range(2)]
    assert (2_503, 0, {SAME_URL: 2_503}, {}) == summary(await add_new(database, *twice))
    assert (0, 0, {SAME_URL: 2_503}, {}) == summary(await add_new(database, *rows))
    columns = (videos.c.face_min_relative_height, videos.c.priority, videos.c.request_id)
    stored = await database.read(lambda c: c.execute(select(*columns).order_by(videos.c.id)).all())
    assert [(row["face_min_relative_height"], row["priority"]) for row in rows] == [
        (height, priority) for height, priority, _ in stored
    ]
    ids = {request_id for *_, request_id in stored}
    assert len(stored) == len(ids)
    assert all(is_made(request_id, None) for request_id in ids)


async def test_the_newest_id_is_that_of_the_row_just_added(database: Database) -> None:
    """The newest id is the one of the video inserted last."""
    await add(database, "u-1", "u-2")

    def put(connection: Connection) -> int:
        imports.add(connection, [{"url": "u-3"}], NOW, begun(connection))
        return imports.newest_id(connection)

    assert 3 == await database.write(put, "test")


async def put(database: Database, *rows: NewVideo, allowed: bool = False) -> Intake:
    """Import several chunks of one row each, as one list."""

    def work(connection: Connection) -> Intake:
        terms, whole = begun(connection, allow_duplicates=allowed), Intake()
        for each in rows:
            done = imports.add(connection, [each], NOW, terms)
            whole.add(done)
            whole.passed += done.passed
        return whole

    return await database.write(work, "test")


def signed(number: int, night: int) -> dict[str, object]:
    """Return an admitted row whose link is signed anew each night."""
    url = f"https://example.org/{number}.mp4"
    return {"url": f"{url}?Signature={night}&Expires={night}", "unsigned_url": url}


async def test_a_new_signature_makes_no_new_video(database: Database) -> None:
    """The same object under another signature is skipped, in the table and in one list."""
    assert (2, 0, {}, {}) == summary(await add_new(database, signed(1, 1), signed(2, 1)))
    rows = [signed(1, 2), signed(2, 1), signed(3, 2), signed(3, 3)]
    done = await add_new(database, *rows)
    assert (1, 0, {SAME_OBJECT: 2, SAME_URL: 1}, {}) == summary(done)
    skipped = [(0, "video 1"), (1, "video 2"), (3, "in this list")]
    assert skipped == [(place, why.rpartition(": ")[2]) for place, _, why in done.passed]
    assert (1, 0, {}, {}) == summary(await add_all(database, signed(1, 2)))


async def test_a_plain_address_is_that_of_its_signed_forms(database: Database) -> None:
    """An address without a signature is the same as one with it, whichever came first."""
    await add(database, "https://example.org/1.mp4")
    done = await add_new(database, signed(1, 1), signed(2, 1), talk(2))
    assert (1, 0, {SAME_OBJECT: 2}, {}) == summary(done)
    done = await add_new(database, {"url": "https://example.org/2.mp4"})
    assert (0, 0, {SAME_OBJECT: 1}, {}) == summary(done)


async def test_rows_that_may_be_bought_twice_are_marked(database: Database) -> None:
    """Each row of --allow-duplicates carries the mark by which its address is claimed again."""
    await add_new(database, talk(1))
    await add_all(database, talk(1), talk(2))
    await bring(database, talk(1, url="https://example.org/2.mp4", title="T"), allowed=True)
    marks = select(videos.c.may_buy_twice).order_by(videos.c.id)
    assert [1, 1, 1] == list(await database.read(lambda c: c.scalars(marks).all()))


@pytest.mark.parametrize("chunks", ["one", "two"])
async def test_two_addresses_with_one_media_id_in_a_list_are_no_double(
    database: Database, chunks: str
) -> None:
    """The second of two rows with one media id and different addresses is a reject."""
    rows = [talk(1), talk(1, url="u-2"), talk(1)]
    done = await (put if chunks == "two" else add_new)(database, *rows)
    assert (1, 0, {SAME_URL: 1}, {}) == summary(done)
    (place, kind, why), _ = done.passed
    assert ("rejected", "media_id: 'talk-1' has another address") == (kind, why[:38])
    assert place == (0 if chunks == "two" else 1)


@pytest.mark.parametrize(("there", "comes"), [("007", "7"), ("7", "007"), ("0007", "007")])
async def test_a_media_id_that_lost_its_zeros_is_a_reject(
    database: Database, there: str, comes: str
) -> None:
    """An id that differs from one of the table by leading zeros alone is no new video's."""
    await add(database, "u-1", media_id=there)
    for bring_in in (add_new, bring):
        done = await bring_in(database, {"url": "u-2", "media_id": comes})
        assert (0, 0, {}, {}) == summary(done)
        ((_, kind, why),) = done.passed
        assert ("rejected", True) == (kind, f"{comes!r} is there already with other" in why)
    ((_, _, why),) = (await bring(database, {"media_id": comes, "title": "T"})).passed
    assert "with other leading zeros" in why
    done = await add_new(database, {"url": "u-1", "media_id": comes})
    assert {SAME_URL: 1} == done.skipped
    assert (1, 0, {}, {}) == summary(await add_all(database, {"url": "u-3", "media_id": comes}))


async def test_a_cancelled_video_comes_back_with_its_row(database: Database) -> None:
    """A cancelled video does not block its address: it is pending again, as its row says."""
    sent = {"attempts": 2, "claims": 3, "error": "e", "http_status": 400, "priority": 5}
    await add(database, address(1), media_id="wrong", title="wrong", state="cancelled", **sent)
    done = await add_new(database, talk(1, language="fi-FI"), talk(1))
    assert (0, 0, {SAME_URL: 1}, {}) == summary(done)
    assert [1] == done.brought_back
    stored = await row(database, 1)
    expected = {
        **talk(1, language="fi-FI", title=None, priority=0, due_at=NOW, state="pending"),
        "attempts": 0,
        "claims": 3,
        "error": None,
        "http_status": None,
    }
    assert expected == {name: stored[name] for name in expected}
    assert [(3, "retry")] == await facts(database, 1)


async def test_a_cancelled_video_comes_back_by_its_media_id(database: Database) -> None:
    """A list with the right address for the media id of a cancelled video mends it."""
    await add(database, "wrong", media_id="talk-1", state="cancelled")
    assert [1] == (await add_new(database, talk(1))).brought_back
    assert (await row(database, 1))["url"] == address(1)


async def test_a_cancelled_video_gives_way_to_a_living_one(database: Database) -> None:
    """A row is skipped where another video has its address, cancelled ones or not."""
    await add(database, address(1), address(1), address(1))
    for number in (1, 3):
        await change(database, number, state="cancelled")
    done = await add_new(database, talk(1))
    assert (0, 0, {SAME_URL: 1}, {}) == summary(done)
    assert "video 2" == done.passed[0][2][-7:]


async def test_a_cancelled_video_that_may_be_bought_blocks_its_address(database: Database) -> None:
    """A video that was cancelled while a doubt of it is open does not come back by an import."""
    await add(database, address(1), state="cancelled", claims=1)
    doubt = {"video_id": 1, "attempt": 1, "at": NOW, "who": "w", "fact": "in_doubt"}
    await database.write(lambda c: c.execute(history.insert().values(doubt)), "test")
    assert (0, 0, {SAME_URL: 1}, {}) == summary(await add_new(database, talk(1)))
    assert "cancelled" == (await row(database, 1))["state"]


# --update


@pytest.mark.parametrize("state", ["pending", "cancelled"])
async def test_an_update_brings_the_named_columns_anew(database: Database, state: str) -> None:
    """An update writes the named columns; other columns, state, attempts and due time stay."""
    due_at = later(NOW, 900)
    kept = {"description": "D", "priority": 3, "due_at": due_at, "attempts": 2, "claims": 2}
    await add(database, "old", media_id="talk-1", title="T", error="e", state=state, **kept)
    before = await row(database, 1)
    done = await bring(database, talk(1, title=None, language="fi-FI"))
    assert (0, 1, {}, {}) == summary(done)
    fresh = {"url": "https://example.org/1.mp4", "title": None, "language": "fi-FI"}
    assert {**before, **fresh, "updated_at": NOW} == await row(database, 1)
    assert [] == await facts(database, 1)


async def test_an_update_sets_the_rest_where_it_is_named(database: Database) -> None:
    """An update writes priority and due_at, and an empty cell leaves them as they are."""
    await add(database, "old", media_id="talk-1", priority=3, due_at=NOW)
    await bring(database, talk(1, priority=None, due_at=None))
    stored = await row(database, 1)
    assert (3, NOW) == (stored["priority"], stored["due_at"])
    await bring(database, talk(1, priority=9, due_at=later(NOW, 60)))
    stored = await row(database, 1)
    assert (9, later(NOW, 60)) == (stored["priority"], stored["due_at"])


async def test_a_failed_video_goes_back_to_pending(database: Database) -> None:
    """An update makes a failed video due from attempt 0, and its history names the person."""
    await add(
        database,
        *("old",),
        media_id="talk-1",
        state="failed",
        error="HTTP 400: language",
        http_status=400,
        attempts=2,
        claims=3,
        due_at=later(NOW, -900),
    )
    assert (0, 1, {}, {}) == summary(await bring(database, talk(1, language="fi-FI"), now=NOW))
    stored = await row(database, 1)
    names = ("state", "attempts", "claims", "error", "http_status", "due_at", "language")
    assert ("pending", 0, 3, None, None, NOW, "fi-FI") == tuple(stored[name] for name in names)
    assert [(3, "retry")] == await facts(database, 1)
    told_by = await database.read(
        lambda c: c.execute(select(history.c.who, history.c.message, history.c.at)).one()
    )
    assert (WHO, "columns brought anew by import --update", NOW) == tuple(told_by)


async def test_a_failed_video_is_due_when_the_list_says(database: Database) -> None:
    """A failed video is due at the moment that the list names."""
    await add(database, "old", media_id="talk-1", state="failed")
    await bring(database, talk(1, due_at=later(NOW, 60)))
    stored = await row(database, 1)
    assert ("pending", later(NOW, 60)) == (stored["state"], stored["due_at"])


@pytest.mark.parametrize("state", ["submitting", "submitted", "in_doubt"])
async def test_what_is_on_its_way_or_bought_is_counted_and_left(
    database: Database, state: str
) -> None:
    """A video in flight, submitted or in doubt is left as it is."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": later(NOW, 60), "claims": 1}
    await add(database, "old", media_id="talk-1", state=state, job_id=f"j-{state}", **claim)
    before = await row(database, 1)
    done = await bring(database, talk(1, language="fi-FI"), talk(2))
    assert (1, 0, {}, {f"media_id is there already, {state}": 1}) == summary(done)
    assert before == await row(database, 1)


async def test_a_doubt_that_was_given_up_is_left(database: Database) -> None:
    """Law 5: an update leaves a video that was given up in doubt as it is."""
    await add(database, "old", media_id="talk-1", state="failed", claims=1)
    doubt = {"video_id": 1, "attempt": 1, "at": NOW, "who": "w", "fact": "in_doubt"}
    await database.write(lambda c: c.execute(history.insert().values(doubt)), "test")
    done = await bring(database, talk(1))
    assert (0, 0, {}, {"media_id is there already, given up in doubt": 1}) == summary(done)
    assert "failed" == (await row(database, 1))["state"]


async def test_what_is_new_is_inserted_beside_an_update(database: Database) -> None:
    """New videos are inserted beside an update; a known address under a new id is skipped."""
    await add(database, "https://example.org/1.mp4", media_id="talk-1")
    rows: list[NewVideo] = [
        talk(1),
        talk(2),
        {"url": "u"},
        talk(3, url="https://example.org/2.mp4"),
    ]
    assert (2, 1, {SAME_URL: 1}, {}) == summary(await bring(database, *rows))
    assert 3 == await database.read(lambda c: c.scalar(select(func.count(videos.c.id))))


async def test_of_two_rows_with_one_media_id_the_later_wins(database: Database) -> None:
    """Of two rows with one media id, the later one in the file wins."""
    assert (1, 1, {}, {}) == summary(await bring(database, talk(1, title="A"), talk(1, title="B")))
    assert "B" == (await row(database, 1))["title"]


async def test_an_update_of_many_leaves_none_out(database: Database) -> None:
    """An update of 500 rows changes all 500 videos."""
    await add_new(database, *(talk(number, title=f"T{number}") for number in range(500)))
    await change(database, 7, state="failed", error="language")
    done = await bring(database, *(talk(number, language="fi-FI") for number in range(500)))
    assert (0, 500, {}, {}) == summary(done)
    counted = select(func.count(), func.count(videos.c.title.distinct())).where(
        videos.c.language == "fi-FI", videos.c.state == "pending"
    )
    assert (500, 500) == tuple(await database.read(lambda c: c.execute(counted).one()))


async def test_an_update_can_hand_in(database: Database) -> None:
    """A job id for a waiting video makes it submitted; a job that another video has is left."""
    await add_new(database, talk(1), talk(2), talk(3, job_id="job-3"))
    done = await bring(database, talk(1, job_id="job-1"), talk(2, job_id="job-3"))
    assert (0, 1, {}, {SAME_JOB_ID: 1}) == summary(done)
    stored = await row(database, 1)
    assert ("submitted", "job-1", NOW) == (
        stored["state"],
        stored["job_id"],
        stored["submitted_at"],
    )
    assert "pending" == (await row(database, 2))["state"]


@pytest.mark.parametrize("state", ["pending", "submitted"])
async def test_an_update_gives_no_video_the_address_of_another(
    database: Database, state: str
) -> None:
    """An update obeys the rules of an import: an address that another video has is left."""
    job = {"state": state, "job_id": "j" if state == "submitted" else None}
    await add(database, "https://example.org/1.mp4", media_id="talk-1", **job)
    await add(database, "https://example.org/2.mp4", media_id="talk-2", language="xx")
    done = await bring(database, {**talk(2), "url": "https://example.org/1.mp4", "language": "fi"})
    assert (0, 0, {}, {SAME_URL: 1}) == summary(done)
    assert [(0, "left", f"{SAME_URL}: video 1")] == done.passed
    stored = await row(database, 2)
    assert ("https://example.org/2.mp4", "xx") == (stored["url"], stored["language"])
    done = await bring(database, {**signed(1, 7), "media_id": "talk-2"})
    assert (0, 0, {}, {SAME_OBJECT: 1}) == summary(done)
    row_of_1 = {**talk(2), "url": "https://example.org/1.mp4"}
    assert (0, 1, {}, {}) == summary(await bring(database, row_of_1, allowed=True))


@pytest.mark.parametrize("there", [True, False])
async def test_an_update_gives_a_media_id_one_address_in_a_list(
    database: Database, *, there: bool
) -> None:
    """The second of two rows with one media id and different addresses is a reject of an update
    too, if the video is new or not.
    """
    if there:
        await add(database, "old", media_id="talk-1")
    done = await bring(database, talk(1), talk(1, url="u-2"), talk(1, title="T"), now=BEGAN)
    assert (0 if there else 1, 2 if there else 1, {}, {}) == summary(done)
    ((place, kind, why),) = done.passed
    assert (1, "rejected", True) == (place, kind, "has another address in this list" in why)
    stored = await row(database, 1)
    assert (address(1), "T") == (stored["url"], stored["title"])


async def test_a_video_that_something_else_changes_takes_its_corrected_address(
    database: Database,
) -> None:
    """A video that a worker changes while an import runs is none that the import has changed."""
    await add(database, "old", media_id="talk-1")
    await change(database, 1, updated_at=later(BEGAN, 5))
    assert (0, 1, {}, {}) == summary(await bring(database, talk(1)))
    assert [address(1)] == await urls(database)


async def test_an_update_brings_a_new_signature(database: Database) -> None:
    """A link that is signed anew takes the place of the old one, by media id and by address."""
    await add_new(database, {**signed(1, 1), "media_id": "talk-1"}, signed(2, 1))
    rows = [{**signed(1, 2), "media_id": "talk-1"}, signed(2, 2)]
    assert (0, 2, {}, {}) == summary(await bring(database, *rows))
    assert [each["url"] for each in rows] == await urls(database)
    assert (0, 1, {}, {}) == summary(await bring(database, talk(1, url="https://plain.example/")))
    assert None is (await row(database, 1))["unsigned_url"]


async def test_an_update_may_bring_the_address_of_a_cancelled_video(database: Database) -> None:
    """A cancelled video keeps no address from another one."""
    await add(database, "wrong", media_id="talk-1")
    await add(database, address(1), state="cancelled")
    assert (0, 1, {}, {}) == summary(await bring(database, talk(1)))


async def test_an_update_finds_a_video_by_its_address(database: Database) -> None:
    """A row without a media id, or with a new one for a video without, means the video with its
    address.
    """
    await add(database, address(1), address(2))
    await add(database, address(3), media_id="talk-3")
    rows: list[NewVideo] = [
        {"url": address(1), "media_id": None, "title": "one"},
        talk(2, title="two"),
        {"url": address(3), "media_id": None, "title": "three"},
        {"url": address(3), "media_id": "other", "title": "four"},
        {"url": address(4), "title": "new"},
    ]
    assert (1, 3, {SAME_URL: 1}, {}) == summary(await bring(database, *rows))
    stored = [await row(database, number) for number in (1, 2, 3, 4)]
    assert [None, "talk-2", "talk-3", None] == [each["media_id"] for each in stored]
    assert ["one", "two", "three", "new"] == [each["title"] for each in stored]


async def test_an_update_by_address_leaves_what_is_bought(database: Database) -> None:
    """A video found by its address is left where it is submitted."""
    await add(database, address(1), state="submitted", job_id="j")
    done = await bring(database, {"url": address(1), "title": "T"})
    assert (0, 0, {}, {"url is there already, submitted": 1}) == summary(done)


async def test_a_job_of_two_videos_is_that_of_the_first(database: Database) -> None:
    """Of two videos with one name, the one with the lower id gets the job."""
    await add(database, "u-1", "u-2", media_id="talk-1")
    await change(database, 1, title="changed")
    done = await bring(database, talk(1, job_id="job-1"))
    assert (0, 1, {}, {SAME_JOB_ID: 1}) == summary(done)
    assert ["job-1", None] == [(await row(database, number))["job_id"] for number in (1, 2)]


@pytest.mark.parametrize("state", ["pending", "failed"])
async def test_an_update_gives_no_video_its_earlier_job(database: Database, state: str) -> None:
    """A video that is to be bought again takes the columns of an old export, and not its job."""
    await add(database, address(1), media_id="talk-1", state="submitted", job_id="dead")
    await change(database, 1, state=state, job_id=None)
    done = await bring(database, talk(1, job_id="dead", title="T"))
    assert (0, 1, {}, {}) == summary(done)
    stored = await row(database, 1)
    assert ("pending", None, "T") == (stored["state"], stored["job_id"], stored["title"])
    await change(database, 1, state="in_doubt", claims=1)
    done = await bring(database, talk(1, job_id="dead"))
    assert (0, 0, {}, {"media_id is there already, in_doubt": 1}) == summary(done)


async def test_an_earlier_job_of_a_video_is_that_of_no_other(database: Database) -> None:
    """A job that a video had until it was to be bought again is that of no other video."""
    await add(database, address(1), media_id="talk-1", state="submitted", job_id="dead")
    await change(database, 1, state="pending", job_id=None)
    await add(database, address(2), media_id="talk-2")
    done = await bring(database, talk(2, job_id="dead"), talk(3, job_id="dead"))
    assert (0, 0, {SAME_JOB_ID: 1}, {SAME_JOB_ID: 1}) == summary(done)
    assert (0, {SAME_JOB_ID: 1}) == (
        (new := await add_new(database, talk(1, job_id="dead"))).inserted,
        new.skipped,
    )
    await database.write(lambda c: c.execute(delete(videos).where(videos.c.id == 1)), "test")
    assert 1 == (await add_new(database, talk(4, job_id="dead"))).inserted


def test_chunks_add_up() -> None:
    """The counts of an import are the sums of its chunks, reason by reason."""
    whole, part = Intake(inserted=1), Intake(inserted=2, updated=3)
    for counts in (part.skipped, part.left, whole.skipped):
        counts["why"] += 1
    whole.add(part)
    assert (3, 3, {"why": 2}, {"why": 1}) == summary(whole)


async def test_of_two_jobs_of_one_address_the_first_is_taken(database: Database) -> None:
    """Two rows of one list with one address and a job each are one video; nothing is bought."""
    done = await add_new(database, talk(1, job_id="a"), {**talk(1, job_id="b"), "media_id": None})
    assert (1, [(1, "skipped", f"{SAME_URL}: in this list")]) == (done.inserted, done.passed)


@pytest.mark.parametrize("link", [1, 2])
async def test_an_update_puts_a_held_video_off(database: Database, link: int) -> None:
    """A moment that a list brings takes the place of the hold's own, also beside a corrected link,
    which would make the video due.
    """
    await add_new(database, talk(1))
    tonight = later(NOW, 3_600)
    await change(database, 1, held_host="example.org", error="held", due_at=later(NOW, 86_400))

    await bring(database, talk(1, due_at=tonight) | {"url": address(link)})

    its = await row(database, 1)
    assert (address(link), tonight, None, None) == tuple(
        its[name] for name in ("url", "due_at", "held_host", "error")
    )
