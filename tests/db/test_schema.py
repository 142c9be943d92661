import asyncio
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, select
from sqlalchemy.dialects.sqlite import dialect

from tests.conftest import open_database
from tests.parts import row, take
from tests.plain import Plain, execute, session
from worker.db.column_types import EPOCH, DialectSQL, Moment, Unreadable, as_moment, as_text
from worker.db.database import Database
from worker.db.schema import metadata, videos
from worker.store.bulk import known

DIALECT = dialect()
REFUSES = (sqlite3.IntegrityError, asyncpg.IntegrityConstraintViolationError)
HEIGHTS = ("NaN", "Infinity", "-Infinity", "-0.0000001", "1.0000001")
MOMENTS = ("due_at", "lease_until", "created_at", "updated_at", "submitted_at")


@pytest.fixture(scope="module")
def scratch() -> Iterator[sqlite3.Connection]:
    """Return the tables in memory."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        connection.commit()
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        yield driver
    engine.dispose()


def insert(other: Plain, **columns: object) -> int:
    """Insert one video with plain SQL and return its id."""
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    sql = f"INSERT INTO videos ({names}) VALUES ({marks}) RETURNING id"
    ((number,),) = other.execute(sql, *columns.values())
    return int(number)


async def test_a_url_alone_makes_a_row_that_the_worker_sends(
    plain: Plain, database: Database
) -> None:
    """A program that knows nothing of this one can enqueue with one column of plain SQL."""
    ((before,),) = plain.execute("SELECT CURRENT_TIMESTAMP AS now")
    plain.execute("INSERT INTO videos (url) VALUES ('https://example.org/a.mp4')")
    ((after,),) = plain.execute("SELECT CURRENT_TIMESTAMP AS now")
    made = await row(database, 1)
    for column in ("due_at", "created_at", "updated_at"):
        moment = made.pop(column)
        assert isinstance(moment, datetime)
        assert timedelta(0) == moment.utcoffset()
        assert before <= f"{moment:%Y-%m-%d %H:%M:%S.%f}"
        assert f"{moment:%Y-%m-%d %H:%M:%S}" <= after
    request_id = made.pop("request_id")
    given = {"id": 1, "url": "https://example.org/a.mp4", "state": "pending"}
    numbers = {"priority": 0, "attempts": 0, "claims": 0, "may_buy_twice": 0}
    absent = dict.fromkeys(set(made) - given.keys() - numbers.keys())
    assert given | numbers | absent == made
    (claim,) = await take(database, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert (1, request_id) == (claim.video_id, claim.request_id)


def test_every_row_has_a_request_id_of_its_own(plain: Plain) -> None:
    """Each row's request id is random."""
    plain.execute("INSERT INTO videos (url) VALUES ('a'), ('b')")
    insert(plain, url="https://example.org/a.mp4")
    ids = [request_id for (request_id,) in plain.execute("SELECT request_id FROM videos")]
    assert 3 == len(set(ids))
    assert [32, 32, 32] == [len(bytes.fromhex(each)) * 2 for each in ids]


@pytest.mark.parametrize("state", ["pending", "failed", "in_doubt", "cancelled"])
def test_every_state_of_the_design_is_let_in(plain: Plain, state: str) -> None:
    """The states that need nothing else can be written."""
    insert(plain, url="u", state=state)
    assert [(state,)] == plain.execute("SELECT state FROM videos")


@pytest.mark.parametrize("column", ["url", "media_id"])
async def test_a_very_long_link_is_let_in_and_found(
    plain: Plain, database: Database, column: str
) -> None:
    """Signed links of 5,000 characters are longer than a usual index of PostgreSQL takes."""
    signature = random.Random(1).randbytes(2_500).hex()  # which no compression makes short
    long = f"https://example.org/{signature}"[:5_000]
    insert(plain, **{"url": "u", column: long})
    assert long == (await row(database, 1))[column]
    assert [(long, 1)] == await database.read(lambda c: known(c, videos.c[column], [long]))


CLAIM = {"claim_token": "t", "claimed_by": "w", "lease_until": "2026-01-01 00:00:00"}


