"""Declare the tables: columns, defaults, CHECKs, indexes. Opens no database.

``videos`` is an interface: any program may insert a URL with plain SQL, so every other column has
a server default, and CHECKs keep out values that the worker could not read. Where the SQL of SQLite
and PostgreSQL differs, ``DialectSQL`` has both side by side.
"""

from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import (
    REAL,
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Dialect,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    desc,
    or_,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine

SCHEMA = "0006"
"""The revision that this program works on; the head of ``migrations/``."""

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


_ISO = (
    "due_at >= '1970-01-01' AND datetime(due_at) IS NOT NULL AND "
    "length(due_at) = length(CAST(due_at AS BLOB)) AND due_at NOT GLOB '*[^-0-9T:.Z+ ]*' AND "
    "datetime(substr(replace(due_at, 'T', ' '), 1, 19), '+0 days') "
    "IS substr(replace(due_at, 'T', ' '), 1, 19)"
)
"""A moment with a T, a Z or an offset: a trigger of migration 0005 brings it into plain form."""


def _readable_moment(column: str, more: str = "") -> CheckConstraint:
    """Return a CHECK for a readable datetime. In SQLite, only the form of ``datetime('now')`` with
    up to six digits of a fraction, or what satisfies ``more``; the length is in bytes, since that
    of a text ends at a NUL.
    """
    plain = (
        f"{column} >= '1970-01-01' AND "
        f"datetime(substr({column}, 1, 19), '+0 days') IS substr({column}, 1, 19) AND "
        f"(length(CAST({column} AS BLOB)) = 19 OR (substr({column}, 20, 1) = '.' AND "
        f"length(CAST({column} AS BLOB)) BETWEEN 21 AND 26 AND "
        f"substr({column}, 21) NOT GLOB '*[^0-9]*'))"
    )
    return CheckConstraint(
        DialectSQL(
            sqlite=f"({plain}) OR ({more})" if more else plain,
            postgresql=f"{column} >= '1970-01-01 00:00:00+00' AND "
            f"{column} < '9999-12-31 00:00:00+00'",
        ),
        name=f"{column}_is_utc_text",
    )


_NOW = DialectSQL(sqlite="(datetime('now'))", postgresql="clock_timestamp()")

RANDOM = DialectSQL(
    sqlite="(lower(hex(randomblob(16))))", postgresql="replace(gen_random_uuid()::text, '-', '')"
)
"""32 hex digits, different for each row."""

_Big = BigInteger().with_variant(Integer, "sqlite")
_Number: TypeEngine[float] = REAL().with_variant(Double, "postgresql")

metadata = MetaData()

videos = Table(
    "videos",
    metadata,
    Column("id", _Big, Identity(), primary_key=True),
    Column("url", Text, nullable=False),
    *(Column(name, Text) for name in ("media_id", "title", "description", "language")),
    Column("transcript_url", Text),
    Column("face_min_relative_height", _Number),
    *(Column(name, Text) for name in ("face_gallery_id", "email_group", "callback_url")),
    Column("priority", _Big, nullable=False, server_default=text("0")),
    Column("due_at", Moment, nullable=False, server_default=_NOW),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("claims", Integer, nullable=False, server_default=text("0")),
    Column("request_id", Text, nullable=False, server_default=RANDOM),
    Column("claim_token", Text),
    Column("claimed_by", Text),
    Column("lease_until", Moment),
    Column("job_id", Text),
    Column("http_status", Integer),
    Column("error", Text),
    Column("created_at", Moment, nullable=False, server_default=_NOW),
    Column("updated_at", Moment, nullable=False, server_default=_NOW),
    Column("submitted_at", Moment),
    Column("may_buy_twice", Integer, nullable=False, server_default=text("0")),
    Column("unsigned_url", Text),
    Column("batch", Text),
    CheckConstraint("url <> ''", name="url_is_given"),
    CheckConstraint("face_min_relative_height BETWEEN 0 AND 1", name="height_is_a_share"),
    CheckConstraint(
        "state IN ('pending', 'submitting', 'submitted', 'failed', 'in_doubt', 'cancelled')",
        name="state_is_known",
    ),
    CheckConstraint("attempts >= 0 AND claims >= attempts", name="attempts_are_claims"),
    CheckConstraint("request_id <> ''", name="request_id_is_given"),
    CheckConstraint(
        "state <> 'submitting' OR (claim_token IS NOT NULL AND claimed_by IS NOT NULL "
        "AND lease_until IS NOT NULL)",
        name="submitting_has_a_claim",
    ),
    CheckConstraint("state <> 'submitted' OR job_id IS NOT NULL", name="submitted_has_a_job"),
    CheckConstraint("state <> 'pending' OR job_id IS NULL", name="a_job_is_never_pending"),
    CheckConstraint("may_buy_twice IN (0, 1)", name="may_buy_twice_is_yes_or_no"),
    _readable_moment("due_at", more=_ISO),
    *map(_readable_moment, ("lease_until", "created_at", "updated_at", "submitted_at")),
    sqlite_strict=True,
    sqlite_autoincrement=True,  # history outlives a deleted row, so its id must not come back
)


def _partial(
    name: str, where: ColumnElement[bool], *columns: ColumnElement[object], **options: object
) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where, **options)  # type: ignore[arg-type]


