from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, insert

from tests.conftest import START
from tests.parts import POLICY, add, later, take
from worker.core.decide import decide
from worker.core.evidence import Doubt
from worker.core.model import (
    Accepted,
    AccountRefused,
    Cap,
    Claim,
    InDoubt,
    Invalid,
    NotSent,
    Outcome,
    Refused,
    Released,
    Result,
    Settlement,
    Throttled,
    TryLater,
)
from worker.db.database import Database
from worker.db.schema import history
from worker.store import caps, changes, doubts, leases, settle
from worker.store.caps import Level
from worker.store.history import IS_DOUBT
from worker.store.search import Filter

DAY = Cap(name="max_per_day", most=3, window=timedelta(hours=24))
IN_ALL = Cap(name="max_total", most=3, window=None)
HOUR = 3600


async def level(database: Database, cap: Cap = IN_ALL, now: datetime = START) -> Level:
    """Return the level of a cap."""
    return await database.read(lambda c: caps.level(c, cap, now))


async def used(database: Database, cap: Cap = IN_ALL, now: datetime = START) -> tuple[int, int]:
    """Return the two numbers that count: settled and reserved."""
    found = await level(database, cap, now)
    return found.settled, found.submitting


async def claim(database: Database, count: int = 1, at: datetime = START) -> list[Claim]:
    """Add new videos and claim them at that moment."""
    await add(database, *(f"https://example.org/{n}.mp4" for n in range(count)), due_at=at)
    return await take(database, at, limit=count)


async def end(database: Database, claim: Claim, outcome: Outcome, at: datetime = START) -> None:
    """Settle an attempt as a worker does."""
    result = Result(claim=claim, outcome=outcome, started_at=at)

    def work(connection: Connection) -> None:
        (status,) = settle.statuses(connection, [result])
        decided = decide(claim, outcome, status, at, 0.5, POLICY)
        written = Settlement(result=result, status=status, transition=decided)
        settle.settle(connection, [written], at, "worker-1")

    await database.write(work, "test")


async def ended(database: Database, outcome: Outcome, at: datetime = START) -> Claim:
    """Add a new video whose attempt ended with this outcome."""
    (claimed,) = await claim(database, at=at)
    await end(database, claimed, outcome, at)
    return claimed


async def expired(database: Database) -> Claim:
    """Add a new video whose worker is gone."""
    (claimed,) = await claim(database)
    await database.write(lambda c: leases.expire(c, later(START, 70), "worker-2"), "test")
    return claimed


async def tell(database: Database, video_id: int, attempt: int, fact: str, **more: object) -> None:
    """Add a fact to the history."""
    told = {"video_id": video_id, "attempt": attempt, "at": START, "who": "w", "fact": fact}
    await database.write(lambda c: c.execute(insert(history), [{**told, **more}]), "test")


def doubt(claimed: Claim) -> Doubt:
    """Return the doubt about this attempt."""
    return Doubt(
        video_id=claimed.video_id,
        attempt=claimed.attempt,
        attempts=1,
        url=claimed.video.url,
        media_id=None,
        request_id=claimed.request_id,
        unique=True,
        began_at=START,
        recorded_at=START,
    )


ACCEPTED = Accepted("job-1", 200)
UNCLEAR = InDoubt("no answer")
BUSY = TryLater("busy", 500)


@pytest.mark.parametrize("cap", [IN_ALL, DAY])
async def test_a_claim_is_reserved_and_an_acceptance_counts(database: Database, cap: Cap) -> None:
    """A claim in flight and an acceptance both count against the cap."""
    assert (0, 0) == await used(database, cap)
    first, second = await claim(database, 2)
    assert (0, 2) == await used(database, cap)
    await end(database, first, ACCEPTED)
    assert (1, 1) == await used(database, cap)
    await end(database, second, Accepted("job-2", 200))
    assert (2, 0) == await used(database, cap)


@pytest.mark.parametrize(
    "outcome",
    [
        Refused("no", 400),
        Invalid("no address"),
        AccountRefused("who?", 401),
        Throttled("slow down", 429),
        BUSY,
        NotSent("no route"),
        Released("our own stop"),
    ],
)
async def test_what_made_no_job_is_released(database: Database, outcome: Outcome) -> None:
    """A refused attempt does not count against the cap."""
    await ended(database, outcome)
    assert (0, 0) == await used(database)


