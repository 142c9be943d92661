"""Declare the tables: columns, defaults, CHECKs, indexes. Opens no database.

``videos`` is an interface: any program may insert a URL with plain SQL, so every other column has
a server default, and CHECKs keep out values that the worker could not read. Where the SQL of SQLite
and PostgreSQL differs, ``DialectSQL`` has both side by side.
"""

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    desc,
    func,
    or_,
    text,
)
from sqlalchemy.types import TypeEngine

from worker.db.column_types import DialectSQL, Moment

SCHEMA = "0009"
"""The revision that this program works on; the head of ``migrations/``."""

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
    *(Column(name, Text) for name in ("claim_token", "claimed_by")),
    Column("lease_until", Moment),
    Column("job_id", Text),
    Column("http_status", Integer),
    Column("error", Text),
    *(Column(n, Moment, nullable=False, server_default=_NOW) for n in ("created_at", "updated_at")),
    Column("submitted_at", Moment),
    Column("may_buy_twice", Integer, nullable=False, server_default=text("0")),
    *(Column(name, Text) for name in ("unsigned_url", "batch", "held_host")),
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

identifier = func.coalesce(func.nullif(videos.c.media_id, text("''")), videos.c.request_id)
"""The identifier that a first claim writes. It stands in an index in place of ``request_id``, which
is random before, and so would cost a page somewhere in the file for each claim.
"""
is_renamed = (videos.c.claims > text("0")) & (videos.c.media_id != videos.c.request_id)
"""True for a video that may have been sent with another identifier."""

# PostgreSQL's btree refuses texts of more than 2,704 bytes; signed links can be longer.
Index("videos_identifier", identifier, postgresql_using="hash")
_partial("videos_renamed", is_renamed, videos.c.request_id, postgresql_using="hash")
Index("videos_url", videos.c.url, postgresql_using="hash")
_partial("videos_job_id", videos.c.job_id.is_not(None), videos.c.job_id, unique=True)
_partial("videos_batch", videos.c.batch.is_not(None), videos.c.batch, videos.c.id)

is_left = or_(is_pending, _closed)
"""True for a video that was not handed in, by the literals of an index."""
_partial("videos_batch_left", videos.c.batch.is_not(None) & is_left, videos.c.batch, videos.c.state)

_partial(
    "videos_held", is_pending & videos.c.held_host.is_not(None), videos.c.held_host, videos.c.id
)

pruned = Table(
    "pruned",
    metadata,
    Column("id", _Big, primary_key=True, autoincrement=False),
    Column("url", Text, nullable=False),
    *(Column(name, Text) for name in ("unsigned_url", "media_id")),
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
    *(Column(name, Text, nullable=False) for name in ("who", "fact")),
    Column("started_at", Moment),
    Column("http_status", Integer),
    *(Column(name, Text) for name in ("message", "job_id")),
    sqlite_strict=True,
)

Index("history_of_video", history.c.video_id, history.c.attempt)
_partial(
    "history_doubts", history.c.fact == text("'in_doubt'"), history.c.video_id, history.c.attempt
)
_partial("history_jobs", history.c.job_id.is_not(None), history.c.at, history.c.id, history.c.fact)
is_of_video = func.substr(history.c.fact, text("1"), text("4")) != text("'job_'")
"""False for what is told of a job that is followed. It is said as the indexes say it."""
_others = history.c.job_id.is_(None) & is_of_video  # and the last column always NULL, as above
_partial("history_others", _others, history.c.at, history.c.fact, history.c.job_id)
_partial("history_last", is_of_video, history.c.fact, history.c.id)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", Text, nullable=False, primary_key=True),
    Column("video_id", _Big, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("accepted_at", Moment, nullable=False),
    *(Column(name, Text) for name in ("status", "transfer_status", "details", "host")),
    *(Column(name, Moment) for name in ("status_since", "polled_at", "next_poll_at")),
    *(
        Column(name, Integer, nullable=False, server_default=text("0"))
        for name in ("polls", "poll_errors")
    ),
    *(Column(name, Moment) for name in ("missing_since", "overdue_since", "ended_at")),
    Column("ended_as", Text),
    CheckConstraint("ended_as IN ('finished', 'error', 'gone')", name="end_is_known"),
    CheckConstraint("(ended_as IS NULL) = (ended_at IS NULL)", name="an_end_has_its_time"),
    sqlite_strict=True,
)
"""The jobs of all videos, also those that a person has bought anew since. A trigger of migration
0007 adds each one, whoever writes its id. ``next_poll_at`` is NULL for a job that was there before:
it is asked about when nothing else is due; ``following.BEFORE_ALL`` for one that is asked first.
``host``: known from the end on.
"""

