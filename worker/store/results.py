"""Read and write the results of jobs: wanted, stored or failed. Moments are UTC."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Update, exists, insert, literal, select, text, tuple_, update

from worker.core.model import value
from worker.core.redact import clean
from worker.db.column_types import Bound
from worker.db.schema import jobs, results
from worker.store.statistics import number_of

_wanted = results.c.state == literal("wanted", literal_execute=True)
"""Literal, so that the partial index serves."""

PAGE = 500

LATELY = timedelta(minutes=5)
"""What holds all results up is tried anew each minute."""

_KEY = (results.c.job_id, results.c.type)
_ROWS = select(results, jobs.c.video_id, jobs.c.accepted_at, jobs.c.ended_at).join(
    jobs, results.c.job_id == jobs.c.job_id
)


@value
class WantedResult:
    """A result that is to be fetched."""

    job_id: str
    type: str
    tries: int
    accepted_at: datetime
    ended_at: datetime


def want(
    connection: Connection, types: Iterable[str], at: datetime, job_ids: Iterable[str] | None = None
) -> None:
    """Want results of these finished jobs, or of all, from ``at`` on, where they are unknown."""
    which = [jobs.c.ended_as == "finished"]
    which += [jobs.c.job_id.in_(job_ids)] if job_ids is not None else []
    for kind in types:
        known = exists().where(results.c.job_id == jobs.c.job_id, results.c.type == kind)
        values = jobs.c.job_id, literal(kind), literal(at, results.c.next_try_at.type)
        rows = select(*values).where(*which, ~known)
        columns = ["job_id", "type", "next_try_at"]
        connection.execute(insert(results).from_select(columns, rows))


def due(connection: Connection, now: datetime) -> WantedResult | None:
    """Return the wanted result that is due first, None where none is."""
    first = _ROWS.where(_wanted, results.c.next_try_at <= now).order_by(results.c.next_try_at)
    row = connection.execute(first.limit(1)).mappings().first()
    fields = WantedResult.__dataclass_fields__
    return None if row is None else WantedResult(**{name: row[name] for name in fields})


def recall(connection: Connection, after: datetime, now: datetime) -> None:
    """Let wanted results that are planned for a moment after this one be due now."""
    far = results.c.next_try_at > after
    connection.execute(update(results).where(_wanted, far).values(next_try_at=now))


def write(connection: Connection, job_id: str, kind: str, **values: object) -> None:
    """Write columns of one result; its texts are cleaned."""
    connection.execute(_change(job_id, kind, values))


def write_wanted(connection: Connection, job_id: str, kind: str, **values: object) -> None:
    """Write the same of one that is wanted still: another process may have stored it."""
    connection.execute(_change(job_id, kind, values).where(_wanted))


def _change(job_id: str, kind: str, values: Mapping[str, object]) -> Update:
    values = {n: clean(v) if isinstance(v, str) else v for n, v in values.items()}
    which = results.c.job_id == job_id, results.c.type == kind
    return update(results).where(*which).values(values)


def page(connection: Connection, after: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the next results after a job id and a type, at most ``PAGE``, each with the video and
    the acceptance of its job.
    """
    rows = _ROWS.where(tuple_(*_KEY) > after).order_by(*_KEY).limit(PAGE)
    return [dict(row) for row in connection.execute(rows).mappings()]


def waits(connection: Connection, now: datetime) -> str | None:
    """Return what holds results up now, of which none is the cause: the folder, or the network."""
    tried = (results.c.next_try_at > literal(now - LATELY, Bound), results.c.tries == 0)
    why = select(results.c.error).where(_wanted, *tried, results.c.error.is_not(None))
    found: str | None = connection.scalar(why.order_by(results.c.next_try_at.desc()).limit(1))
    return found


def counts(connection: Connection) -> dict[str, int]:
    """Count the results by state; the stored ones, without index, are the rest."""
    wanted, failed = (
        number_of(connection, results, results.c.state == text(f"'{state}'"))
        for state in ("wanted", "failed")
    )
    stored = number_of(connection, results) - wanted - failed
    return {"stored": stored, "wanted": wanted, "failed": failed}