async def test_a_doubt_counts_until_it_is_proven_to_have_made_no_job(database: Database) -> None:
    """A doubt counts until its absence is proven."""
    claimed = await ended(database, UNCLEAR)
    assert (1, 0) == await used(database)
    await database.write(
        lambda c: doubts.free(c, doubt(claimed), later(START, 60), START, "w"), "test"
    )
    assert (0, 0) == await used(database)


async def test_what_is_proven_absent_but_used_up_counts_no_more(database: Database) -> None:
    """A video proven absent that waits for a person does not count."""
    claimed = await ended(database, UNCLEAR)
    await database.write(lambda c: doubts.keep(c, doubt(claimed), "used up", START, "w"), "test")
    assert (0, 0) == await used(database)


async def test_a_dead_workers_attempt_counts(database: Database) -> None:
    """An attempt whose lease ran out still counts."""
    await expired(database)
    assert (1, 0) == await used(database)


async def test_a_late_answer_without_a_job_releases_its_doubt(database: Database) -> None:
    """A clear refusal after the lease ends frees room in the cap."""
    await end(database, await expired(database), Refused("no", 400))
    assert (0, 0) == await used(database)


async def test_a_late_job_counts_once(database: Database) -> None:
    """An attempt that is first in doubt and then accepted counts once."""
    await end(database, await expired(database), ACCEPTED)
    assert (1, 0) == await used(database)


async def test_a_doubt_that_was_found_counts_once(database: Database) -> None:
    """A doubt whose job the list shows counts once."""
    claimed = await ended(database, UNCLEAR)
    await database.write(lambda c: doubts.find(c, doubt(claimed), "job-7", START, "w"), "test")
    assert (1, 0) == await used(database)


@pytest.mark.parametrize("job_id", ["job-7", None])
async def test_a_persons_word_frees_nothing(database: Database, job_id: str | None) -> None:
    """A doubt that a person resolves or gives up still counts."""
    claimed = await ended(database, UNCLEAR)
    await database.write(
        lambda c: changes.resolve(c, claimed.video_id, job_id, START, "ann"), "test"
    )
    assert (1, 0) == await used(database)


async def test_each_attempt_of_a_video_counts(database: Database) -> None:
    """A video that may be bought twice counts twice."""
    await ended(database, UNCLEAR)
    everything = Filter(states=(), ids=(1,))
    await database.write(
        lambda c: changes.retry(c, everything, doubts=True, now=START, who="ann"), "test"
    )
    assert (1, 0) == await used(database)
    (again,) = await take(database, START)
    assert (1, 1) == await used(database)
    await end(database, again, UNCLEAR)
    assert (2, 0) == await used(database)


async def test_a_doubt_that_is_told_twice_counts_once(database: Database) -> None:
    """An attempt whose lease ran out and that then named another video's job counts once."""
    await ended(database, ACCEPTED)
    late = await expired(database)
    await end(database, late, ACCEPTED)
    told = await database.read(lambda c: c.execute(history.select().where(IS_DOUBT)).all())
    assert 2 == len(told)
    assert (2, 0) == await used(database)


async def test_a_job_after_the_proof_of_absence_counts(database: Database) -> None:
    """A job that arrives after the proof of absence counts."""
    late = await expired(database)
    await database.write(lambda c: doubts.free(c, doubt(late), START, START, "w"), "test")
    assert (0, 0) == await used(database)
    await end(database, late, ACCEPTED)
    assert (1, 0) == await used(database)


async def test_a_doubt_after_the_proof_of_absence_counts(database: Database) -> None:
    """An unclear answer after the proof of absence counts."""
    await ended(database, ACCEPTED)
    late = await expired(database)
    await database.write(lambda c: doubts.free(c, doubt(late), START, START, "w"), "test")
    assert (1, 0) == await used(database)
    await end(database, late, ACCEPTED)
    assert (2, 0) == await used(database)


async def test_a_500_that_made_a_job_counts_when_it_is_found(database: Database) -> None:
    """An attempt that got a 500 counts once the list shows its job."""
    claimed = await ended(database, BUSY)
    await database.write(lambda c: doubts.find(c, doubt(claimed), "job-7", START, "w"), "test")
    assert (1, 0) == await used(database)