is_open = jobs.c.ended_as.is_(None)
Index("jobs_of_video", jobs.c.video_id)
_partial("jobs_open", is_open, jobs.c.next_poll_at, jobs.c.accepted_at)
_partial("jobs_missing", is_open & jobs.c.missing_since.is_not(None), jobs.c.missing_since)
_partial("jobs_overdue", is_open & jobs.c.overdue_since.is_not(None), jobs.c.overdue_since)
_partial("jobs_ended", jobs.c.ended_as.is_not(None), jobs.c.ended_as, jobs.c.ended_at)
_partial("jobs_of_host", jobs.c.host.is_not(None), jobs.c.host, jobs.c.ended_at)

hosts = Table(
    "hosts",
    metadata,
    Column("host", Text, nullable=False, primary_key=True),
    *(Column(name, Moment) for name in ("held_since", "judged_from", "probe_at")),
    Column("probes", Integer, nullable=False, server_default=text("0")),
    Column("probe_video", _Big),
    Column("why", Text),
    sqlite_strict=True,
)
"""The hosts, or buckets, from which the API could not download. ``held_since`` is NULL for one that
is not held; jobs that ended before ``judged_from`` say nothing any more.
"""

_partial("hosts_held", hosts.c.held_since.is_not(None), hosts.c.probe_at)

results = Table(
    "results",
    metadata,
    Column("job_id", Text, nullable=False, primary_key=True),
    Column("type", Text, nullable=False, primary_key=True),
    Column("state", Text, nullable=False, server_default=text("'wanted'")),
    Column("path", Text),
    Column("bytes", _Big),
    *(Column(name, Text) for name in ("sha256", "error")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    *(Column(name, Moment) for name in ("next_try_at", "fetched_at")),
    CheckConstraint("state IN ('wanted', 'stored', 'failed')", name="result_state_is_known"),
    sqlite_strict=True,
)
_partial("results_wanted", results.c.state == text("'wanted'"), results.c.next_try_at)
_partial("results_failed", results.c.state == text("'failed'"), results.c.type)

uploads = Table(
    "uploads",
    metadata,
    Column("video_id", _Big, primary_key=True, autoincrement=False),
    Column("address", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'wanted'")),
    *(Column(name, _Big) for name in ("device", "inode", "size", "changed_ns", "chunk_size")),
    *(Column(name, Text) for name in ("upload_id", "last_sha256", "url", "worker", "error")),
    *(
        Column(name, Integer, nullable=False, server_default=text("0"))
        for name in ("acknowledged", "changes", "tries", "restarts", "claims")
    ),
    *(Column(name, Moment) for name in ("begun_at", "ready_at", "next_try_at", "lease_until")),
    CheckConstraint(
        "state IN ('wanted', 'uploading', 'ready', 'failed')", name="upload_state_is_known"
    ),
    CheckConstraint(
        "state <> 'uploading' OR (worker IS NOT NULL AND lease_until IS NOT NULL)",
        name="uploading_has_a_lease",
    ),
    CheckConstraint("state <> 'ready' OR url IS NOT NULL", name="ready_has_an_address"),
    sqlite_strict=True,
)
"""The local files of videos. ``address``: in its plain spelling; with another one in ``videos.url``
the row is worthless. ``acknowledged``: chunks, from the first on; all of them only when finalize
may be asked for. ``tries``: troubles since the last acknowledged chunk; ``restarts``, ``changes``:
uploads thrown away for the API's sake, and for the file's. ``claims``: the video's, when ready.
"""

upload_is_left = or_(uploads.c.state == text("'wanted'"), uploads.c.state == text("'uploading'"))
_partial("uploads_left", upload_is_left, uploads.c.video_id, uploads.c.state)
_partial("uploads_url", uploads.c.url.is_not(None), uploads.c.url)
_partial("uploads_begun", uploads.c.begun_at.is_not(None), uploads.c.begun_at)

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("next_start_at", Moment, nullable=False, server_default=_NOW),
    Column("cool_down_until", Moment),
    Column("cool_down_reason", Text),
    Column("paused_at", Moment),
    Column("pause_reason", Text),
    *(Column(name, _Number) for name in ("pace_low", "pace_ceiling")),
    *(Column(name, Moment) for name in ("pace_cut_at", "list_asked_at", "list_read_at")),
    Column("moved_to", Text),
    Column("written_at", Moment),
    *(
        Column(name, Integer, nullable=False, server_default=text("0"))
        for name in ("bought_twice", "pruned_jobs", "pruned_attempts")
    ),
    *(Column(name, Text) for name in ("told", "callback_secret")),
    *(Column(name, Moment) for name in ("next_question_at", "jobs_listed_at")),
    Column("list_shows_status", Integer),
    Column("job_seconds", _Number, nullable=False, server_default=text("60")),
    Column("job_seconds_most", _Number),
    Column("held_hosts", Integer, nullable=False, server_default=text("0")),
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
    *(Column(name, Moment, nullable=False) for name in ("started_at", "seen_at")),
    Column("rate", _Number),
    Column("period_seconds", _Number),
    *(Column(name, Text) for name in ("rate_source", "upload_roots")),
    sqlite_strict=True,
)