def test_claims_and_jobs_are_let_in(plain: Plain) -> None:
    """A complete claim, and a finished row from elsewhere, can be written."""
    insert(plain, url="u", state="submitting", **CLAIM)
    insert(plain, url="u", state="submitted", job_id="job-1")
    insert(plain, url="u", state="submitting", job_id="job-2", **CLAIM)
    assert [(3,)] == plain.execute("SELECT count(*) FROM videos")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"url": ""}, "url_is_given"),
    ({"url": None}, r"videos\.url|null value in column .url"),
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
    ({"attempts": -1}, "attempts_are_claims"),
    ({"attempts": 1}, "attempts_are_claims"),
    ({"request_id": ""}, "request_id_is_given"),
    ({"request_id": None}, r"videos\.request_id|null value in column .request_id"),
]
"""Values that neither database takes."""
REFUSED_BY_SQLITE: list[tuple[dict[str, Any], str]] = [
    ({"face_min_relative_height": float("inf")}, "height_is_a_share"),
    ({"face_min_relative_height": "tall"}, "cannot store TEXT value in REAL column"),
    ({"priority": "high"}, "cannot store TEXT value in INTEGER column"),
    ({"priority": 1.5}, "cannot store REAL value in INTEGER column"),
    ({"title": b"bytes"}, "cannot store BLOB value in TEXT column"),
    ({"due_at": b"2026-01-01 00:00:00"}, "cannot store BLOB value in TEXT column"),
]
REFUSED_BY_POSTGRESQL: list[tuple[dict[str, Any], str]] = [
    *(({"face_min_relative_height": each}, "height_is_a_share") for each in HEIGHTS),
    ({"face_min_relative_height": "tall"}, "invalid input syntax for type double precision"),
    ({"priority": "high"}, "invalid input syntax for type bigint"),
    ({"priority": 2**70}, "bigint out of range"),
    ({"attempts": 2**40}, "integer out of range"),
    ({"due_at": None}, "null value in column .due_at"),
]


@pytest.mark.parametrize(("columns", "why"), REFUSED)
def test_what_the_worker_could_not_read_is_kept_out(
    plain: Plain, columns: dict[str, object], why: str
) -> None:
    """Each constraint refuses what it names, and says its name."""
    with pytest.raises(REFUSES, match=why):
        insert(plain, **{"url": "u", **columns})
    assert [] == plain.execute("SELECT id FROM videos")


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("columns", "why"), REFUSED_BY_SQLITE)
def test_what_is_of_another_type_is_kept_out(
    plain: Plain, columns: dict[str, object], why: str
) -> None:
    """A STRICT table holds no value of another type than the worker reads."""
    with pytest.raises(sqlite3.IntegrityError, match=why):
        insert(plain, **{"url": "u", **columns})
    assert [] == plain.execute("SELECT id FROM videos")


@pytest.mark.parametrize(("columns", "why"), REFUSED_BY_POSTGRESQL)
def test_what_is_of_another_type_is_kept_out_by_a_server(
    served: str, columns: dict[str, object], why: str
) -> None:
    """No type of PostgreSQL's holds more than the worker reads: NaN is no height, nor infinity."""
    with session(served) as plain:
        with pytest.raises(asyncpg.PostgresError, match=why):
            insert(plain, **{"url": "u", **columns})
        assert [] == plain.execute("SELECT id FROM videos")


@pytest.mark.parametrize("column", MOMENTS)
@pytest.mark.parametrize(
    "moment",
    [
        "infinity",
        "-infinity",
        "1969-12-31 23:59:59.999999+00",
        "0001-01-01 00:00:00+00 BC",
        "10000-01-01 00:00:00+00",
        "294276-12-31 23:59:59+00",
        "9999-12-31 00:00:00+00",
    ],
)
def test_what_no_datetime_can_be_is_kept_out_by_a_server(
    served: str, column: str, moment: str
) -> None:
    """A server refuses a moment that the driver cannot read."""
    with session(served) as plain:
        with pytest.raises(asyncpg.CheckViolationError, match=f"{column}_is_utc_text"):
            insert(plain, url="u", **{column: moment})
        assert [] == plain.execute("SELECT id FROM videos")


