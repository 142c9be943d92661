import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.dialects.sqlite import dialect

from tests.parts import row, take
from worker.db import Database
from worker.tables import Moment, metadata, videos

DIALECT = dialect()
MOMENTS = ("due_at", "lease_until", "created_at", "updated_at", "submitted_at")


@pytest.fixture
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as any other program opens it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture(scope="module")
def scratch() -> Iterator[sqlite3.Connection]:
    """The tables in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        connection.commit()
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        yield driver
    engine.dispose()


def insert(connection: sqlite3.Connection, **columns: object) -> int:
    """Insert one video with plain SQL and return its id."""
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    values = tuple(columns.values())
    cursor = connection.execute(f"INSERT INTO videos ({names}) VALUES ({marks})", values)
    assert cursor.lastrowid is not None
    return cursor.lastrowid


async def test_a_url_alone_makes_a_row_that_the_worker_sends(
    plain: sqlite3.Connection, database: Database
) -> None:
    """A program that knows nothing of this one can enqueue with one column of plain SQL."""
    (before,) = plain.execute("SELECT datetime('now')").fetchone()
    plain.execute("INSERT INTO videos (url) VALUES ('https://example.org/a.mp4')")
    (after,) = plain.execute("SELECT datetime('now')").fetchone()
    made = await row(database, 1)
    for column in ("due_at", "created_at", "updated_at"):
        moment = made.pop(column)
        assert isinstance(moment, datetime)
        assert before <= moment.strftime("%Y-%m-%d %H:%M:%S") <= after
    request_id = made.pop("request_id")
    given = {"id": 1, "url": "https://example.org/a.mp4", "state": "pending"}
    numbers = {"priority": 0, "attempts": 0, "claims": 0}
    absent = dict.fromkeys(set(made) - given.keys() - numbers.keys())
    assert given | numbers | absent == made
    (claim,) = await take(database, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert (1, request_id) == (claim.video_id, claim.request_id)


def test_every_row_has_a_request_id_of_its_own(plain: sqlite3.Connection) -> None:
    """What identifies a request at the API is random for each row."""
    for _ in range(3):
        insert(plain, url="https://example.org/a.mp4")
    ids = [request_id for (request_id,) in plain.execute("SELECT request_id FROM videos")]
    assert 3 == len(set(ids))
    assert [32, 32, 32] == [len(bytes.fromhex(each)) * 2 for each in ids]


@pytest.mark.parametrize("state", ["pending", "failed", "in_doubt", "cancelled"])
def test_every_state_of_the_design_is_let_in(plain: sqlite3.Connection, state: str) -> None:
    """The states that need nothing else can be written."""
    insert(plain, url="u", state=state)
    assert [(state,)] == plain.execute("SELECT state FROM videos").fetchall()


CLAIM = {"claim_token": "t", "claimed_by": "w", "lease_until": "2026-01-01 00:00:00"}


def test_claims_and_jobs_are_let_in(plain: sqlite3.Connection) -> None:
    """A complete claim, and a finished row from elsewhere, can be written."""
    insert(plain, url="u", state="submitting", **CLAIM)
    insert(plain, url="u", state="submitted", job_id="job-1")
    insert(plain, url="u", state="submitting", job_id="job-2", **CLAIM)
    assert 3 == plain.execute("SELECT count(*) FROM videos").fetchone()[0]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"url": ""}, "url_is_given"),
        ({"url": None}, "NOT NULL constraint failed: videos.url"),
        ({"state": "done"}, "state_is_known"),
        ({"state": ""}, "state_is_known"),
        ({"state": "Pending"}, "state_is_known"),
        ({"state": "submitted"}, "submitted_has_a_job"),
        ({"job_id": "job-1"}, "a_job_is_never_pending"),
        ({"state": "submitting"}, "submitting_has_a_claim"),
        *(
            ({"state": "submitting", **CLAIM, column: None}, "submitting_has_a_claim")
            for column in CLAIM
        ),
        ({"face_min_relative_height": 1.5}, "height_is_a_share"),
        ({"face_min_relative_height": -0.1}, "height_is_a_share"),
        ({"face_min_relative_height": float("inf")}, "height_is_a_share"),
        ({"face_min_relative_height": "tall"}, "cannot store TEXT value in REAL column"),
        ({"attempts": -1}, "attempts_are_claims"),
        ({"attempts": 1}, "attempts_are_claims"),
        ({"request_id": ""}, "request_id_is_given"),
        ({"request_id": None}, "NOT NULL constraint failed: videos.request_id"),
        ({"priority": "high"}, "cannot store TEXT value in INTEGER column"),
        ({"priority": 1.5}, "cannot store REAL value in INTEGER column"),
        ({"title": b"bytes"}, "cannot store BLOB value in TEXT column"),
        ({"due_at": b"2026-01-01 00:00:00"}, "cannot store BLOB value in TEXT column"),
    ],
)
def test_what_the_worker_could_not_read_is_kept_out(
    plain: sqlite3.Connection, columns: dict[str, object], why: str
) -> None:
    """Each constraint refuses what it names, and says its name."""
    with pytest.raises(sqlite3.IntegrityError, match=why):
        insert(plain, **{"url": "u", **columns})
    assert [] == plain.execute("SELECT id FROM videos").fetchall()


@pytest.mark.parametrize("column", MOMENTS)
@pytest.mark.parametrize(
    "moment",
    [
        "",
        "garbage",
        "2026-01-01",
        "12:00:00",
        "2026-01-01 12:00",
        "2026-01-01T12:00:00",
        "2026-01-01 12:00:00Z",
        "2026-01-01 12:00:00+00:00",
        " 2026-01-01 12:00:00",
        "2026-1-1 12:00:00",
        "2026-02-30 12:00:00",
        "2026-13-01 12:00:00",
        "2026-01-01 24:00:00",
        "2026-01-01 12:00:60",
        "2026-01-01 12:00:00.",
        "2026-01-01 12:00:00,5",
        "2026-01-01 12:00:00.1234567",
        "2026-01-01 12:00:00.12x",
        "2026-01-01 12:00:00.12\n",
        "2026-01-01 12:00:00\0garbage",
        "2026-01-01 12:00:00.12\0garbage",
        "1969-12-31 23:59:59",
        "0000-01-01 00:00:00",
        "10000-01-01 00:00:00",
        1767268800,
        2461042.0,
    ],
)
def test_what_is_no_moment_is_kept_out(
    plain: sqlite3.Connection, column: str, moment: object
) -> None:
    """No column of a moment takes what would not sort or could not be read."""
    with pytest.raises(sqlite3.IntegrityError, match=f"CHECK constraint failed: {column}_is_utc"):
        insert(plain, url="u", **{column: moment})


@pytest.mark.parametrize("column", MOMENTS)
def test_now_is_kept_out(plain: sqlite3.Connection, column: str) -> None:
    """A word that SQLite reads as a moment is not stored as one."""
    with pytest.raises(sqlite3.OperationalError, match="non-deterministic use of datetime"):
        insert(plain, url="u", **{column: "now"})
    assert [] == plain.execute("SELECT id FROM videos").fetchall()


@pytest.mark.parametrize("column", MOMENTS)
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01 00:00:00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2028-02-29 23:59:59", datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)),
        ("2026-01-01 12:00:00.5", datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-01 12:00:00.125", datetime(2026, 1, 1, 12, 0, 0, 125_000, tzinfo=UTC)),
        ("9999-12-31 23:59:59.999999", datetime.max.replace(tzinfo=UTC)),
    ],
)
async def test_moments_of_any_precision_are_read(
    plain: sqlite3.Connection, database: Database, column: str, text: str, moment: datetime
) -> None:
    """What ``datetime('now')`` writes, with or without a fraction, is that moment in UTC."""
    insert(plain, url="u", **{column: text})
    assert moment == (await row(database, 1))[column]


@given(text=st.from_regex(r"\A[12]\d{3}-[01]\d-[0-3]\d[ T][0-2]\d:[0-6]\d:\d\d(\.\d{0,7})?.?\Z"))
def test_whatever_is_let_in_can_be_read(scratch: sqlite3.Connection, text: str) -> None:
    """There is no text that passes the constraint and stops the worker."""
    scratch.execute("BEGIN")
    try:
        insert(scratch, url="u", due_at=text)
    except sqlite3.IntegrityError:
        return
    finally:
        scratch.rollback()
    assert Moment().process_result_value(text, DIALECT) is not None


def zone(hours: int) -> timezone:
    """So far from UTC."""
    return timezone(timedelta(hours=hours))


zones = st.integers(-23, 23).map(zone)
moments = st.datetimes(datetime(1971, 1, 1), datetime(9998, 12, 31), timezones=zones)  # noqa: DTZ001


@given(moment=moments, other=moments)
def test_moments_are_kept_as_they_are_and_sort_as_text(
    scratch: sqlite3.Connection, moment: datetime, other: datetime
) -> None:
    """A moment of any zone is let in, comes back as the same one, and sorts by time."""
    texts = [Moment().process_bind_param(each, DIALECT) for each in (moment, other)]
    scratch.execute("BEGIN")
    for text in texts:
        insert(scratch, url="u", due_at=text)
    scratch.rollback()
    assert [moment, other] == [Moment().process_result_value(text, DIALECT) for text in texts]
    assert (moment < other) == (str(texts[0]) < str(texts[1]))


def test_every_moment_is_written_as_wide() -> None:
    """A whole second sorts behind the same second of others, whoever wrote it and how."""
    text = Moment().process_bind_param(datetime(2026, 1, 1, 14, tzinfo=zone(2)), DIALECT)
    assert "2026-01-01 12:00:00.000000" == text


def test_a_moment_may_be_absent() -> None:
    """None goes in and comes out."""
    assert Moment().process_bind_param(None, DIALECT) is None
    assert Moment().process_result_value(None, DIALECT) is None


def test_the_id_of_a_deleted_row_does_not_come_back(plain: sqlite3.Connection) -> None:
    """What the history says of a deleted video is never taken for another's."""
    assert [1, 2] == [insert(plain, url="u"), insert(plain, url="u")]
    plain.execute("DELETE FROM videos")
    assert 3 == insert(plain, url="u")


def test_a_job_is_held_by_one_video(plain: sqlite3.Connection) -> None:
    """Two rows cannot claim the same job id."""
    insert(plain, url="u", state="submitted", job_id="job-1")
    with pytest.raises(sqlite3.IntegrityError, match=r"UNIQUE constraint failed: videos\.job_id"):
        insert(plain, url="u", state="submitted", job_id="job-1")


def test_there_is_one_account(plain: sqlite3.Connection) -> None:
    """All processes share one row, and no second can be made."""
    assert [(1,)] == plain.execute("SELECT id FROM account").fetchall()
    with pytest.raises(sqlite3.IntegrityError, match="one_row"):
        plain.execute("INSERT INTO account (id) VALUES (2)")


def test_only_the_url_must_be_given() -> None:
    """Every other column of the interface has a default or may be absent."""
    needed = [c.name for c in videos.c if not c.nullable and c.server_default is None]
    assert ["url"] == needed
