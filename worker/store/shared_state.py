"""The one row that all processes share: the pace, a cool-down, a pause. Decides nothing itself."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, case, func, or_, select, update

from worker.core.pace import Brake
from worker.core.redact import clean
from worker.db.schema import account
from worker.db.statements import Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedState:
    """The row as a value; moments are UTC. ``list_asked_at``: when the API's list was last asked
    for; ``list_read_at``: when the last one was asked for whose verdicts are written; ``moved_to``:
    the mark of a queue that is worked on elsewhere; ``written_at``: what the clock showed when pace
    and cool-down were last written.
    """

    next_start_at: datetime
    cool_down_until: datetime | None
    cool_down_reason: str | None
    paused_at: datetime | None
    pause_reason: str | None
    brake: Brake | None
    list_asked_at: datetime | None
    list_read_at: datetime | None
    written_at: datetime | None
    moved_to: str | None

    def moved(self, by: timedelta) -> "SharedState":
        """The same pace and cool-down by a clock that was set by so much."""
        return replace(
            self,
            next_start_at=self.next_start_at + by,
            cool_down_until=self.cool_down_until and self.cool_down_until + by,
            brake=self.brake and replace(self.brake, cut_at=self.brake.cut_at + by),
        )

    def checked_until(self, now: datetime) -> datetime | None:
        """The answers that came before then have been looked up; a moment to come is a clock that
        stepped back, and says nothing.
        """
        known = self.list_read_at
        return known if known is not None and known <= now else None


def read(connection: Connection) -> SharedState:
    """The account as it stands. In a write transaction nobody else changes it meanwhile."""
    ((start, cool_down, cool, paused, why, low, ceiling, cut, asked, read_, at, to),) = _READ(
        connection
    )
    brake = None if cut is None else Brake(low=low, ceiling=ceiling, cut_at=cut)
    return SharedState(
        next_start_at=start,
        cool_down_until=cool_down,
        cool_down_reason=cool,
        paused_at=paused,
        pause_reason=why,
        brake=brake,
        list_asked_at=asked,
        list_read_at=read_,
        written_at=at,
        moved_to=to,
    )


_READ = Prepared(
    select(
        account.c.next_start_at,
        account.c.cool_down_until,
        account.c.cool_down_reason,
        account.c.paused_at,
        account.c.pause_reason,
        account.c.pace_low,
        account.c.pace_ceiling,
        account.c.pace_cut_at,
        account.c.list_asked_at,
        account.c.list_read_at,
        account.c.written_at,
        account.c.moved_to,
    )
)


def reserve(connection: Connection, next_start_at: datetime, now: datetime) -> None:
    """Move the next start on, by what was really claimed."""
    _RESERVE(connection, at=next_start_at, now=now)


_RESERVE = Prepared(
    update(account).values(
        next_start_at=bindparam("at", type_=account.c.next_start_at.type),
        written_at=bindparam("now", type_=account.c.written_at.type),
    )
)


def cool_down(connection: Connection, until: datetime, reason: str, now: datetime) -> None:
    """Nobody starts before ``until``; a cool-down that lasts longer already stays."""
    known = account.c.cool_down_until
    later = or_(known.is_(None), known < until)
    connection.execute(
        update(account).values(
            cool_down_until=case((later, until), else_=known),
            cool_down_reason=case((later, clean(reason)), else_=account.c.cool_down_reason),
            written_at=now,
        )
    )


def move(connection: Connection, known: SharedState, now: datetime) -> None:
    """Write pace and cool-down as ``known``, since the clock that wrote them was set."""
    reserve(connection, known.next_start_at, now)
    connection.execute(update(account).values(cool_down_until=known.cool_down_until))
    brake(connection, known.brake)


def brake(connection: Connection, value: Brake | None) -> None:
    """What 429s have taught, for everybody."""
    connection.execute(
        update(account).values(
            pace_low=value and value.low,
            pace_ceiling=value and value.ceiling,
            pace_cut_at=value and value.cut_at,
        )
    )


def list_asked(connection: Connection, now: datetime) -> None:
    """The API's list is being asked for."""
    connection.execute(update(account).values(list_asked_at=now))


def list_read(connection: Connection, asked_at: datetime) -> None:
    """What the list that was asked for then proves is written."""
    connection.execute(update(account).values(list_read_at=asked_at))


def pause(connection: Connection, now: datetime, reason: str) -> None:
    """Nobody claims any more, until ``resume``; a pause that holds already keeps its beginning."""
    since = func.coalesce(account.c.paused_at, bindparam("now", now, account.c.paused_at.type))
    connection.execute(update(account).values(paused_at=since, pause_reason=clean(reason)))


def resume(connection: Connection) -> None:
    """End a pause; a cool-down that the API asked for stays."""
    connection.execute(update(account).values(paused_at=None, pause_reason=None))
