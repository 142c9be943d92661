# ruff: noqa: ASYNC240 - renaming a file holds up nobody
"""Hold that what was told is recorded, whatever befalls the database."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.notify.receiver import receiving
from tests.notify.test_lookout import fail, lookout, queue, settle
from worker.core.notices import Notice
from worker.db.database import Database
from worker.store import shared_state

__all__ = ["queue"]


async def test_a_record_that_has_failed_is_written_later(queue: Database, path: Path) -> None:
    """A notice whose record fails is recorded at a later look, and not told anew by the next."""
    async with receiving() as receiver:
        found = lookout(queue, notify_url=receiver.url)
        await fail(queue)
        await found.look()
        path.rename(path.with_suffix(".gone"))  # before the record is written
        await settle(found)
        path.with_suffix(".gone").rename(path)
        for each in (found, lookout(queue, notify_url=receiver.url)):
            await each.look()
            await settle(each)
    assert 1 == len(receiver.notices)
    assert {Notice.FAILED} == (await queue.read(shared_state.told)).open


async def test_what_is_told_during_a_record_is_recorded_after_it(
    queue: Database, path: Path
) -> None:
    """A record that waits for a lock is one at a time; the last one is written in the end."""
    found = lookout(queue)
    await fail(queue)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await found.look()
        await found.look()
        assert 1 == len(found._under_way)  # noqa: SLF001
        await found.look(drain_failed=True)
        other.execute("ROLLBACK")
        await settle(found)
    assert {"failed", "drain_failed"} == set((await queue.read(shared_state.told)).at)
