"""Move a queue to another database, or continue a move that was broken off. Knows no SQL.

The order of the marks makes it safe at every point: the target is marked as unfinished before the
source is marked, and is opened only after the source names the queue's new place for good.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, Table

from worker.core.relocation import MoveState, copy_of, not_empty, on_its_way
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE, Database
from worker.store import leases, relocation, shared_state
from worker.store.relocation import Census, Shared, TableRow

LOOK_SECONDS = 1.0
"""Between two checks for claims in flight."""

ROWS_A_REPORT = 100_000
"""Rows copied between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The result of a move: the rows now there, and the rows of each table copied by this call."""

    census: Census
    copied: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move from ``source`` to ``target``, whose names are for people. ``tell`` gets lines of
    progress, ``pause`` waits for seconds, ``now`` gives the time of the source (UTC). ``who`` is
    written to the history for the doubts that expired leases leave.
    """

    source: Database
    target: Database
    source_name: str
    target_name: str
    now: Callable[[], datetime]
    who: str
    tell: Callable[[str], None]
    pause: Callable[[float], Awaitable[None]]

    async def run(self) -> Moved:
        """Begin the move, continue it, or find it done. Raises DatabaseProblem."""
        mark = await self.source.read(_mark)
        if (await self.target.read(lambda c: self._plan(mark, c))).done:
            return Moved(census=await self.target.read(relocation.census), copied={})
        await self.target.write(lambda c: self._begin_target(mark, c), "to begin a move")
        if not await self.source.write(self._begin_source, "to begin a move"):
            both = f"{self.source_name} and {self.target_name}"
            raise DatabaseProblem(f"{both} are one database: name another to move to")
        await self._nothing_in_flight()
        copied = {table.name: await self._copy(table) for table in relocation.TABLES}
        return Moved(census=await self._conclude(), copied=copied)

    def _plan(self, source_mark: str | None, target: Connection) -> MoveState:
        """Return the state of the move. Raises DatabaseProblem if it must not go on."""
        plan = MoveState(
            source=self.source_name,
            target=self.target_name,
            source_mark=source_mark,
            target_mark=_mark(target),
            target_empty=relocation.is_empty(target),
        )
        if plan.obstacle is not None:
            raise DatabaseProblem(plan.obstacle)
        return plan

    def _begin_target(self, source_mark: str | None, target: Connection) -> None:
        if self._plan(source_mark, target).target_mark is not None:
            return
        relocation.mark(target, copy_of(self.source_name))
        if not relocation.is_empty(target):  # the mark has waited for earlier writers
            raise DatabaseProblem(not_empty(self.target_name))

    def _begin_source(self, source: Connection) -> bool:
        """Mark the source; return False if it is the target by another name, and unmark that."""
        if _mark(source) == copy_of(self.source_name):
            relocation.unmark(source)
            return False
        if self._held_source(source, None) is None:
            relocation.mark(source, on_its_way(self.target_name))
        return True

    def _held_source(self, source: Connection, *more: str | None) -> str | None:
        """Return the source's mark. Raises DatabaseProblem if not of this move or of ``more``."""
        mark = _mark(source)
        if mark not in {on_its_way(self.target_name), self.target_name, *more}:
            raise _interfered(self.source_name)
        return mark

    def _held_target(self, target: Connection) -> None:
        """Raise DatabaseProblem if the target lost the mark of this move."""
        if _mark(target) != copy_of(self.source_name):
            raise _interfered(self.target_name)

    async def _nothing_in_flight(self) -> None:
        """Wait until every claim is settled, or its lease has expired into a doubt."""
        reported: datetime | None = None
        while True:
            number, until = await self.source.write(
                self._in_flight, "to wait for what is in flight"
            )
            if until is None:
                return
            if until != reported:
                reported = until
                self.tell(
                    f"{number} in flight in {self.source_name}: waiting until they are settled, or "
                    f"their leases end, at {until:%Y-%m-%d %H:%M:%S} UTC at the latest"
                )
            await self.pause(LOOK_SECONDS)

    def _in_flight(self, source: Connection) -> tuple[int, datetime | None]:
        leases.expire(source, self.now(), self.who)
        return relocation.in_flight(source)

    async def _copy(self, table: Table) -> int:
        copied, report_at = 0, ROWS_A_REPORT
        while True:
            after = await self.target.read(partial(relocation.highest, table=table))
            rows = await self.source.read(partial(relocation.rows, table=table, after=after))
            if not rows:
                return copied
            copied += await self._put_some(table, after, rows)
            if copied >= report_at:
                report_at += ROWS_A_REPORT
                self.tell(f"{table.name}: {copied:,} rows copied")

    async def _put_some(self, table: Table, after: int, rows: Sequence[TableRow]) -> int:
        """Add rows and return their number; if the target refuses one, add only rows before it.
        Raises DatabaseProblem, which quotes no value, if the first row is refused.
        """
        try:
            put = partial(self.put, table=table, after=after, rows=rows)
            return await self.target.write(put, "to copy rows")
        except BAD_VALUE as error:
            if len(rows) > 1:
                return await self._put_some(table, after, rows[: len(rows) // 2])
            what = type(getattr(error, "orig", None) or error).__name__
            name = relocation.NUMBERED_BY[table].name
            row = f"row {rows[0][name]} of {table.name}"
            raise DatabaseProblem(
                f"database {self.target_name} does not take {row} ({what}): give the move up as "
                "config/deploy/README.md says (Moving house), correct the row in "
                f"{self.source_name}, and move again"
            ) from error

    def put(self, target: Connection, table: Table, after: int, rows: Sequence[TableRow]) -> int:
        """Add rows and return their number, 0 if another process has added rows meanwhile."""
        self._held_target(target)
        if relocation.highest(target, table) != after:
            return 0
        relocation.put(target, table, rows)
        return len(rows)

    async def _conclude(self) -> Census:
        """Copy the shared state, compare both sides, and open the target."""
        wanted, known = await self.source.read(
            lambda c: (relocation.census(c), relocation.shared(c))
        )
        await self.target.write(lambda c: self._complete(c, wanted, known), "to end a move")
        await self.source.write(self._end_source, "to end a move")
        await self.target.write(self._open_target, "to end a move")
        return wanted

    def _complete(self, target: Connection, wanted: Census, known: Shared) -> None:
        self._held_target(target)
        relocation.share(target, known)
        relocation.continue_ids(target)
        found = relocation.census(target)
        if found != wanted:
            raise DatabaseProblem(
                f"the copy in {self.target_name} is not what is in {self.source_name}: {found} in "
                f"place of {wanted}: something was written meanwhile; delete {self.target_name} "
                "and move again"
            )

    def _end_source(self, source: Connection) -> None:
        self._held_source(source)
        relocation.mark(source, self.target_name)

    def _open_target(self, target: Connection) -> None:
        self._held_target(target)
        relocation.unmark(target)


def _mark(connection: Connection) -> str | None:
    return shared_state.read(connection).moved_to


def _interfered(name: str) -> DatabaseProblem:
    return DatabaseProblem(
        f"database {name}: its mark was changed by somebody else while the queue moved: look with "
        "valossa-ingest status, and run the same valossa-ingest move again"
    )
