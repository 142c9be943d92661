"""Read and write the results of jobs: wanted, stored or failed. Moments are UTC."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime

from sqlalchemy import Connection, RowMapping, exists, func, insert, literal, select, update
from sqlalchemy.sql import tuple_

from worker.core.model import value
from worker.core.redact import clean
from worker.db.schema import jobs, results

AT_ONCE = 1_000
"""Rows of one page of all results."""

_wanted = results.c.state == literal("wanted", literal_execute=True)
"""Literal, so that the partial index serves."""

_ROWS = select(results, jobs.c.video_id, jobs.c.accepted_at).join(
    jobs, results.c.job_id == jobs.c.job_id
)


@value
class WantedResult:
    """A result that is to be fetched. ``sha256``: of its file, if one was stored before."""

    job_id: str
    type: str
    tries: int
    sha256: str | None
    accepted_at: datetime


def want(
    connection: Connection,
    types: Iterable[str],
    at: datetime,
    job_ids: Collection[str] | None = None,
) -> int:
    """Want results of these finished jobs, or of all, from ``at`` on. Return how many were new."""
    which = [jobs.c.ended_as == "finished"]
    which += [jobs.c.job_id.in_(job_ids)] if job_ids is not None else []
    new = 0
    for kind in types:
        known = exists().where(results.c.job_id == jobs.c.job_id, results.c.type == kind)
        values = jobs.c.job_id, literal(kind), literal(at, results.c.next_try_at.type)
        rows = select(*values).where(*which, ~known)
        put = insert(results).from_select(["job_id", "type", "next_try_at"], rows)
        new += connection.execute(put).rowcount
    return new


def due(connection: Connection, now: datetime) -> WantedResult | None:
    """Return the wanted result that is due first, None where none is."""
    first = _ROWS.where(_wanted, results.c.next_try_at <= now).order_by(results.c.next_try_at)
    row = connection.execute(first.limit(1)).mappings().first()
    fields = WantedResult.__dataclass_fields__
    return None if row is None else WantedResult(**{name: row[name] for name in fields})


def write(connection: Connection, job_id: str, kind: str, **values: object) -> None:
    """Write columns of one result; its texts are cleaned."""
    values = {n: clean(v) if isinstance(v, str) else v for n, v in values.items()}
    which = results.c.job_id == job_id, results.c.type == kind
    connection.execute(update(results).where(*which).values(values))


def every(connection: Connection) -> Iterator[RowMapping]:
    """Yield all results, each with the video and the acceptance of its job."""
    key, last = tuple_(results.c.job_id, results.c.type), ("", "")
    ordered = _ROWS.order_by(results.c.job_id, results.c.type).limit(AT_ONCE)
    while rows := connection.execute(ordered.where(key > last)).mappings().all():
        yield from rows
        last = rows[-1]["job_id"], rows[-1]["type"]


def want_again(connection: Connection, lost: Iterable[tuple[str, str]], at: datetime) -> None:
    """Want these jobs and types from ``at`` on, and all that is not stored, as if never tried."""
    anew = {"state": "wanted", "tries": 0, "next_try_at": at}
    connection.execute(update(results).where(results.c.state != "stored").values(anew))
    for job_id, kind in lost:
        write(connection, job_id, kind, **anew)


def counts(connection: Connection) -> dict[str, int]:
    """Count the results by state, which walks over them."""
    rows = select(results.c.state, func.count()).group_by(results.c.state)
    return dict.fromkeys(("stored", "wanted", "failed"), 0) | dict(connection.execute(rows).all())
