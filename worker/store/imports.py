"""Insert admitted rows as videos, unless the table has them already, or update those.

Check and insert are one transaction, so that two imports at once cannot both pass the check.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

from sqlalchemy import Connection, RowMapping, case, func, literal, null, or_, select, update

from worker.core.import_row import zero_twins
from worker.core.model import Fact, State
from worker.db.schema import RANDOM, identifier, videos
from worker.store import changes, hosts
from worker.store.bulk import STORED, NewVideo, filled, insert_all, known
from worker.store.history import open_doubts, record
from worker.store.holders import NEW, REASONS, Holder, had_job, holders, is_elsewhere, value_of
from worker.store.queue import UNCHECKED, UNSENT, submitted
from worker.store.search import chosen

UNKNOWN = "media_id: {!r} is not there, and the row brings no url; import the list that has it"
SECOND_JOB = (
    "job_id: video {} has job {!r} already, so it may be bought twice; look for both in the "
    "Valossa Portal"
)
JOB_OF_ANOTHER = (
    "job_id: {!r} is not that of video {}, which has this url or media_id; "
    "import --update brings it there"
)
EXPORTED = (
    "media_id: {!r} is not there, but the row is from an export, so it may be bought already: "
    "write the media_id as it was, or empty state and request_id if the video is new"
)
TWO_ADDRESSES = (
    "media_id: {!r} has another address in this list already; give each video an id of its own"
)
LOST_ZEROS = (
    "media_id: {!r} is there already with other leading zeros, which a spreadsheet takes off; "
    "format the column as text and export the list again"
)

_OPEN = (State.PENDING, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """The terms of one import, and the table as it was before.

    Attributes:
        who: The person, as the history names one.
        distinct: The columns of which a video must have a value of its own.
        began: The moment (UTC).
        last_id: The id of the video inserted last.
        widths: The lengths of the media ids that begin with a zero.
        batch: The name of the batch of new videos whose rows name none.
        changed: The ids of the videos that the import has changed so far.
    """

    who: str
    distinct: Sequence[str]
    began: datetime
    last_id: int
    widths: Sequence[int]
    batch: str | None = None
    changed: Collection[int] = frozenset()

    def has_brought(self, video_id: int, intake: "Intake") -> bool:
        """Return True if this import has inserted or changed the video, perhaps in this chunk."""
        return video_id > self.last_id or video_id in self.changed or video_id in intake.changed

    def marked(self, rows: Sequence[NewVideo]) -> Sequence[NewVideo]:
        """Return the rows, as such that may be bought twice where duplicates are allowed."""
        return rows if "url" in self.distinct else [{**row, "may_buy_twice": 1} for row in rows]

    def new(self, rows: Sequence[NewVideo]) -> Sequence[NewVideo]:
        """Return the rows as those of new videos, each with its batch."""
        marked = self.marked(rows)
        return [{**row, "batch": row.get("batch") or self.batch} for row in marked]


def options(
    connection: Connection, who: str, now: datetime, *, allow_duplicates: bool
) -> ImportOptions:
    """Return the terms of an import that begins ``now``."""
    is_padded = (videos.c.media_id >= "0") & (videos.c.media_id < "1")
    widths = connection.scalars(select(func.length(videos.c.media_id)).where(is_padded).distinct())
    return ImportOptions(
        who=who,
        distinct=["job_id"] if allow_duplicates else [*REASONS],
        began=now,
        last_id=newest_id(connection),
        widths=widths.all(),
    )


@dataclass(slots=True)
class Intake:
    """The result of an import. ``skipped`` and ``left`` count rows by reason.

    Attributes:
        brought_back: Ids of videos that were cancelled.
        changed: Ids of these, and of the updated ones.
        passed: Of each row that was not taken, its place in the chunk, from 0; rejected, skipped or
            left; and the reason.
    """

    inserted: int = 0
    updated: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    brought_back: list[int] = field(default_factory=list)
    changed: set[int] = field(default_factory=set)
    passed: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, other: "Intake") -> None:
        """Add another chunk's counts; its rows stay its own."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.brought_back += other.brought_back
        self.changed |= other.changed
        self.skipped += other.skipped
        self.left += other.left

    def pass_over(self, place: int, what: str, reason: str, holder: Holder | None = None) -> None:
        """Note a row as ``rejected``, or as ``skipped`` or ``left`` beside the video ``holder``."""
        if holder is not None:
            getattr(self, what)[reason] += 1
            known = f"video {holder.id}" + ", which was pruned" * holder.is_pruned
            reason += ": in this list" if holder == NEW else f": {known}"
        self.passed.append((place, what, reason))


