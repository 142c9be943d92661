from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, insert, select, update

from tests.conftest import START
from tests.parts import add, facts, later, overhear, plans, row
from worker.core.audit import AuditRow, Match
from worker.core.job_list import Entry, Listing
from worker.core.model import State
from worker.db.database import Database
from worker.db.schema import history, uploads, videos
from worker.store import audit
from worker.store.bulk import BATCH

NOW = later(START, 60)
MADE = "0123456789abcdef0123456789abcdef"
BY_NAME = {"identifiers": ("name",)}
BY_URL = {"urls": ("https://example.org/1.mp4",)}


def listing(*, identifiers: tuple[str, ...] = (), urls: tuple[str, ...] = ()) -> Listing:
    """Return a list of one job with these identifiers and addresses."""
    job = Entry(
        job_id="job-a", status="queued", identifiers=frozenset(identifiers), urls=frozenset(urls)
    )
    return Listing(entries=(job,), paged=None, shape="")


async def chosen(database: Database, shown: Listing) -> list[AuditRow]:
    """Return the videos that an audit of this list compares."""
    return await database.read(lambda c: audit.rows(c, shown))


async def numbers(database: Database, shown: Listing) -> list[int]:
    """Return the ids of the videos that an audit of this list compares."""
    return [found.video_id for found in await chosen(database, shown)]


async def test_a_list_brings_the_videos_that_it_may_speak_of(database: Database) -> None:
    """Every video that the list may name is compared, and no other is read."""
    await add(database, "a", id=1, request_id="name")
    await add(database, "b", id=2, media_id="name", state="failed")
    await add(database, "https://example.org/1.mp4", id=3)
    await add(database, "c", id=4, state="submitted", job_id="job-4")
    await add(database, "d", id=5)
    await add(database, "e", id=6, request_id="name", claims=1, media_id="corrected since")
    await add(database, "f", id=7, request_id="name", media_id="what the first claim sends")
    assert [1, 2, 4, 6] == await numbers(database, listing(identifiers=("name",)))
    assert [3, 4] == await numbers(database, listing(urls=("https://example.org/1.mp4",)))
    assert [4] == await numbers(database, listing())


async def test_an_address_brings_pending_videos_only(database: Database) -> None:
    """A finished video is not offered a job of the same address."""
    for number, state in enumerate(("pending", "failed", "in_doubt", "cancelled"), start=1):
        await add(database, "u", id=number, state=state)
    assert [1] == await numbers(database, listing(urls=("u",)))


async def test_a_video_comes_once(database: Database) -> None:
    """A video found by three of its names is compared once."""
    await add(database, "u", request_id="n", media_id="m", id=1)
    await add(database, "v", request_id="o", state="submitted", job_id="job-2", id=2)
    assert [1, 2] == await numbers(database, listing(identifiers=("n", "m", "o"), urls=("u",)))


async def test_a_long_list_is_asked_for_in_parts(database: Database) -> None:
    """A list of thousands of jobs is read below SQLite's limit of parameters, and whole."""
    count = 2 * BATCH + 1
    names = [f"n-{number:05}" for number in range(count)]
    for place in (0, BATCH - 1, BATCH, -1):
        await add(database, "u", request_id=names[place])
    assert [1, 2, 3, 4] == await numbers(database, listing(identifiers=tuple(names)))


@pytest.mark.parametrize(
    ("columns", "identifier", "made"),
    [
        ({"media_id": "m"}, "m", False),
        ({"media_id": ""}, MADE, True),
        ({}, MADE, True),
        ({"request_id": "own"}, "own", False),
        ({"media_id": "m", "claims": 1}, MADE, False),
        ({"claims": 1}, MADE, True),
        ({"media_id": "m", "claims": 1, "request_id": "m"}, "m", False),
    ],
)
async def test_a_video_is_known_by_what_was_or_would_be_sent(
    database: Database, columns: dict[str, object], identifier: str, *, made: bool
) -> None:
    """A restored video that was not sent yet is found by the media id that it will be sent with."""
    await add(database, "u", **{"request_id": MADE, **columns})
    everything = listing(identifiers=(MADE, "m", "own"))
    claims = columns.get("claims", 0)
    assert [
        AuditRow(
            video_id=1,
            state=State.PENDING,
            claims=claims,  # type: ignore[arg-type]
            url="u",
            identifier=identifier,
            made=made,
            job_id=None,
            submitted_at=None,
        )
    ] == await chosen(database, everything)


async def test_a_file_is_known_by_the_address_of_its_upload(database: Database) -> None:
    """The API knows a file by its upload, and a link by itself. However many files there are, one
    statement reads them.
    """
    urls = ("file:///a", "FILE:/b", "https://v.example/c", "file:///d")
    for number, url in enumerate(urls, start=1):
        await add(database, url, id=number, state="submitted", job_id=f"job-{number}")
    rows = [
        {"video_id": n, "address": "file:///a", "url": f"valossaupload://{n}"} for n in (1, 2, 3)
    ]
    await database.write(lambda c: c.execute(insert(uploads), rows), "test")
    said: list[str] = []

    def look(connection: Connection) -> list[AuditRow]:
        end = overhear(connection, said.append)
        found = audit.rows(connection, listing())
        end()
        return found

    found = await database.write(look, "test")
    sent = ["valossaupload://1", "valossaupload://2", "https://v.example/c", "file:///d"]
    assert sent == [each.url for each in found]
    assert 1 == len(said)


async def match(database: Database, **shown: tuple[str, ...]) -> Match:
    """Return the first of the videos that a list brings, with its job."""
    found = listing(**shown)
    (judged, *_) = await chosen(database, found)
    return Match(row=judged, entry=found.entries[0], sure=True)


