from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import BigInteger, Connection, Text, column, select
from sqlalchemy.exc import StatementError

from tests.conftest import START
from tests.parts import later
from worker.db import batch
from worker.db.column_types import as_text
from worker.db.database import Database
from worker.db.statements import Prepared

_given = batch.rows("given", column("first", Text), column("second", BigInteger))
BACK = Prepared(select(_given.c.place, _given.c.first, _given.c.second))


async def asked(database: Database, statement: Prepared, *rows: object) -> list[Any]:
    """Return what a statement makes of these rows."""

    def work(connection: Connection) -> list[Any]:
        found = statement(connection, given=batch.encoded(rows))
        return [list(row) for row in found]

    return await database.read(work)


TEXTS = (None, "", "Größe 🎬", '"quoted" \\ \'\n\u2028\x7f', "[1]", "7")
NUMBERS = (None, 0, -(2**63), 2**63 - 1, 7, -1)


async def test_rows_come_back_as_they_went(database: Database) -> None:
    """Each value comes back from a batch unchanged and in its place."""
    rows = list(zip(TEXTS, NUMBERS, strict=True))
    found = await asked(database, BACK, *rows)
    assert [[place, *row] for place, row in enumerate(rows)] == found


async def test_no_rows_are_no_rows(database: Database) -> None:
    """A batch of nothing returns no row and no error."""
    assert [] == await asked(database, BACK)


async def test_a_column_that_was_not_given_is_empty(database: Database) -> None:
    """A column that a row lacks is NULL."""
    assert [[0, "7", None]] == await asked(database, BACK, ("7",))


@pytest.mark.parametrize("moment", [START, later(START, 0.000001)])
async def test_moments_go_in_as_the_tables_keep_them(database: Database, moment: datetime) -> None:
    """A moment in a batch is written in the form of a single one."""
    assert [[0, as_text(moment), None]] == await asked(database, BACK, (moment, None))


async def test_text_that_is_no_unicode_is_refused(database: Database) -> None:
    """Law 14: text that cannot be stored is refused."""
    with pytest.raises((UnicodeEncodeError, StatementError)):
        await asked(database, BACK, ("\ud800", None))


def test_what_no_column_takes_is_refused() -> None:
    """A value of a type that no column takes is refused."""
    with pytest.raises(TypeError, match="bytes is no value of a table"):
        batch.encoded([(b"x",)])
