from datetime import datetime

import pytest
from sqlalchemy import Text, bindparam, insert, select, text
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.sql import Executable

from tests.conftest import START
from tests.parts import add, later, row
from worker.db.database import Database
from worker.db.schema import videos
from worker.db.statements import Prepared

SAID = select(bindparam("value", type_=Text))
ADD = insert(videos).values(url=bindparam("value", type_=Text), due_at=bindparam("at"))


async def test_names_are_given_their_values(database: Database) -> None:
    """Each value stands in its own place, and a name used twice is given once."""
    first, second = bindparam("first", type_=Text), bindparam("second", type_=Text)
    statement = Prepared(select(second, first, second, bindparam("fixed", "x", Text)))
    found = await database.read(lambda c: statement(c, first="1", second="2"))
    assert [["2", "1", "2", "x"]] == [[*row] for row in found]


async def test_a_value_of_the_statement_may_be_given_another(database: Database) -> None:
    """A value given at a call overrules the compiled one."""
    statement = Prepared(select(bindparam("fixed", "x", Text)))
    ((given,),) = await database.read(lambda c: statement(c, fixed="y"))
    ((compiled,),) = await database.read(statement)
    assert ("y", "x") == (given, compiled)


@pytest.mark.parametrize("moment", [START, later(START, 0.000001)])
async def test_moments_go_in_and_come_out_as_datetimes(
    database: Database, moment: datetime
) -> None:
    """A moment is written in SQLAlchemy's form and read back as the same one."""
    await add(database, "u", due_at=moment)
    of_moment = Prepared(select(videos.c.due_at).where(videos.c.due_at == bindparam("at")))
    found = await database.read(lambda c: of_moment(c, at=moment))
    assert [[moment]] == [list(row) for row in found]


async def test_numbers_and_texts_come_out_as_they_are(database: Database) -> None:
    """A number keeps its 17 digits, and a text each of its characters."""
    heights = [0.1 + 0.2, 1 / 3, 5e-324, 0.0, 1.0, None]
    texts = ['"quoted" \\', "\x01\t\r\n\x7f", "\u2028 \ufeff é 🎬", "", "NULL", None]
    for height, title in zip(heights, texts, strict=True):
        await add(database, "u", face_min_relative_height=height, title=title)
    columns = (videos.c.face_min_relative_height, videos.c.title)
    found = await database.read(Prepared(select(*columns).order_by(videos.c.id.desc())))
    assert [*zip(heights, texts, strict=True)][::-1] == [(*row,) for row in found]


async def test_what_it_writes_is_there(database: Database) -> None:
    """A statement that writes is part of the transaction, and its moment reads back unchanged."""
    statement = Prepared(ADD)
    assert 1 == await database.write(lambda c: statement.write(c, value="u", at=START), "test")
    stored = await row(database, 1)
    assert ("u", START) == (stored["url"], stored["due_at"])


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (SAID, {"value": object()}),
        (ADD, {"value": "", "at": START}),
        (ADD, {"value": None, "at": START}),
        (text("SELECT x FROM nothing"), {}),
    ],
    ids=["no value", "refused by a rule", "missing", "no such thing"],
)
async def test_an_error_is_raised_as_sqlalchemy_would(
    database: Database, statement: Executable, values: dict[str, object]
) -> None:
    """Law 14: a bad value raises the same error as through SQLAlchemy."""
    told = []
    for work in (
        lambda c: Prepared(statement).write(c, **values),
        lambda c: c.execute(statement, values),
    ):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - which one is the question
            await database.write(work, "test")
        cause = raised.value.orig if isinstance(raised.value, DBAPIError) else raised.value
        told.append((type(raised.value), str(cause)))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("value", "error"), [("\ud800", UnicodeEncodeError), (2**70, OverflowError)]
)
async def test_what_the_driver_cannot_take_is_refused(
    database: Database, value: object, error: type[Exception]
) -> None:
    """Law 14: a value that cannot be stored is refused."""
    statement = Prepared(SAID)
    with pytest.raises((error, StatementError)):
        await database.read(lambda c: statement(c, value=value))


async def test_a_forgotten_value_is_told(database: Database) -> None:
    """A parameter without a value is an error."""
    with pytest.raises((KeyError, StatementError), match="value"):
        await database.read(Prepared(SAID))
