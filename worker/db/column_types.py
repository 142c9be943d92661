"""Declare how columns are kept: moments as UTC text or timestamps, and SQL with a form for each
database. Knows no table.
"""

from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import TIMESTAMP, ColumnElement, Dialect, Text, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine

_LENGTH = len("2026-01-31 08:00:00.000000")

EPOCH, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""No moment that the program writes is earlier or later. LAST leaves room to add to it."""


class Unreadable(datetime):
    """A value that plain SQL wrote and that is no moment: ``EPOCH`` in calculations, and its
    ``text`` in every output. What is calculated from it is one too.
    """

    text = "?"

    def astimezone(self, *_: object) -> Self:
        """Return it as it is."""
        return self

    def isoformat(self, *_: object, **__: object) -> str:
        """Return the text."""
        return self.text

    strftime = isoformat


def _unreadable(text: str) -> Unreadable:
    found = Unreadable(EPOCH.year, EPOCH.month, EPOCH.day, tzinfo=UTC)
    found.text = text
    return found


def as_text(moment: datetime) -> str:
    """Return an aware datetime as SQLite's tables keep it."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(" ", "microseconds")[:_LENGTH]


def as_moment(text: str) -> datetime:
    """Return the moment that ``as_text`` wrote; what is none is ``Unreadable``."""
    try:
        read = datetime.fromisoformat(text)
        moment = read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return _unreadable(text)
    return moment if moment >= EPOCH else _unreadable(text)


class Moment(TypeDecorator[datetime]):
    """A UTC moment. SQLite has no type for it: there it is ``YYYY-MM-DD HH:MM:SS[.ffffff]`` text,
    which sorts by time. PostgreSQL keeps ``timestamptz``.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type in the database."""
        has_type = dialect.name == "postgresql"
        return dialect.type_descriptor(TIMESTAMP(timezone=True) if has_type else Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | datetime | None:
        """Return an aware datetime as the database stores it."""
        return value if value is None or dialect.name == "postgresql" else as_text(value)

    def process_result_value(self, value: str | datetime | None, _: Dialect) -> datetime | None:
        """Return the database's value as an aware datetime."""
        if isinstance(value, datetime) and value.tzinfo is None:  # PostgreSQL's infinity
            return _unreadable("infinity" if value.year > EPOCH.year else "-infinity")
        return as_moment(value) if isinstance(value, str) else value


class Bound(Moment):
    """A moment to compare with: the shortest text, as 12:00:00 sorts before 12:00:00.000000."""

    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | datetime | None:
        """Return an aware datetime as the database compares it."""
        if value is None or dialect.name == "postgresql":
            return value
        plain = value.astimezone(UTC).replace(tzinfo=None)
        return plain.isoformat(" ", "microseconds").rstrip("0").rstrip(".")


class DialectSQL(ColumnElement[object]):
    """An expression with the SQL of each database."""

    # By both texts SQLAlchemy knows a statement again that holds one, and compiles it once.
    _traverse_internals = [  # noqa: RUF012 - as of every expression of SQLAlchemy
        ("sqlite", InternalTraversal.dp_string),
        ("postgresql", InternalTraversal.dp_string),
    ]

    def __init__(self, *, sqlite: str, postgresql: str) -> None:
        self.sqlite = sqlite
        self.postgresql = postgresql


@compiles(DialectSQL)
def _in_its_dialect(sql: DialectSQL, compiler: SQLCompiler, **_: object) -> str:
    return sql.sqlite if compiler.dialect.name == "sqlite" else sql.postgresql
