import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import START, Hands
from tests.parts import SETTINGS, add, let_start, row, take, transaction
from worker.core.model import Accepted, InDoubt, Outcome, Refused, Result
from worker.core.relocation import copy_of, on_its_way
from worker.core.request import problem_of
from worker.db.database import Database
from worker.db.schema import videos
from worker.store import relocation, shared_state

B = "sqlite:///it's b.db"
INSERT = "INSERT INTO videos (url) VALUES ('https://v.example/new')"


async def mark(database: Database, told: str) -> None:
    """Mark the queue as moved."""
    await database.write(lambda c: relocation.mark(c, told), "test")


async def unmark(database: Database) -> None:
    """Take the mark out."""
    await database.write(relocation.unmark, "test")


@pytest.fixture
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """Run a statement as another program does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


async def test_a_mark_is_read_with_the_account(database: Database) -> None:
    """The mark is part of the shared state, which every claim reads."""
    assert await database.read(relocation.problem) is None
    await mark(database, B)
    assert B == (await database.read(shared_state.read)).moved_to
    assert f"has moved to {B}: name that one" in str(await database.read(relocation.problem))
    await unmark(database)
    assert await database.read(relocation.problem) is None


@pytest.mark.parametrize("told", [B, on_its_way(B), copy_of(B)])
async def test_plain_sql_does_not_vanish_in_a_marked_queue(
    database: Database, plain: sqlite3.Connection, told: str
) -> None:
    """A marked queue refuses the changes of other programs, and says where it moved."""
    await add(database, "https://v.example/1", "https://v.example/2")
    await mark(database, told)
    with pytest.raises(sqlite3.IntegrityError, match=r"this queue .*it's b\.db"):
        plain.execute(INSERT)
    with pytest.raises(sqlite3.IntegrityError, match=r"this queue .*it's b\.db"):
        plain.execute("UPDATE videos SET priority = 5 WHERE id = 2")


async def test_a_mark_that_is_taken_out_by_hand_lets_everything_in(
    database: Database, plain: sqlite3.Connection
) -> None:
    """One statement that removes the mark makes the queue accept rows again."""
    await mark(database, B)
    plain.execute("UPDATE account SET moved_to = NULL")
    plain.execute(INSERT)
    plain.execute("UPDATE videos SET priority = 5")
    await mark(database, on_its_way(B))
    with pytest.raises(sqlite3.IntegrityError, match="is moving to"):
        plain.execute(INSERT)


async def test_a_queue_that_is_opened_is_as_it_was(
    database: Database, plain: sqlite3.Connection
) -> None:
    """A queue whose mark is taken out has the triggers that it had before."""
    schema = "SELECT * FROM sqlite_master WHERE type = 'trigger'"
    before = plain.execute(schema).fetchall()
    await mark(database, B)
    assert before != plain.execute(schema).fetchall()
    await unmark(database)
    assert before == plain.execute(schema).fetchall()
    plain.execute(INSERT)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Accepted("job-1", 200), "submitted"),
        (Refused("no", 400), "failed"),
        (InDoubt("lost"), "in_doubt"),
    ],
)
async def test_what_is_in_flight_is_settled_in_a_marked_queue(
    database: Database, hands: Hands, outcome: Outcome, state: str
) -> None:
    """Law 6: a claim in flight is settled in a marked queue."""
    await let_start(database, START)
    await add(database, "https://v.example/1", due_at=START)
    (claim,) = await take(database, START)
    await mark(database, on_its_way(B))
    ending = Result(claim=claim, outcome=outcome, started_at=START)
    work = transaction(hands.clock)
    await database.write(lambda c: work.write(c, [ending], 0), "test")
    assert state == (await row(database, 1))["state"]


@pytest.mark.parametrize("state", ["in_doubt", "pending", "failed"])
async def test_a_late_job_is_written_down_in_a_marked_queue(
    database: Database, hands: Hands, state: str
) -> None:
    """Law 6: a late job id is written in a marked queue."""
    await let_start(database, START)
    await add(database, "https://v.example/1", due_at=START)
    (claim,) = await take(database, START)
    token = "claim_token" if state == "in_doubt" else "NULL"
    sql = text(f"UPDATE videos SET state = '{state}', claim_token = {token}")
    await database.write(lambda c: c.execute(sql), "test")
    await mark(database, B)
    ending = Result(claim=claim, outcome=Accepted("job-1", 200), started_at=START)
    work = transaction(hands.clock)
    await database.write(lambda c: work.write(c, [ending], 0), "test")
    stored = await row(database, 1)
    assert ("submitted", "job-1") == (stored["state"], stored["job_id"])


async def test_a_half_copy_takes_rows_of_the_move_alone(
    database: Database, plain: sqlite3.Connection
) -> None:
    """An unfinished copy accepts the rows of the move and no others."""
    await mark(database, copy_of(B))
    rows = [{"id": 7, "url": "https://v.example/7", "request_id": "r"}]
    await database.write(lambda c: relocation.put(c, videos, rows), "test")
    assert 7 == await database.read(lambda c: relocation.highest(c, videos))
    assert copy_of(B) == (await database.read(shared_state.read)).moved_to
    with pytest.raises(sqlite3.IntegrityError):
        plain.execute(INSERT)


async def test_in_flight_is_what_is_to_be_waited_for(database: Database) -> None:
    """Every claim in flight is counted, with the end of the last lease."""
    assert (0, None) == await database.read(relocation.in_flight)
    await let_start(database, START)
    await add(database, "https://v.example/1", "https://v.example/2", due_at=START)
    await take(database, START, 2)
    assert (2, START + SETTINGS.lease) == await database.read(relocation.in_flight)


async def test_rows_that_no_other_database_takes_are_mended(
    database: Database, plain: sqlite3.Connection
) -> None:
    """Law 14: a value that another database cannot store is replaced; a link or file with it stays
    refused.
    """
    plain.execute(
        "INSERT INTO videos (url, title)"
        " VALUES (CAST(x'68747470733A2F2FFF' AS TEXT), 'a' || char(0))"
    )
    await add(database, "https://v.example/\ufffd", title="ä")
    plain.execute("INSERT INTO videos (url) VALUES (CAST(x'66696C653A2F2F2F612FFF62' AS TEXT))")
    bad, good, file = await database.read(lambda c: relocation.rows(c, videos, 0))
    assert ("https://\x1a", "a\ufffd") == (bad["url"], bad["title"])
    for moved in (bad, file):
        assert "U+001A" in str(problem_of(moved, START, timedelta(0)))
    assert ("https://v.example/\ufffd", "ä") == (good["url"], good["title"])


@pytest.mark.parametrize(("told", "expected"), [(0, 3), (9, 10)])
async def test_numbers_go_on_where_they_were(
    database: Database, plain: sqlite3.Connection, told: int, expected: int
) -> None:
    """The id of a deleted video is not used again."""
    await add(database, "https://v.example/1", "https://v.example/2")
    if told:
        fact = "INSERT INTO history (video_id, attempt, at, who, fact) VALUES (?, 1, ?, 'w', 'x')"
        plain.execute(fact, (told, "2026-01-01 00:00:00"))
    plain.execute("DELETE FROM sqlite_sequence")
    await database.write(relocation.continue_ids, "test")
    plain.execute(INSERT)
    assert [(expected,)] == plain.execute("SELECT max(id) FROM videos").fetchall()


async def test_an_empty_queue_begins_with_1(database: Database, plain: sqlite3.Connection) -> None:
    """A queue that was moved empty numbers its first video 1."""
    assert await database.read(relocation.is_empty)
    await database.write(relocation.continue_ids, "test")
    plain.execute(INSERT)
    assert [(1,)] == plain.execute("SELECT max(id) FROM videos").fetchall()
    assert not await database.read(relocation.is_empty)