def add(
    connection: Connection, rows: Sequence[NewVideo], now: datetime, options: ImportOptions
) -> Intake:
    """Insert the rows whose address, media_id and job_id are new to the table and among the rows.

    A cancelled video that has one of them is pending again, with the columns of the row. Where
    duplicates are allowed, only the job_id must be new, and each row may be bought twice.
    """
    intake, fresh = Intake(), dict[int, NewVideo]()
    there, lost = holders(connection, rows, options.distinct), _lost(connection, rows, options)
    jobs_first = sorted(enumerate(options.new(rows)), key=lambda each: not each[1].get("job_id"))
    for place, row in jobs_first:
        found = there.of(row)
        column, holder = next((each for each in found if each[1].id not in there.idle), ("", NEW))
        if column == "media_id" and holder.id > options.last_id and not holder.is_pruned:
            intake.pass_over(place, "rejected", TWO_ADDRESSES.format(row["media_id"]))
        elif column not in {"", "job_id"} and row.get("job_id") and _has_no_job(connection, holder):
            intake.pass_over(place, "rejected", JOB_OF_ANOTHER.format(row["job_id"], holder.id))
        elif column:
            intake.pass_over(place, "skipped", REASONS[column], holder)
        elif row.get("media_id") in lost:
            intake.pass_over(place, "rejected", LOST_ZEROS.format(row["media_id"]))
        elif not found and _is_exported(row) and "media_id" in options.distinct:
            intake.pass_over(place, "rejected", EXPORTED.format(row["media_id"]))
        else:
            there.take(row)
            if found:
                there.taken.add(found[0][1].id)
                _bring_back(connection, found[0][1].id, row, now, options.who)
                intake.brought_back.append(found[0][1].id)
                intake.changed.add(found[0][1].id)
            else:
                fresh[place] = row
    insert_all(connection, [fresh[place] for place in sorted(fresh)], now)
    intake.inserted = len(fresh)
    return intake


def _has_no_job(connection: Connection, holder: Holder) -> bool:
    there = select(videos.c.id).where(videos.c.id == holder.id, videos.c.job_id.is_(None))
    return connection.scalar(there) is not None


def _is_exported(row: NewVideo) -> bool:
    return bool(row.get("request_id") and row.get("media_id") and not row.get("job_id"))


def _lost(connection: Connection, rows: Iterable[NewVideo], options: ImportOptions) -> set[object]:
    """Return the media ids of rows that are there already with other leading zeros."""
    names = {row.get("media_id") for row in rows} if "media_id" in options.distinct else set()
    twins = {twin: name for name in names for twin in zero_twins(name, options.widths)}
    return {twins[str(twin)] for twin, _ in known(connection, videos.c.media_id, [*twins])}


def _bring_back(
    connection: Connection, video_id: int, row: NewVideo, now: datetime, who: str
) -> None:
    """Make a cancelled video what a new one with these columns is."""
    changes.upload_anew(connection, [videos.c.id == video_id])
    given = {name: row.get(name) for name in STORED} | filled(row, now)
    claims = connection.scalar(
        update(videos)
        .where(videos.c.id == video_id)
        .values({**given, **UNSENT, "updated_at": now})
        .returning(videos.c.claims)
    )
    record(connection, [(video_id, claims)], Fact.RETRY, now, who, message="imported again")


def add_or_update(
    connection: Connection, rows: Sequence[NewVideo], now: datetime, options: ImportOptions
) -> Intake:
    """Update the videos of each row's media_id, request_id or address; insert the others.

    A row changes every column that it names, empty ones included. A job_id settles a doubt; one
    that the video had until it was to be bought again is not taken. Rows are taken in the file's
    order: of two with one media_id, the later wins.
    """
    intake = Intake()
    for place, given in enumerate(options.marked(rows)):
        name, found = _videos_of(connection, given)
        row = _without_earlier_job(connection, found, given)
        if not found and row.get("url") is None:
            why = LOST_ZEROS if _lost(connection, [row], options) else UNKNOWN
            meant = row.get("media_id") or row.get("request_id")
            intake.pass_over(place, "rejected", why.format(meant))
        elif not found:
            added = add(connection, [row], now, options)
            intake.add(added)
            intake.passed += [(place, kind, reason) for _, kind, reason in added.passed]
        for video in found:
            if row.get("job_id") is not None and video["job_id"] not in {None, row["job_id"]}:
                intake.pass_over(place, "rejected", SECOND_JOB.format(video["id"], video["job_id"]))
            elif reason := _reason_to_leave(connection, video, row, name):
                intake.pass_over(place, "left", reason, Holder(video["id"]))
            elif is_elsewhere(video, row) and options.has_brought(video["id"], intake):
                intake.pass_over(place, "rejected", TWO_ADDRESSES.format(video["media_id"]))
            elif other := _other(connection, video, row, options):
                intake.pass_over(place, "left", *other)
            else:
                _update(connection, video, row, now, options.who)
                intake.updated += 1
                intake.changed.add(video["id"])
    return intake


def _without_earlier_job(
    connection: Connection, found: Sequence[RowMapping], row: NewVideo
) -> NewVideo:
    """Return the row without the job that one of its videos had until it was to be bought again."""
    cleared = {video["id"] for video in found if video["job_id"] is None}
    had = had_job(connection, [row["job_id"]]) if cleared and row.get("job_id") else []
    return {**row, "job_id": None} if any(each.id in cleared for _, each in had) else row


