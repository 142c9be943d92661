"""The tables as values: columns, defaults, CHECKs, indexes. Opens nothing and asks nothing.

``videos`` is an interface (design.md, section 5): any program may insert a URL with plain SQL, so
every other column has a server default, and CHECKs keep out what the worker could not read.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    REAL,
    CheckConstraint,
    Column,
    Dialect,
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

SCHEMA = "0003"
"""The revision that this program works on; the head of ``migrations/``."""


_LENGTH = len("2026-01-31 08:00:00.000000")


def as_text(moment: datetime) -> str:
    """An aware datetime as the tables keep it."""
    return moment.astimezone(UTC).isoformat(" ", "microseconds")[:_LENGTH]


def as_moment(text: str) -> datetime:
    """The inverse of ``as_text``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """A UTC moment, kept as ``YYYY-MM-DD HH:MM:SS[.ffffff]`` text that sorts by time."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """An aware datetime as text."""
        return None if value is None else as_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Text as an aware datetime."""
        return None if value is None else as_moment(value)


def _readable_moment(column: str) -> CheckConstraint:
    """Only what ``datetime('now')`` could have written, with up to six digits of a fraction. In
    bytes, since the length of a text ends at a NUL.
    """
    return CheckConstraint(
        f"{column} >= '1970-01-01' AND "
        f"datetime(substr({column}, 1, 19), '+0 days') IS substr({column}, 1, 19) AND "
        f"(length(CAST({column} AS BLOB)) = 19 OR (substr({column}, 20, 1) = '.' AND "
        f"length(CAST({column} AS BLOB)) BETWEEN 21 AND 26 AND "
        f"substr({column}, 21) NOT GLOB '*[^0-9]*'))",
        name=f"{column}_is_utc_text",
    )


_NOW = text("(datetime('now'))")

metadata = MetaData()

videos = Table(
    "videos",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("url", Text, nullable=False),
    Column("media_id", Text),
    Column("title", Text),
    Column("description", Text),
    Column("language", Text),
    Column("transcript_url", Text),
    Column("face_min_relative_height", REAL),
    Column("face_gallery_id", Text),
    Column("email_group", Text),
    Column("callback_url", Text),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("due_at", Moment, nullable=False, server_default=_NOW),
    Column("state", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("claims", Integer, nullable=False, server_default=text("0")),
    Column("request_id", Text, nullable=False, server_default=text("(lower(hex(randomblob(16))))")),
    Column("claim_token", Text),
    Column("claimed_by", Text),
    Column("lease_until", Moment),
    Column("job_id", Text),
    Column("http_status", Integer),
    Column("error", Text),
    Column("created_at", Moment, nullable=False, server_default=_NOW),
    Column("updated_at", Moment, nullable=False, server_default=_NOW),
    Column("submitted_at", Moment),
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
    _readable_moment("due_at"),
    _readable_moment("lease_until"),
    _readable_moment("created_at"),
    _readable_moment("updated_at"),
    _readable_moment("submitted_at"),
    sqlite_strict=True,
    sqlite_autoincrement=True,  # history outlives a deleted row, so its id must not come back
)

_pending = videos.c.state == text("'pending'")

Index(
    "videos_due",
    desc(videos.c.priority),
    videos.c.due_at,
    videos.c.id,
    videos.c.state,  # always the same, but with it the index alone says how many there are
    sqlite_where=_pending,
)
Index("videos_leases", videos.c.lease_until, sqlite_where=videos.c.state == text("'submitting'"))
Index("videos_doubts", videos.c.updated_at, sqlite_where=videos.c.state == text("'in_doubt'"))
Index(
    "videos_look_ups",
    videos.c.updated_at,
    sqlite_where=_pending & (videos.c.http_status == text("500")),
)
Index(
    "videos_closed",
    videos.c.state,
    sqlite_where=or_(videos.c.state == text("'failed'"), videos.c.state == text("'cancelled'")),
)
Index("videos_request_id", videos.c.request_id)
Index("videos_url", videos.c.url)
Index("videos_media_id", videos.c.media_id, sqlite_where=videos.c.media_id.is_not(None))
Index("videos_job_id", videos.c.job_id, unique=True, sqlite_where=videos.c.job_id.is_not(None))

history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("video_id", Integer, nullable=False),
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
Index(
    "history_doubts",
    history.c.video_id,
    history.c.attempt,
    sqlite_where=history.c.fact == text("'in_doubt'"),
)
Index(
    "history_jobs",
    history.c.at,
    history.c.id,
    history.c.fact,
    sqlite_where=history.c.job_id.is_not(None),
)
Index(
    "history_others",
    history.c.at,
    history.c.fact,
    history.c.job_id,  # always NULL, as above
    sqlite_where=history.c.job_id.is_(None),
)

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("next_start_at", Moment, nullable=False, server_default=_NOW),
    Column("cool_down_until", Moment),
    Column("cool_down_reason", Text),
    Column("paused_at", Moment),
    Column("pause_reason", Text),
    Column("pace_low", REAL),
    Column("pace_ceiling", REAL),
    Column("pace_cut_at", Moment),
    Column("list_asked_at", Moment),
    Column("list_read_at", Moment),
    CheckConstraint("id = 1", name="one_row"),
    sqlite_strict=True,
)