is_pending, is_submitting, is_in_doubt = (
    videos.c.state == text(f"'{state}'") for state in ("pending", "submitting", "in_doubt")
)
"""Conditions with literals, so that the partial indexes serve them."""

# The last column is always the same, but with it the index alone gives the count.
_partial(
    "videos_due", is_pending, desc(videos.c.priority), videos.c.due_at, videos.c.id, videos.c.state
)
_partial("videos_leases", is_submitting, videos.c.lease_until)
_partial("videos_doubts", is_in_doubt, videos.c.updated_at)
_partial("videos_look_ups", is_pending & (videos.c.http_status == text("500")), videos.c.updated_at)
_closed = or_(videos.c.state == text("'failed'"), videos.c.state == text("'cancelled'"))
_partial("videos_closed", _closed, videos.c.state)

# PostgreSQL's btree refuses texts of more than 2,704 bytes; signed links can be longer.
Index("videos_request_id", videos.c.request_id, postgresql_using="hash")
Index("videos_url", videos.c.url, postgresql_using="hash")
_partial("videos_job_id", videos.c.job_id.is_not(None), videos.c.job_id, unique=True)
_partial("videos_batch", videos.c.batch.is_not(None), videos.c.batch, videos.c.id)

is_left = or_(is_pending, _closed)
"""True for a video that was not handed in, by the literals of an index."""
_partial("videos_batch_left", videos.c.batch.is_not(None) & is_left, videos.c.batch, videos.c.state)

pruned = Table(
    "pruned",
    metadata,
    Column("id", _Big, primary_key=True, autoincrement=False),
    Column("url", Text, nullable=False),
    Column("unsigned_url", Text),
    Column("media_id", Text),
    Column("job_id", Text, nullable=False),
    Column("pruned_at", Moment, nullable=False),
    sqlite_strict=True,
)
"""The videos that were bought and are pruned, by their ids, so that they are not bought again."""

Index("pruned_url", pruned.c.url, postgresql_using="hash")
for _column in (t.c[name] for t in (videos, pruned) for name in ("media_id", "unsigned_url")):
    _name = f"{_column.table.name}_{_column.name}"
    _partial(_name, _column.is_not(None), _column, postgresql_using="hash")
Index("pruned_job_id", pruned.c.job_id, postgresql_using="hash")

history = Table(
    "history",
    metadata,
    Column("id", _Big, Identity(), primary_key=True),
    Column("video_id", _Big, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Moment, nullable=False),
    Column("who", Text, nullable=False),
    Column("fact", Text, nullable=False),
    Column("started_at", Moment),
    Column("http_status", Integer),
    Column("message", Text),
    Column("job_id", Text),
    sqlite_strict=True,
)

Index("history_of_video", history.c.video_id, history.c.attempt)
_partial(
    "history_doubts", history.c.fact == text("'in_doubt'"), history.c.video_id, history.c.attempt
)
_partial("history_jobs", history.c.job_id.is_not(None), history.c.at, history.c.id, history.c.fact)
_no_job = history.c.job_id.is_(None)  # and the last column always NULL, as above
_partial("history_others", _no_job, history.c.at, history.c.fact, history.c.job_id)

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("next_start_at", Moment, nullable=False, server_default=_NOW),
    Column("cool_down_until", Moment),
    Column("cool_down_reason", Text),
    Column("paused_at", Moment),
    Column("pause_reason", Text),
    Column("pace_low", _Number),
    Column("pace_ceiling", _Number),
    Column("pace_cut_at", Moment),
    Column("list_asked_at", Moment),
    Column("list_read_at", Moment),
    Column("moved_to", Text),
    Column("written_at", Moment),
    *(
        Column(name, Integer, nullable=False, server_default=text("0"))
        for name in ("bought_twice", "pruned_jobs", "pruned_attempts")
    ),
    Column("told", Text),
    CheckConstraint("id = 1", name="one_row"),
    sqlite_strict=True,
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, nullable=False, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("command", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("rate", _Number),
    Column("period_seconds", _Number),
    Column("rate_source", Text),
    sqlite_strict=True,
)