async def test_a_500_that_was_doubted_before_it_was_found_counts_once(database: Database) -> None:
    """An attempt that was in doubt before its job was found counts once."""
    claimed = await ended(database, BUSY)
    await database.write(lambda c: doubts.park(c, doubt(claimed), "two", START, "w"), "test")
    assert (1, 0) == await used(database)
    await database.write(lambda c: doubts.find(c, doubt(claimed), "job-7", START, "w"), "test")
    assert (1, 0) == await used(database)


async def test_jobs_that_are_no_attempts_of_ours_do_not_count(database: Database) -> None:
    """An imported or adopted job does not count against the cap."""
    await add(database, "u", state="submitted", job_id="job-1")
    await tell(database, 2, 0, "found", job_id="job-2")
    await tell(database, 3, 0, "resolve", job_id="job-3")
    assert (0, 0) == await used(database)


# --- The window -----------------------------------------------------------------------------------


@pytest.fixture
async def three(database: Database) -> Database:
    """Give two accepted attempts and a doubt between them, an hour apart: the day's cap is full."""
    outcomes: tuple[Outcome, ...] = (Accepted("job-a", 200), UNCLEAR, Accepted("job-b", 200))
    for hour, outcome in enumerate(outcomes):
        await ended(database, outcome, later(START, hour * HOUR))
    return database


async def test_a_day_is_24_hours_to_the_moment(three: Database) -> None:
    """A cap opens 24 hours after the oldest attempt, at the moment that it names."""
    now = later(START, 3 * HOUR)
    full = await level(three, DAY, now)
    assert Level(cap=DAY, settled=3, submitting=0, opens_at=later(START, 24 * HOUR)) == full
    assert (3, 0) == (full.used, full.room)
    assert 0 == (await level(three, DAY, later(START, 24 * HOUR - 0.000001))).room
    opened = await level(three, DAY, later(START, 24 * HOUR))
    assert (1, None) == (opened.room, opened.opens_at)
    assert 2 == (await level(three, DAY, later(START, 25 * HOUR))).room
    assert 3 == (await level(three, DAY, later(START, 26 * HOUR))).room


async def test_what_is_counted_in_all_never_leaves(three: Database) -> None:
    """A cap without a window never opens by time."""
    full = await level(three, IN_ALL, later(START, 9_000 * HOUR))
    assert (0, None) == (full.room, full.opens_at)


@pytest.mark.parametrize(("most", "hours"), [(3, 24), (2, 25), (1, 26)])
async def test_a_cap_that_was_lowered_opens_when_enough_has_left(
    three: Database, most: int, hours: int
) -> None:
    """The moment named is the first one at which there is room."""
    full = await level(three, replace(DAY, most=most), later(START, 3 * HOUR))
    assert (later(START, hours * HOUR), 0) == (full.opens_at, full.room)


async def test_reservations_leave_by_no_time(three: Database) -> None:
    """Attempts in flight beyond the cap leave no moment to name."""
    now = later(START, 3 * HOUR)
    await claim(three, at=now)
    full = await level(three, replace(DAY, most=4), now)
    assert (0, 1, later(START, 24 * HOUR)) == (full.room, full.submitting, full.opens_at)
    full = await level(three, replace(DAY, most=1), now)
    assert (0, None) == (full.room, full.opens_at)


async def test_a_clock_that_stepped_back_opens_no_cap(three: Database) -> None:
    """An attempt later than the present, by a clock set back since, counts."""
    for hours in (1.5, -1, -23, -999):
        full = await level(three, DAY, later(START, hours * HOUR))
        assert (0, later(START, 24 * HOUR)) == (full.room, full.opens_at)


async def test_a_full_cap_is_told_with_its_way_out(three: Database) -> None:
    """The sentence names the setting, its value, the moment and the way out."""
    now = later(START, 3 * HOUR)
    assert (
        "max_per_day = 3 is reached until 2026-01-02 12:00:00 UTC: wait, or raise it"
        == (await level(three, DAY, now)).told
    )
    expected = "max_total = 3 is reached: raise or unset it to go on"
    assert expected == (await level(three, IN_ALL, now)).told
