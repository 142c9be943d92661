"""Fetch the results of finished jobs, one after the other, by the budget of questions about jobs.

Knows no SQL, and holds up no send: bytes are read, compressed and written in a thread.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from worker.clock import ended
from worker.core.results import FARTHEST, Undelivered, WrongResultError, after_outage, again_after
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE
from worker.log import Event
from worker.runner.reconciler import Reconciler
from worker.runner.result_files import BusyError, FolderError, Part, StoredResult, free_bytes
from worker.store import jobs, results
from worker.store.results import WantedResult

IDLE = timedelta(seconds=5)
"""Between looks at the table: a job may have finished."""

HELD = timedelta(seconds=60)
"""Between tries while the folder takes nothing. A result is reserved for so long, and anew while it
is fetched: others neither ask for it nor spend the budget of questions.
"""


@dataclass(slots=True, eq=False)
class Fetcher:
    """The one who fetches results, with the parts of one who settles doubts. ``free``: returns the
    room on the disk of a folder; ``held``: why the folder takes nothing now; None while it does;
    ``refused``: how the API refused the key when it was asked last; None if it did not.
    """

    reconciler: Reconciler
    free: Callable[[Path], int] = free_bytes
    held: str | None = None
    refused: str | None = None

    async def run(self) -> None:
        """Fetch whenever it is time, until the limiter is shut."""
        await self.reconciler.repeat(self.fetch)

    async def fetch_each(self) -> None:
        """Fetch the results that are due now, each once, until the key is refused or the folder
        takes nothing.
        """
        clock, write = self.reconciler.transaction.clock, self.reconciler.write
        began = again_at = clock.now()
        while self.held is None and self.refused is None:
            if await write(partial(results.due, now=began), "to see what is wanted") is None:
                return
            await self.reconciler.limiter.wait_until(clock.until(again_at))
            again_at = await self.fetch()

    async def fetch(self) -> datetime:
        """Fetch the result that is due first. Return when to look again (UTC)."""
        clock, write, held = self.reconciler.transaction.clock, self.reconciler.write, None
        reserved_at = clock.monotonic()
        chosen = await write(self._choose, "to choose a result")
        if isinstance(chosen, datetime):
            return chosen
        try:
            got = await self._reserved(chosen, reserved_at)
        except BusyError:  # it is reserved, and looked at again after that
            return clock.now()
        except WrongResultError as error:
            got = Undelivered(reason=str(error))
        except FolderError as error:
            held = str(error)
            got = Undelivered(reason=held, spent=False)
        self.refused = got.reason if isinstance(got, Undelivered) and got.refused else None
        await write(partial(self._conclude, chosen, got), "to write a result down")
        self._tell(chosen, got, held)
        return clock.now() + (HELD if held else timedelta(0))

    def _choose(self, connection: Connection) -> WantedResult | datetime:
        """Reserve a question: the result to fetch, or when to look again."""
        now = self.reconciler.transaction.clock.now()
        if (wanted := results.due(connection, now)) is None:
            results.recall(connection, now + FARTHEST, now)
            return now + IDLE
        spacing = self.reconciler.transaction.pacer.question(connection)
        if isinstance(spacing, datetime):
            return spacing
        jobs.note(connection, next_question_at=now + spacing)
        self._reserve(wanted, connection)
        return wanted

    def _reserve(self, wanted: WantedResult, connection: Connection) -> None:
        until = self.reconciler.transaction.clock.now() + HELD
        results.write_wanted(connection, wanted.job_id, wanted.type, next_try_at=until)

    async def _reserved(self, wanted: WantedResult, at: float) -> StoredResult | Undelivered:
        """Fetch a result that is reserved since the second ``at``, and keep it reserved meanwhile.
        Raises WrongResultError or FolderError.
        """
        monotonic, reserve = self.reconciler.transaction.clock.monotonic, self._reserve
        fetching = asyncio.create_task(self._fetched(wanted))
        try:
            while True:
                await ended(fetching, max(0.0, at + HELD.total_seconds() / 2 - monotonic()))
                if fetching.done():
                    return fetching.result()
                at = monotonic()
                with suppress(DatabaseProblem, *BAD_VALUE):  # which its end meets as well
                    await self.reconciler.write(partial(reserve, wanted), "to reserve a result")
        finally:
            fetching.cancel()
            await ended(fetching, None)

    async def _fetched(self, wanted: WantedResult) -> StoredResult | Undelivered:
        """Return what is on the disk, or why nothing is. Raises WrongResultError or FolderError."""
        folder = Path(self.reconciler.transaction.settings.results_dir or "")
        part = await asyncio.to_thread(Part, folder, wanted, self.free)
        try:
            ask = self.reconciler.api.job_results
            failure = await ask(wanted.job_id, wanted.type, part.take)
            return failure if failure is not None else await asyncio.to_thread(part.finish)
        finally:
            await asyncio.to_thread(part.close)

    def _conclude(
        self, wanted: WantedResult, got: StoredResult | Undelivered, connection: Connection
    ) -> None:
        now = self.reconciler.transaction.clock.now()
        values: dict[str, object]
        if isinstance(got, StoredResult):
            values = {"path": got.path, "bytes": got.bytes, "sha256": got.sha256}
            values |= {"state": "stored", "error": None, "next_try_at": None, "fetched_at": now}
            results.write(connection, wanted.job_id, wanted.type, **values)
        else:
            tries = wanted.tries + got.spent
            wait = after_outage(now - wanted.ended_at) if got.outage else again_after(tries)
            values = {"error": got.reason, "tries": tries, "next_try_at": wait and now + wait}
            values |= {} if wait else {"state": "failed"}
            if got.retry_after is not None:
                self.reconciler.transaction.pacer.hold(connection, got.retry_after, got.reason)
            results.write_wanted(connection, wanted.job_id, wanted.type, **values)

    def _tell(
        self, wanted: WantedResult, got: StoredResult | Undelivered, held: str | None
    ) -> None:
        """Log the end of a try; of a folder that takes nothing, the first one alone."""
        log, which = self.reconciler.reporter.log, {"job_id": wanted.job_id, "type": wanted.type}
        if isinstance(got, StoredResult):
            log.info(Event.RESULT_STORED, **which, bytes=got.bytes)
        elif held is None:
            log.warning(Event.RESULT_FAILED, **which, reason=got.reason)
        elif self.held is None:
            log.error(Event.RESULTS_HELD, reason=held)
        self.held = held
