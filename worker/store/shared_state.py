"""Read and write the one row that all processes share: pace, brakes, notices. Decides nothing."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection, bindparam, case, func, or_, select, update

from worker.core.notices import Told
from worker.core.pace import Brake
from worker.core.redact import clean
from worker.db.address import DatabaseProblem
from worker.db.column_types import EPOCH, LAST
from worker.db.schema import account
from worker.db.statements import Prepared

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedState:
    """The row as a value. Moments are UTC.

    Attributes:
        list_read_at: When the last list was requested whose verdicts are written.
        written_at: The clock's time when pace and cool-down were last written.
        moved_to: The mark of a queue that is worked on elsewhere.
        held_hosts: Number of hosts that are held.
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
    held_hosts: int = 0

    def moved(self, by: timedelta) -> "SharedState":
        """Return the same pace and cool-down by a clock that was set by this much."""
        return replace(
            self,
            next_start_at=_shifted(self.next_start_at, by),
            cool_down_until=self.cool_down_until and _shifted(self.cool_down_until, by),
            brake=self.brake and replace(self.brake, cut_at=_shifted(self.brake.cut_at, by)),
        )

    def cooling(self, now: datetime) -> str | None:
        """Return the cool-down in force with its end and its reason; None without one."""
        until = self.cool_down_until
        if until is None or until <= now:
            return None
        return f"a cool-down until {until:%Y-%m-%d %H:%M:%S} UTC ({self.cool_down_reason})"

    @property
    def unreadable(self) -> dict[str, datetime]:
        """Return the columns of the pace that hold no moment, or one that no run writes."""
        cut_at, written_at = self.brake.cut_at if self.brake else None, self.written_at
        known = {"next_start_at": self.next_start_at, "cool_down_until": self.cool_down_until}
        known |= {"pace_cut_at": cut_at, "written_at": written_at}
        return {name: at for name, at in known.items() if at and not EPOCH < at <= LAST}

    def checked_until(self, now: datetime) -> datetime | None:
        """Return the time up to which answers were checked against the job list. None if no list
        was read, or if its time is after ``now``: then the clock stepped back.
        """
        known = self.list_read_at
        return known if known is not None and known <= now else None


def _shifted(moment: datetime, by: timedelta) -> datetime:
    return moment + max(EPOCH - moment, min(LAST - moment, by))


def read(connection: Connection) -> SharedState:
    """Return the shared state. In a write transaction no other process can change it. Raises
    DatabaseProblem if the row is gone.
    """
    low, ceiling, cut_at, *values = the_row(_READ(connection))
    is_slowed = cut_at is not None and (low or 0) > 0 and (ceiling or 0) > 0
    brake = Brake(low=low, ceiling=ceiling, cut_at=cut_at) if is_slowed else None
    return SharedState(brake=brake, **dict(zip(_FIELDS, values, strict=True)))


_FIELDS = tuple(name for name in SharedState.__dataclass_fields__ if name != "brake")
_BRAKE = ("low", "ceiling", "cut_at")
_READ = Prepared(select(*(account.c[name] for name in (*map("pace_{}".format, _BRAKE), *_FIELDS))))


def the_row(rows: Sequence[T]) -> T:
    """Return the one row that was read. Raises DatabaseProblem if it is gone."""
    if not rows:
        raise DatabaseProblem(
            "the table account has lost its row: INSERT INTO account (id) VALUES (1) puts it back"
        )
    return rows[0]


def reserve(connection: Connection, next_start_at: datetime, now: datetime) -> None:
    """Write the time of the next start."""
    _RESERVE.write(connection, at=next_start_at, now=now)


_RESERVE = Prepared(
    update(account).values(next_start_at=bindparam("at"), written_at=bindparam("now"))
)


def cool_down(connection: Connection, until: datetime, reason: str, now: datetime) -> None:
    """Start a cool-down until then, unless a longer one is in force."""
    known = account.c.cool_down_until
    later = or_(known.is_(None), known < until, ~known.between(EPOCH, LAST))
    connection.execute(
        update(account).values(
            cool_down_until=case((later, until), else_=known),
            cool_down_reason=case((later, clean(reason)), else_=account.c.cool_down_reason),
            written_at=now,
        )
    )


def end_cool_down(connection: Connection, now: datetime) -> None:
    """End the cool-down in force, and let the pace climb from now on."""
    cut_at = account.c.pace_cut_at
    connection.execute(
        update(account).values(
            cool_down_until=None,
            cool_down_reason=None,
            pace_cut_at=case((cut_at > now, now), else_=cut_at),
        )
    )


def move(connection: Connection, known: SharedState, now: datetime) -> None:
    """Write the pace and the cool-down of ``known`` after the clock was set."""
    reserve(connection, known.next_start_at, now)
    connection.execute(update(account).values(cool_down_until=known.cool_down_until))
    brake(connection, known.brake)


def brake(connection: Connection, value: Brake | None) -> None:
    """Write the pace that the 429s allow; None removes the limit."""
    values = {f"pace_{name}": value and getattr(value, name) for name in _BRAKE}
    connection.execute(update(account).values(values))


def list_asked(connection: Connection, now: datetime) -> None:
    """Write that the job list is requested now."""
    connection.execute(update(account).values(list_asked_at=now))


def list_read(connection: Connection, asked_at: datetime) -> None:
    """Write that the verdicts of the list requested at ``asked_at`` are written."""
    connection.execute(update(account).values(list_read_at=asked_at))


def pause(connection: Connection, now: datetime, reason: str) -> None:
    """Stop claims until ``resume``. A pause in force keeps its start."""
    since = func.coalesce(account.c.paused_at, bindparam("now", now, account.c.paused_at.type))
    connection.execute(update(account).values(paused_at=since, pause_reason=clean(reason)))


def resume(connection: Connection) -> None:
    """End a pause. A cool-down that the API asked for stays."""
    connection.execute(update(account).values(paused_at=None, pause_reason=None))


def callback_secret(connection: Connection) -> str | None:
    """Return the secret that callbacks are signed with, None if it was deleted."""
    return connection.scalar(select(account.c.callback_secret))


def told(connection: Connection) -> Told:
    """Return the notices so far; none if they cannot be read."""
    with suppress(ValueError, TypeError, KeyError):
        known = json.loads(connection.scalar(select(account.c.told)) or "")
        return Told(open=frozenset(known["open"]), at=dict(known["at"]))
    return Told()


def tell(connection: Connection, record: Told) -> None:
    """Write the notices so far."""
    known = json.dumps({"open": sorted(record.open), "at": record.at})
    connection.execute(update(account).values(told=known))
