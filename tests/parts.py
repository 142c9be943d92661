"""How tests build the parts of a worker: the real ones, with small times."""

from sqlalchemy import insert, select

from worker.core.decide import Policy
from worker.db import Database
from worker.tables import history, videos
from worker.turn import Terms

POLICY = Policy(max_attempts=3, backoff_base_seconds=10, backoff_max_seconds=60)
TERMS = Terms(
    worker="worker-1",
    rate=1_000,
    period_seconds=1.0,
    timeout_seconds=5.0,
    url_margin_seconds=3600.0,
    policy=POLICY,
)


async def add(database: Database, *urls: str, **columns: object) -> None:
    """Insert rows as anybody could."""
    rows = [{"url": url, **columns} for url in urls]
    await database.write(lambda connection: connection.execute(insert(videos), rows), "test")


async def row(database: Database, video_id: int) -> dict[str, object]:
    """One video as it stands."""
    found = await database.read(
        lambda c: c.execute(select(videos).where(videos.c.id == video_id)).mappings().one()
    )
    return dict(found)


async def facts(database: Database, video_id: int) -> list[tuple[int, str]]:
    """The history of one video: attempt and fact, in order."""
    rows = await database.read(
        lambda c: c.execute(
            select(history.c.attempt, history.c.fact)
            .where(history.c.video_id == video_id)
            .order_by(history.c.id)
        ).all()
    )
    return [(attempt, fact) for attempt, fact in rows]
