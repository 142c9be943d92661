from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from tests.conftest import START
from tests.parts import later
from tests.plain import execute
from worker.core.notices import Told
from worker.core.pace import Brake
from worker.db.database import Database
from worker.db.schema import account
from worker.store import shared_state
from worker.store.shared_state import SharedState


async def read(database: Database) -> SharedState:
    """Return the shared state."""
    return await database.read(shared_state.read)


async def cool_down(database: Database, until: datetime, reason: str) -> None:
    """Start a cool-down."""
    await database.write(lambda c: shared_state.cool_down(c, until, reason, START), "test")


async def test_a_new_account_lets_everybody_start(database: Database) -> None:
    """A new database has no pause, no cool-down and no slower pace."""
    fresh = await read(database)
    assert (
        SharedState(
            next_start_at=fresh.next_start_at,
            cool_down_until=None,
            cool_down_reason=None,
            paused_at=None,
            pause_reason=None,
            brake=None,
            list_asked_at=None,
            list_read_at=None,
            moved_to=None,
            written_at=None,
        )
        == fresh
    )


async def test_a_reserved_start_is_read_back(database: Database) -> None:
    """The next start is kept to the microsecond for every process."""
    at = later(START, 0.123456)
    await database.write(lambda c: shared_state.reserve(c, at, START), "test")
    assert at == (await read(database)).next_start_at


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(10, 20, (20, "second")), (20, 10, (20, "first")), (10, 10, (10, "first"))],
)
async def test_the_later_cool_down_stays(
    database: Database, first: float, second: float, kept: tuple[float, str]
) -> None:
    """A shorter cool-down changes neither the end nor the reason of a longer one."""
    await cool_down(database, later(START, first), "first")
    await cool_down(database, later(START, second), "second")
    known = await read(database)
    assert (later(START, kept[0]), kept[1]) == (known.cool_down_until, known.cool_down_reason)


async def test_the_clock_that_wrote_it_is_known(database: Database) -> None:
    """The time of the clock is written with each start and each cool-down."""
    await database.write(lambda c: shared_state.reserve(c, later(START, 5), START), "test")
    assert START == (await read(database)).written_at
    await database.write(lambda c: shared_state.cool_down(c, START, "x", later(START, 1)), "test")
    assert later(START, 1) == (await read(database)).written_at


async def test_all_that_goes_by_the_clock_is_moved(database: Database) -> None:
    """Pace, cool-down and brake move together; none of them is made by a move."""
    hour, now = timedelta(hours=1), later(START, 3600)

    async def move() -> SharedState:
        known = (await read(database)).moved(hour)
        await database.write(lambda c: shared_state.move(c, known, now), "test")
        return await read(database)

    await database.write(lambda c: shared_state.reserve(c, START, START), "test")
    moved = await move()
    assert (now, now) == (moved.next_start_at, moved.written_at)
    assert (None, None) == (moved.cool_down_until, moved.brake)
    await cool_down(database, later(START, 9), "why")
    learnt = Brake(low=1.0, ceiling=2.0, cut_at=later(START, 3))
    await database.write(lambda c: shared_state.brake(c, learnt), "test")
    moved = await move()
    assert (later(START, 3609), "why") == (moved.cool_down_until, moved.cool_down_reason)
    assert Brake(low=1.0, ceiling=2.0, cut_at=later(START, 3603)) == moved.brake


async def test_a_reason_is_stored_clean(database: Database) -> None:
    """Any reason of a cool-down can be stored."""
    await cool_down(database, START, "a\0\ud800" + "x" * 3000)
    reason = (await read(database)).cool_down_reason
    assert "a\ufffd\ufffd" + "x" * 1997 == reason


async def test_a_brake_goes_in_and_comes_out(database: Database) -> None:
    """A brake is read back as it was written, and can be removed."""
    learnt = Brake(low=0.1 + 0.2, ceiling=17.0, cut_at=later(START, 0.000001))
    await database.write(lambda c: shared_state.brake(c, learnt), "test")
    assert learnt == (await read(database)).brake
    await database.write(lambda c: shared_state.brake(c, None), "test")
    assert (await read(database)).brake is None


@pytest.mark.parametrize(("low", "ceiling"), [(0, 0), (-1, 0), (-1, -1), (1, 0), ("NULL", 1)])
async def test_a_rate_that_is_none_slows_nobody(
    url: str, database: Database, low: object, ceiling: object
) -> None:
    """A lowered pace that plain SQL has made no rate of is none."""
    execute(
        url,
        f"UPDATE account SET pace_low = {low}, pace_ceiling = {ceiling}, "
        "pace_cut_at = '2026-01-01 12:00:00'",
    )
    assert (await read(database)).brake is None


async def test_a_pause_begins_once_and_ends(database: Database) -> None:
    """A pause keeps its start and the last reason given, until it ends."""
    await database.write(lambda c: shared_state.pause(c, START, "lunch"), "test")
    await database.write(lambda c: shared_state.pause(c, later(START, 60), "a\0nap"), "test")
    known = await read(database)
    assert (START, "a\ufffdnap") == (known.paused_at, known.pause_reason)
    await database.write(shared_state.resume, "test")
    known = await read(database)
    assert (None, None) == (known.paused_at, known.pause_reason)


async def test_the_end_of_a_pause_is_not_the_end_of_a_cool_down(database: Database) -> None:
    """The end of a pause leaves a cool-down in force."""
    await cool_down(database, later(START, 10), "too fast")
    await database.write(lambda c: shared_state.pause(c, START, "lunch"), "test")
    await database.write(shared_state.resume, "test")
    known = await read(database)
    assert (later(START, 10), "too fast") == (known.cool_down_until, known.cool_down_reason)


async def test_when_the_list_was_asked_for_and_read_is_known(database: Database) -> None:
    """The times of the list are kept for every process."""
    await database.write(lambda c: shared_state.list_asked(c, later(START, 2)), "test")
    await database.write(lambda c: shared_state.list_read(c, START), "test")
    known = await read(database)
    assert (later(START, 2), START) == (known.list_asked_at, known.list_read_at)


@pytest.mark.parametrize(
    "text", [None, "", "nonsense", "[]", '{"open": 5, "at": {}}', '{"at": {}}']
)
async def test_a_record_of_notices_that_cannot_be_read_is_none(
    database: Database, text: str | None
) -> None:
    """A record that is none of ours tells of no notice, and the next one takes its place."""
    await database.write(lambda c: c.execute(update(account).values(told=text)), "test")
    assert Told() == await database.read(shared_state.told)
    record = Told(open=frozenset({"failed", "key"}), at={"failed": 1.5, "key": 2.0})
    await database.write(lambda c: shared_state.tell(c, record), "test")
    assert record == await database.read(shared_state.told)