def _reason_to_leave(
    connection: Connection, video: RowMapping, row: NewVideo, name: str
) -> str | None:
    """Return why a video, found by the column ``name``, must not be updated; None if it may be."""
    # A video is left as it is in two cases.
    # 1. It is in flight or submitted, or in doubt and the row brings no job.
    # 2. It was given up in doubt, and the row brings no job.
    brings_job = row.get("job_id") is not None
    if video["state"] not in _OPEN and not (brings_job and video["state"] == State.IN_DOUBT):
        return f"{name} is there already, {video['state']}"
    if not brings_job and open_doubts(connection, [video["id"]]):
        return f"{name} is there already, given up in doubt"
    return None


def _other(
    connection: Connection, video: RowMapping, row: NewVideo, options: ImportOptions
) -> tuple[str, Holder] | None:
    """Return why a video must not get the row's values, and the other video that has them."""
    given = {name: row.get(name) for name in ("job_id", "media_id")}
    if is_elsewhere(video, row):
        given |= {"url": row["url"], "unsigned_url": value_of(row, "unsigned_url")}
    if video["state"] == State.IN_DOUBT:  # it takes the job only
        given = {"job_id": row["job_id"]}
    fresh = [c for c in options.distinct if given.get(c) not in {None, video[c]}]
    there = holders(connection, [given], fresh)
    giving = {video["id"], *there.idle}
    return next(((REASONS[c], each) for c, each in there.of(given) if each.id not in giving), None)


def _update(
    connection: Connection, video: RowMapping, row: NewVideo, now: datetime, who: str
) -> None:
    _refresh(connection, video, row, now)
    last, job_id = [(video["id"], video["claims"])], row.get("job_id")
    if job_id is not None:
        why = "job brought by import --update"
        record(connection, last, Fact.RESOLVE, now, who, message=why, job_id=job_id)
    elif video["state"] == State.FAILED:
        changes.upload_anew(connection, [videos.c.id == video["id"]])
        why = "columns brought anew by import --update"
        record(connection, last, Fact.RETRY, now, who, message=why)


def newest_id(connection: Connection) -> int:
    """Return the id of the video inserted last, 0 if there is none."""
    return connection.scalar(select(func.max(videos.c.id))) or 0


def _videos_of(connection: Connection, row: NewVideo) -> tuple[str, Sequence[RowMapping]]:
    """Return the column by which a row names videos, and these in the order of ids; the first one
    gets its job.

    A row's media_id is a video's media_id, or the request_id of a video without one. A row without
    media_id finds only such a video, by its request_id. Where nothing is found, the address names
    the video, unless that has another media_id.
    """
    media_id, url = row.get("media_id"), row.get("url")
    name, nameless = media_id or row.get("request_id"), func.coalesce(videos.c.media_id, "") == ""
    named = identifier == name if media_id else (identifier == name) & nameless
    found = [] if name is None else chosen(connection, named)
    if found or url is None:
        return "media_id", found
    same = value_of(row, "unsigned_url")
    alike = or_(videos.c.url == url, videos.c.url == same, videos.c.unsigned_url == same)
    return "url", chosen(connection, alike & nameless if media_id else alike)


def _refresh(connection: Connection, video: RowMapping, row: NewVideo, now: datetime) -> None:
    """Write the row's columns. A failed video starts again; one that gets a job is submitted."""
    start = {"state": State.PENDING, "attempts": 0, "error": None, "http_status": UNCHECKED}
    start["due_at"] = literal(now, videos.c.due_at.type)
    has_failed = videos.c.state == State.FAILED
    again = {n: case((has_failed, first), else_=videos.c[n]) for n, first in start.items()}
    # An empty value leaves these as they are.
    kept = {"url", "media_id", "priority", "due_at", "job_id", "batch"}
    named = (name for name in row if name not in {"request_id", "unsigned_url"})
    fresh = {name: row[name] for name in named if name not in kept or row[name] is not None}
    if "url" in fresh:
        fresh["unsigned_url"] = row.get("unsigned_url")
    if video["state"] == State.IN_DOUBT:  # the other columns stay as they were sent
        fresh = {"job_id": row["job_id"]}
    if "due_at" in fresh:
        hosts.forget(connection, video["id"])
    settled = submitted(row["job_id"], now) if row.get("job_id") is not None else {}
    values = {**again, **fresh, **_named_anew(video, fresh), **settled, "updated_at": now}
    connection.execute(update(videos).where(videos.c.id == video["id"]).values(values))


def _named_anew(video: RowMapping, fresh: NewVideo) -> NewVideo:
    """Return the identifier of a link that is corrected after a 500, which may have made a job of
    the old one: that is not to be taken for this one's.
    """
    is_other = fresh.get("url", video["url"]) != video["url"]
    if not is_other or video["http_status"] != HTTPStatus.INTERNAL_SERVER_ERROR:
        return {}
    name = fresh.get("media_id") or video["media_id"] or RANDOM
    return {"http_status": null(), "request_id": name}