async def adopted(database: Database, judged: Match) -> bool:
    """Adopt the job of a match."""
    return await database.write(lambda c: audit.adopt(c, judged, NOW, "person:me"), "test")


async def story(database: Database) -> list[tuple[object, ...]]:
    """Return the whole history of all videos."""
    columns = [history.c[name] for name in ("video_id", "attempt", "at", "who", "message")]
    told = await database.read(
        lambda c: c.execute(select(*columns, history.c.job_id).order_by(history.c.id)).all()
    )
    return [tuple(each) for each in told]


async def test_a_pending_video_takes_its_job_over(database: Database) -> None:
    """The video is submitted, has no earlier error any more, and its history names the person."""
    before = {"attempts": 1, "claims": 2, "http_status": 503, "error": "later"}
    await add(database, "u", request_id="name", claim_token="t", claimed_by="w", **before)
    assert await adopted(database, await match(database, **BY_NAME))
    stored = await row(database, 1)
    expected = {
        "state": "submitted",
        "job_id": "job-a",
        "submitted_at": NOW,
        "updated_at": NOW,
        "error": None,
        "http_status": None,
        "claim_token": None,
        "claimed_by": None,
        "attempts": 1,
    }
    assert expected == {name: stored[name] for name in expected}
    assert [(2, "found")] == await facts(database, 1)
    told = (1, 2, NOW, "person:me", "adopted from the API's list", "job-a")
    assert [told] == await story(database)


@pytest.mark.parametrize(
    "columns",
    [
        {"claims": 1},
        {"state": "failed"},
        {"state": "cancelled"},
        {"state": "in_doubt"},
        {"state": "submitted", "job_id": "theirs"},
        {
            "state": "submitting",
            "claim_token": "t",
            "claimed_by": "w",
            "lease_until": later(START, 70),
        },
    ],
)
async def test_what_moved_on_is_not_adopted(database: Database, columns: dict[str, object]) -> None:
    """Law 6: a video that a worker claimed meanwhile is left to the outcome of that attempt."""
    await add(database, "u", request_id="name")
    judged = await match(database, **BY_NAME)
    await database.write(lambda c: c.execute(update(videos).values(**columns)), "test")
    before = await row(database, 1)
    assert not await adopted(database, judged)
    assert before == await row(database, 1)
    assert [] == await story(database)


async def test_a_job_that_another_video_has_by_now_is_not_adopted(database: Database) -> None:
    """Law 14: a job that another video has is left out, and the other adoptions succeed."""
    await add(database, "https://example.org/1.mp4", "https://example.org/1.mp4")
    judged = await match(database, **BY_URL)
    other = replace(judged, entry=replace(judged.entry, job_id="job-b"))
    await add(database, "v", state="submitted", job_id="job-a")
    adopt = audit.adopt
    done = await database.write(
        lambda c: [adopt(c, each, NOW, "me") for each in (judged, other)], "test"
    )
    assert [False, True] == done
    assert "job-b" == (await row(database, 1))["job_id"]


async def test_no_other_video_is_adopted_with_it(database: Database) -> None:
    """One match changes one video."""
    await add(database, "u", request_id="name")
    await add(database, "v")
    before = await row(database, 2)
    assert await adopted(database, await match(database, **BY_NAME))
    assert before == await row(database, 2)


async def test_a_cancelled_second_job_is_in_the_story(database: Database) -> None:
    """The video keeps its own job, and its history names the cancelled one."""
    await add(database, "u", request_id="name", claims=3, state="submitted", job_id="job-own")
    judged = await match(database, **BY_NAME)
    before = await row(database, 1)
    await database.write(lambda c: audit.record_cancelled(c, judged, NOW, "person:me"), "test")
    assert before == await row(database, 1)
    assert [(3, "cancel")] == await facts(database, 1)
    told = (1, 3, NOW, "person:me", "its second job job-a was cancelled", None)
    assert [told] == await story(database)


@pytest.fixture
def crowded(path: Path) -> Iterator[Connection]:
    """Give a queue with thousands of rows in several states."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql(CROWD)
        yield connection
    engine.dispose()


CROWD = """
INSERT INTO videos (id, url, state, job_id, media_id)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
SELECT i, 'u' || i, CASE WHEN i % 9 = 0 THEN 'submitted' WHEN i % 3 = 1 THEN 'pending'
       ELSE 'failed' END,
       CASE WHEN i % 9 = 0 THEN 'job-' || i END, CASE i % 2 WHEN 0 THEN 'm' || i END FROM n
"""
LONG = listing(
    identifiers=tuple(f"m{n}" for n in range(600)), urls=tuple(f"u{n}" for n in range(600))
)


def adopt_one(connection: Connection) -> None:
    """Adopt one job."""
    judged = next(each for each in audit.rows(connection, LONG) if each.state is State.PENDING)
    assert audit.adopt(connection, Match(row=judged, entry=LONG.entries[0], sure=True), NOW, "me")


@pytest.mark.parametrize("action", [lambda c: audit.rows(c, LONG), adopt_one])
@pytest.mark.parametrize("analysed", [False, True])
def test_an_audit_finds_its_videos_by_indexes(
    crowded: Connection, action: Callable[[Connection], object], *, analysed: bool
) -> None:
    """An audit finds the videos of a long list through indexes."""
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    scans = {plan for plan in plans(crowded, action) if plan.startswith("SCAN")}
    assert scans <= {"SCAN CONSTANT ROW", "SCAN videos USING INDEX videos_job_id"}
