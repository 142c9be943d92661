"""A queue moves to another database, and a move that was broken off goes on. Knows no SQL.

The order of the marks is what makes it safe at every point: the target is marked as unfinished
before the source is, and is opened only after the source says for good where the queue is.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Table

from worker.core.relocation import MoveState, copy_of, not_empty, on_its_way
from worker.db.database import BAD_VALUE, Database, DatabaseProblem
from worker.store import leases, relocation, shared_state
from worker.store.relocation import Census, TableRow

LOOK_SECONDS = 1.0
"""Between two looks at what is in flight."""

TOLD_ROWS = 100_000
"""After so many rows it is said how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What is there now, and how many rows of each table this very move has copied."""

    census: Census
    copied: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move from ``source`` to ``target``, which are named as people read them. ``tell`` is called
    with what there is to wait for, ``pause`` waits for seconds, ``now`` gives
    the time of the source (UTC); ``who`` is named in the history for the doubts that leases leave.
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
        """Move, or go on with it, or find that it is done. Raises DatabaseProblem."""
        mark = await self.source.read(_mark)
        if (await self.target.read(lambda c: self._plan(mark, c))).done:
            return Moved(census=await self.target.read(relocation.census), copied={})
        await self.target.write(lambda c: self._begin_target(mark, c), "to begin a move")
        await self.source.write(self._begin_source, "to begin a move")
        await self._nothing_in_flight()
        copied = {table.name: await self._copy(table) for table in relocation.TABLES}
        return Moved(census=await self._conclude(), copied=copied)

    def _plan(self, source_mark: str | None, target: Connection) -> MoveState:
        """The move as it stands. Raises DatabaseProblem where it must not go on."""
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
        if not relocation.is_empty(target):  # the mark has waited for what had begun before it
            raise DatabaseProblem(not_empty(self.target_name))

    def _begin_source(self, source: Connection) -> None:
        if self._held_source(source, None) is None:
            relocation.mark(source, on_its_way(self.target_name))

    def _held_source(self, source: Connection, *more: str | None) -> str | None:
        """The source's mark, which is one of this move, or of ``more``. Raises DatabaseProblem."""
        mark = _mark(source)
        if mark not in {on_its_way(self.target_name), self.target_name, *more}:
            raise _interfered(self.source_name)
        return mark

    def _held_target(self, target: Connection) -> None:
        """Raises DatabaseProblem where the target does not bear the mark of this move any more."""
        if _mark(target) != copy_of(self.source_name):
            raise _interfered(self.target_name)

    async def _nothing_in_flight(self) -> None:
        """Wait until every claim is settled, or its lease has run out into a doubt."""
        told: datetime | None = None
        while True:
            number, until = await self.source.write(
                self._in_flight, "to wait for what is in flight"
            )
            if until is None:
                return
            if until != told:
                told = until
                self.tell(
                    f"{number} in flight in {self.source_name}: waiting until they are settled, or "
                    f"their leases end, at {until:%Y-%m-%d %H:%M:%S} UTC at the latest"
                )
            await self.pause(LOOK_SECONDS)

    def _in_flight(self, source: Connection) -> tuple[int, datetime | None]:
        leases.expire(source, self.now(), self.who)
        return relocation.in_flight(source)

    async def _copy(self, table: Table) -> int:
        """Copy what is missing; how many rows that were."""
        copied, told = 0, TOLD_ROWS
        while (done := await self._copy_more(table)) is not None:
            copied += done
            if copied >= told:
                told += TOLD_ROWS
                self.tell(f"{table.name}: {copied:,} rows copied")
        return copied

    async def _copy_more(self, table: Table) -> int | None:
        """Copy the next rows; how many, None where there are no more."""
        after = await self.target.read(lambda c: relocation.highest(c, table))
        rows = await self.source.read(lambda c: relocation.rows(c, table, after))
        return await self._put_some(table, after, rows) if rows else None

    async def _put_some(self, table: Table, after: int, rows: Sequence[TableRow]) -> int:
        """Add rows; where the target refuses one of them, only what precedes it, and where that is
        the first, DatabaseProblem is raised, which quotes no value.
        """
        try:
            return await self.target.write(
                lambda c: self.put(c, table, after, rows), "to copy rows"
            )
        except BAD_VALUE as error:
            if len(rows) > 1:
                return await self._put_some(table, after, rows[: len(rows) // 2])
            what = type(getattr(error, "orig", None) or error).__name__
            row = f"row {rows[0]['id']} of {table.name}"
            raise DatabaseProblem(
                f"database {self.target_name} does not take {row} ({what}): give the move up as "
                f"the README says (Moving house), correct the row in {self.source_name}, and move "
                "again"
            ) from error

    def put(self, target: Connection, table: Table, after: int, rows: Sequence[TableRow]) -> int:
        """Add rows, where nobody else has done so meanwhile; how many were added."""
        self._held_target(target)
        if relocation.highest(target, table) != after:
            return 0
        relocation.put(target, table, rows)
        return len(rows)

    async def _conclude(self) -> Census:
        """Take over what is shared, compare, and open the target."""
        wanted, known = await self.source.read(
            lambda c: (relocation.census(c), relocation.shared(c))
        )
        await self.target.write(lambda c: self._complete(c, wanted, known), "to end a move")
        await self.source.write(self._end_source, "to end a move")
        await self.target.write(self._open_target, "to end a move")
        return wanted

    def _complete(self, target: Connection, wanted: Census, known: TableRow) -> None:
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