@pytest.mark.parametrize("column", MOMENTS)
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01 00:00:00+00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-01-01T12:00:00.125Z", datetime(2026, 1, 1, 12, 0, 0, 125_000, tzinfo=UTC)),
        ("2026-01-01 12:00:00-05", datetime(2026, 1, 1, 17, tzinfo=UTC)),
        ("9999-12-30 23:59:59.999999+00", datetime(9999, 12, 30, 23, 59, 59, 999_999, UTC)),
    ],
)
async def test_moments_of_any_zone_are_read_from_a_server(
    served: str, column: str, text: str, moment: datetime
) -> None:
    """A moment that was let in is the same one in UTC, whatever zone program or server has."""
    with session(served) as plain:
        plain.execute("SET timezone = 'Pacific/Kiritimati'")
        insert(plain, url="u", **{column: text})
    async with open_database(served) as database:
        found = (await row(database, 1))[column]
    assert isinstance(found, datetime)
    assert (moment, timedelta(0)) == (found, found.utcoffset())


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("column", MOMENTS)
@pytest.mark.parametrize(
    "moment",
    [
        "",
        "garbage",
        "2026-01-01",
        "12:00:00",
        "2026-01-01 12:00",
        "2026-02-30T12:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T12:00:00Q",
        "2026-01-01T12:00:00Z\n",
        "2026-01-01T12:00:00Z\0garbage",
        "2026-01-01T12:00",
        " 2026-01-01 12:00:00",
        "2026-1-1 12:00:00",
        "2026-02-30 12:00:00",
        "2026-13-01 12:00:00",
        "2026-01-01 24:00:00",
        "2026-01-01 12:00:60",
        "2026-01-01 12:00:00.",
        "2026-01-01 12:00:00,5",
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
def test_what_is_no_moment_is_kept_out(plain: Plain, column: str, moment: object) -> None:
    """No column of a moment takes text that does not sort or cannot be read as one."""
    with pytest.raises(sqlite3.IntegrityError, match=f"CHECK constraint failed: {column}_is_utc"):
        insert(plain, url="u", **{column: moment})


OTHER_FORMS = [
    ("2026-01-01T12:00:00", "2026-01-01 12:00:00.000"),
    ("2026-01-01T12:00:00Z", "2026-01-01 12:00:00.000"),
    ("2026-01-01 12:00:00Z", "2026-01-01 12:00:00.000"),
    ("2026-01-01T12:00:00+00:00", "2026-01-01 12:00:00.000"),
    ("2026-01-01T01:30:00.25-10:30", "2026-01-01 12:00:00.250"),
    ("2026-01-01T12:00:00.1234567Z", "2026-01-01 12:00:00.123"),
]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("column", [name for name in MOMENTS if name != "due_at"])
@pytest.mark.parametrize("moment", [form for form, _ in OTHER_FORMS])
def test_only_due_at_takes_other_forms(plain: Plain, column: str, moment: str) -> None:
    """The moments that the worker alone writes have one form."""
    with pytest.raises(sqlite3.IntegrityError, match=f"CHECK constraint failed: {column}_is_utc"):
        insert(plain, url="u", **{column: moment})


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(("text", "kept"), OTHER_FORMS)
def test_due_at_is_taken_as_most_programs_write_it(plain: Plain, text: str, kept: str) -> None:
    """A T, a Z or an offset, inserted or updated, is kept in the form that sorts."""
    insert(plain, url="u", due_at=text)
    insert(plain, url="v")
    plain.execute(f"UPDATE videos SET due_at = '{text}' WHERE url = 'v'")
    assert [(kept,), (kept,)] == plain.execute("SELECT due_at FROM videos")


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("column", MOMENTS)
def test_now_is_kept_out(plain: Plain, column: str) -> None:
    """A word that SQLite reads as a moment is not stored as one."""
    with pytest.raises(sqlite3.OperationalError, match="non-deterministic use of datetime"):
        insert(plain, url="u", **{column: "now"})
    assert [] == plain.execute("SELECT id FROM videos")


@pytest.mark.usefixtures("path")
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
    plain: Plain, database: Database, column: str, text: str, moment: datetime
) -> None:
    """The result of ``datetime('now')``, with or without a fraction, is that moment in UTC."""
    insert(plain, url="u", **{column: text})
    assert moment == (await row(database, 1))[column]


def put(connection: sqlite3.Connection, due_at: str) -> None:
    """Insert a video that is due then."""
    connection.execute("INSERT INTO videos (url, due_at) VALUES ('u', ?)", (due_at,))


@given(text=st.from_regex(r"\A[12]\d{3}-[01]\d-[0-3]\d[ T][0-2]\d:[0-6]\d:\d\d(\.\d{0,7})?.?\Z"))
def test_whatever_is_let_in_can_be_read(scratch: sqlite3.Connection, text: str) -> None:
    """There is no text that passes the constraint and stops the worker."""
    scratch.execute("BEGIN")
    try:
        put(scratch, text)
    except sqlite3.IntegrityError:
        return
    finally:
        scratch.rollback()
    assert not isinstance(Moment().process_result_value(text, DIALECT), Unreadable | None)


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
        put(scratch, str(text))
    scratch.rollback()
    assert [moment, other] == [Moment().process_result_value(text, DIALECT) for text in texts]
    assert (moment < other) == (str(texts[0]) < str(texts[1]))


def test_every_moment_is_written_as_wide() -> None:
    """A moment is written in UTC with six digits of fraction, a whole second too."""
    text = Moment().process_bind_param(datetime(2026, 1, 1, 14, tzinfo=zone(2)), DIALECT)
    assert "2026-01-01 12:00:00.000000" == text


def test_a_moment_may_be_absent() -> None:
    """None goes in and comes out."""
    assert Moment().process_bind_param(None, DIALECT) is None
    assert Moment().process_result_value(None, DIALECT) is None


def test_the_id_of_a_deleted_row_does_not_come_back(plain: Plain) -> None:
    """The id of a deleted row is never given again, so its history is no other video's."""
    assert [1, 2] == [insert(plain, url="u"), insert(plain, url="u")]
    plain.execute("DELETE FROM videos")
    assert 3 == insert(plain, url="u")


def test_a_job_is_held_by_one_video(plain: Plain) -> None:
    """Two rows cannot claim the same job id."""
    insert(plain, url="u", state="submitted", job_id="job-1")
    with pytest.raises(REFUSES, match=r"videos\.job_id|videos_job_id"):
        insert(plain, url="u", state="submitted", job_id="job-1")


def test_there_is_one_account(plain: Plain) -> None:
    """All processes share one row of state, and no second can be made."""
    assert [(1,)] == plain.execute("SELECT id FROM account")
    with pytest.raises(REFUSES, match="one_row"):
        plain.execute("INSERT INTO account (id) VALUES (2)")


def test_only_the_url_must_be_given() -> None:
    """Every other column of the interface has a default or may be absent."""
    needed = [c.name for c in videos.c if not c.nullable and c.server_default is None]
    assert ["url"] == needed


WAKES = [
    "INSERT INTO videos (url) VALUES ('new')",
    "UPDATE videos SET due_at = '2025-01-01 00:00:00' WHERE id = 1",
    "UPDATE videos SET state = 'pending' WHERE id = 2",
    "UPDATE account SET paused_at = '2026-01-01 00:00:00'",
]
WAKES_NOBODY = [
    "UPDATE videos SET state = 'failed' WHERE id = 1",
    "UPDATE videos SET due_at = '2031-01-01 00:00:00' WHERE id = 1",
    "UPDATE videos SET title = 'new', due_at = '2024-01-01 00:00:00' WHERE id = 2",
    "DELETE FROM videos",
    "UPDATE account SET next_start_at = '2026-01-01 00:00:00'",
    "INSERT INTO history (video_id, attempt, at, who, fact) VALUES (1, 1, now(), 'w', 'x')",
]


@pytest.mark.parametrize(
    ("statement", "words"), [*((s, 1) for s in WAKES), *((s, 0) for s in WAKES_NOBODY)]
)
async def test_a_server_says_a_word_where_there_is_something_to_do(
    served: str, statement: str, words: int
) -> None:
    """A server notifies exactly of the statements that bring work."""
    execute(served, "INSERT INTO videos (url, due_at) VALUES ('a', '2030-01-01 00:00:00')")
    execute(served, "INSERT INTO videos (url, state) VALUES ('b', 'failed')")
    heard: asyncio.Queue[str] = asyncio.Queue()
    listening = await asyncpg.connect(served)
    await listening.add_listener("valossa_ingest", lambda *said: heard.put_nowait(said[-1]))
    await listening.execute("BEGIN")
    await listening.execute(statement)
    await listening.execute("COMMIT")
    await listening.execute("NOTIFY valossa_ingest, 'the end'")
    async with asyncio.timeout(10):
        said = [await heard.get()]
        while "the end" != said[-1]:
            said.append(await heard.get())
    await listening.close()
    assert [*["public"] * words, "the end"] == said


@pytest.mark.parametrize(
    "text",
    ["", "soon", "2026-13-45 99:99:99", "1767225600", "0001-01-01 00:00:00", "1969-12-31 23:59:59"],
)
def test_a_text_that_is_no_moment_is_read_and_written_as_it_is(text: str) -> None:
    """Law 14: such a value is the epoch in calculations, and its text wherever it is shown."""
    found = as_moment(text)
    assert (EPOCH, text, text) == (found, as_text(found), f"{found:%Y}")
    assert "?" == f"{found + timedelta(days=1):%Y}"


def test_a_moment_with_an_offset_is_read_in_utc() -> None:
    """A moment that names an offset is that moment."""
    assert datetime(2026, 1, 31, 6, tzinfo=UTC) == as_moment("2026-01-31T08:00:00+02:00")


def test_a_statement_is_known_again_by_the_sql_of_both_databases() -> None:
    """SQLAlchemy compiles equal statements once, and takes none for another one."""
    first, other = (DialectSQL(sqlite="1", postgresql=sql) for sql in ("2", "3"))
    again = DialectSQL(sqlite="1", postgresql="2")
    keys = [select(each)._generate_cache_key() for each in (first, again, other)]  # noqa: SLF001
    assert keys[0] is not None
    assert keys[0] == keys[1] != keys[2]
