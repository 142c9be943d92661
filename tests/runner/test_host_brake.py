"""Hold that a claim passes over the videos of held hosts, and lets one probe through a period."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, select, update

from tests.conftest import START, Hands, open_database
from tests.parts import add, facts, later, let_start, overhear, row, transaction
from tests.plain import Plain
from tests.store.test_hosts import HOST, ends, held
from worker.core.host import FIRST_WAIT
from worker.core.model import Accepted, Claim, Outcome, Released, Result
from worker.core.reasons import ClaimResult, WaitReason
from worker.db.database import Database
from worker.db.schema import videos
from worker.runner.model import Committed
from worker.runner.transaction import INVALID_AT_ONCE, QueueTransaction
from worker.store import changes, hosts, search

DAY = timedelta(days=1)
WHY = f"3 of the last 3 jobs of {HOST} could not be downloaded (connection refused)"


@pytest.fixture
def work(hands: Hands) -> QueueTransaction:
    """Return the transaction of one process."""
    return transaction(hands.clock)


@pytest.fixture(autouse=True)
async def _held(database: Database) -> None:
    """Hold the host from the start of the test."""
    await let_start(database, START)
    await ends(database, "badly", "badly", "badly", at=later(START, -2))


def dead(*numbers: int) -> list[str]:
    """Return links of the held host."""
    return [f"https://{HOST}/{number}.mp4" for number in numbers]


def good(*numbers: int) -> list[str]:
    """Return links of another host."""
    return [f"https://good.example/{number}.mp4" for number in numbers]


async def write(
    database: Database, work: QueueTransaction, *results: Result, free_slots: int = 9
) -> Committed:
    """Do one transaction."""
    return await database.write(lambda c: work.write(c, results, free_slots), "test")


async def claim(database: Database, work: QueueTransaction, free_slots: int = 9) -> list[Claim]:
    """Return what one transaction claims."""
    done = await write(database, work, free_slots=free_slots)
    return [start.claim for start in done.claimed.starts]


async def sent(database: Database, work: QueueTransaction, free_slots: int = 9) -> list[int]:
    """Return the ids of what one transaction claims."""
    return [claim.video_id for claim in await claim(database, work, free_slots)]


async def peek(database: Database, work: QueueTransaction) -> ClaimResult | None:
    """Return why nothing can be claimed."""
    return await database.read(work.peek)


async def states(database: Database) -> dict[int, str]:
    """Return the state of each video, "held" for those that are held."""
    asked = select(videos.c.id, videos.c.state, videos.c.held_host).order_by(videos.c.id)
    rows = await database.read(lambda c: c.execute(asked).all())
    return {number: state if host is None else "held" for number, state, host in rows}


async def ended(database: Database, work: QueueTransaction, claim: Claim, said: Outcome) -> None:
    """Settle a claim and claim nothing."""
    result = Result(claim=claim, outcome=said, started_at=work.clock.now())
    await write(database, work, result, free_slots=0)


async def test_rows_of_a_held_host_are_postponed_and_others_go(
    database: Database, work: QueueTransaction
) -> None:
    """Law 7: a claim postpones the videos of a held host by a day, unspent, and takes others."""
    await add(database, *dead(1, 2), *good(1), *dead(3), *good(2), due_at=START)
    before = await row(database, 1)
    assert [3, 5] == await sent(database, work, free_slots=2)
    changed = {"held_host": HOST, "due_at": START + DAY, "error": f"its host is held: {WHY}"}
    assert {**before, **changed} == await row(database, 1)
    assert {1: "held", 2: "held", 3: "submitting", 4: "held", 5: "submitting"} == await states(
        database
    )
    assert [] == await facts(database, 1)
    assert [3] == [each.videos for each in await held(database)]


async def test_the_number_postponed_at_once_is_bounded(
    database: Database, work: QueueTransaction
) -> None:
    """The lock is released between batches of postponed rows; the next claim follows at once."""
    await add(database, *dead(*range(INVALID_AT_ONCE + 50)), due_at=START)
    await add(database, *good(1), due_at=START, priority=-1)
    done = await write(database, work, free_slots=1)
    assert (WaitReason.PACE, START, 0) == (
        done.claimed.reason,
        done.claimed.until,
        len(done.claimed.starts),
    )
    assert INVALID_AT_ONCE == [*(await states(database)).values()].count("held")
    assert [INVALID_AT_ONCE + 51] == await sent(database, work, free_slots=1)


async def test_nothing_is_paid_where_no_host_is_held(
    database: Database, work: QueueTransaction
) -> None:
    """Without a held host, a claim and a look at the queue ask nothing about hosts."""
    await database.write(lambda c: hosts.release(c, HOST, START), "test")
    await add(database, *good(1, 2), due_at=START)
    asked: list[str] = []

    def listened(connection: Connection) -> Committed:
        stop = overhear(connection, asked.append)
        work.peek(connection)
        done = work.write(connection, (), 1)
        work.peek(connection)
        stop()
        return done

    assert 1 == len((await database.write(listened, "test")).claimed.starts)
    assert [] == [each for each in asked if " hosts" in each]
    assert asked


async def test_one_probe_goes_in_each_period(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """The oldest held video goes as a probe after 15 minutes, the next after 30 more, then 60."""
    await add(database, *dead(1, 2, 3, 4), due_at=START)
    await add(database, *good(1), due_at=START + 9 * DAY)
    assert [] == await sent(database, work)
    for number, minutes in ((1, 15), (2, 30), (3, 60)):
        hands.pass_seconds(60 * minutes - 1)
        assert [] == await sent(database, work)
        hands.pass_seconds(1)
        assert [number] == await sent(database, work)
        assert [] == await sent(database, work)
        (host,) = await held(database)
        assert (number, number) == (host.probes, host.probe_video)
    (host,) = await held(database)
    assert hands.wall + timedelta(minutes=120) == host.probe_at
    assert 1 == host.videos


async def test_a_probe_goes_before_all_that_is_due(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A probe goes at its time, however much is due at a higher priority."""
    await add(database, *dead(1), due_at=START)
    await sent(database, work)
    await add(database, *good(*range(9)), priority=9, due_at=START)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    assert [1, 2] == await sent(database, work, free_slots=2)


async def test_six_processes_send_one_probe(
    database: Database, hands: Hands, url: str, work: QueueTransaction
) -> None:
    """Of six processes that claim at once, one sends the probe."""
    await add(database, *dead(*range(20)), due_at=START)
    await sent(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(open_database(url)) for _ in range(6)]
        works = [transaction(hands.clock, worker=f"worker-{n}") for n in range(6)]
        taken = await asyncio.gather(*(sent(*each) for each in zip(fleet, works, strict=True)))
    assert [1] == sorted(number for numbers in taken for number in numbers)


async def test_a_claim_that_is_rolled_back_leaves_the_probe(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A process that dies before its commit has sent no probe, and the next one sends it."""
    await add(database, *dead(1, 2), due_at=START)
    await sent(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())

    def die(connection: Connection) -> None:
        assert work.write(connection, (), 9).claimed.starts
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(die, "test")
    assert {1: "held", 2: "held"} == await states(database)
    assert [1] == await sent(database, work)


async def test_a_probe_without_an_end_is_followed_by_the_next(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A probe whose process died in flight comes into doubt; the next goes after its period."""
    await add(database, *dead(1, 2, 3), due_at=START)
    await sent(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    assert [1] == await sent(database, work)
    hands.pass_seconds(2 * FIRST_WAIT.total_seconds() - 1)
    assert [] == await sent(database, work)
    assert {1: "in_doubt", 2: "held", 3: "held"} == await states(database)
    hands.pass_seconds(1)
    assert [2] == await sent(database, work)


async def test_a_probe_that_ends_well_lets_all_go(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """When the probe's job has ended well, the held videos are due at once."""
    await add(database, *dead(1, 2, 3), due_at=START)
    await sent(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    (probe,) = await claim(database, work)
    await ended(database, work, probe, Accepted("probe", 200))
    hands.pass_seconds(60)
    done = {"ended_as": "finished", "ended_at": hands.wall, "host": HOST}

    def finish(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE jobs SET transfer_status = 'finished'")
        connection.execute(update(videos.metadata.tables["jobs"]).values(done).where(IS_PROBE))
        hosts.judge(connection, HOST, hands.wall)

    await database.write(finish, "test")
    assert [] == await held(database)
    assert [2, 3] == await sent(database, work)


IS_PROBE = videos.metadata.tables["jobs"].c.job_id == "probe"


async def test_a_probe_that_is_given_back_is_held_again(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A probe that its process gives back unsent is held again, and waits for no other day."""
    await add(database, *dead(1), due_at=START)
    await sent(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    (probe,) = await claim(database, work)
    await ended(database, work, probe, Released("stopped"))
    back = await row(database, 1)
    assert ("pending", None, hands.wall) == (back["state"], back["held_host"], back["due_at"])
    assert [] == await sent(database, work)
    assert {1: "held"} == await states(database)
    hands.pass_seconds(2 * FIRST_WAIT.total_seconds())
    assert [1] == await sent(database, work)


async def test_a_row_that_cannot_be_sent_is_no_probe(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A held video that cannot be sent is closed, and the next one is the probe."""
    await add(database, f"https://{HOST}/a b", *dead(2, 3), due_at=START)
    await sent(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    done = await write(database, work)
    assert [1] == [closed.result.claim.video_id for closed in done.closed]
    assert [2] == [start.claim.video_id for start in done.claimed.starts]
    assert {1: "failed", 2: "submitting", 3: "held"} == await states(database)
    assert [1] == [each.probes for each in await held(database)]


async def test_a_corrected_link_leaves_the_brake(
    database: Database, work: QueueTransaction, plain: Plain
) -> None:
    """A held row whose link another program corrects is held no more, and due."""
    await add(database, *dead(1, 2), due_at=START)
    await sent(database, work)
    plain.execute("UPDATE videos SET url = ? WHERE id = 1", *good(7))
    assert {1: "pending", 2: "held"} == await states(database)
    assert (await row(database, 1))["due_at"] < datetime.now(UTC) + DAY / 2  # type: ignore[operator]


async def test_a_wrong_mark_makes_no_probe(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A row that is marked as held for another host than its own goes by its own, as no probe."""
    await add(database, *good(1), due_at=START + DAY, held_host=HOST)
    await add(database, *dead(2), due_at=START)
    assert [] == await sent(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    assert [1] == await sent(database, work, free_slots=1)
    assert [0] == [each.probes for each in await held(database)]
    assert [2] == await sent(database, work, free_slots=1)
    assert [1] == [each.probes for each in await held(database)]


async def test_a_row_that_is_made_due_is_held_again(
    database: Database, work: QueueTransaction, plain: Plain
) -> None:
    """A held row that another program makes due is postponed again."""
    await add(database, *dead(1), due_at=START)
    await sent(database, work)
    plain.execute("UPDATE videos SET due_at = ? WHERE id = 1", "2026-01-01 11:00:00")
    assert [] == await sent(database, work)
    again = await row(database, 1)
    assert (HOST, START + DAY) == (again["held_host"], again["due_at"])


async def test_a_retried_row_is_free_until_it_is_judged(
    database: Database, work: QueueTransaction
) -> None:
    """A cancelled row is held no more; retried, it is held again while its host is."""
    await add(database, *dead(1), due_at=START)
    await sent(database, work)
    one = search.Filter(ids=(1,))
    await database.write(lambda c: changes.cancel(c, one, START, "person:me"), "test")
    assert {1: "cancelled"} == await states(database)
    assert [0] == [each.videos for each in await held(database)]
    await database.write(
        lambda c: changes.retry(c, one, doubts=False, now=START, who="person:me"), "test"
    )
    assert {1: "pending"} == await states(database)
    assert [] == await sent(database, work)
    assert {1: "held"} == await states(database)


async def test_a_claim_clears_an_old_mark(database: Database, work: QueueTransaction) -> None:
    """A due row with the mark of a host that is not held is claimed, and loses the mark."""
    await add(database, *good(1), due_at=START, held_host="good.example")
    assert [1] == await sent(database, work)
    assert {1: "submitting"} == await states(database)


async def test_the_next_probe_is_waited_for(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """Where only held videos are left, the next probe is the moment to claim at. Beside videos
    that are due later it is no reason, but the moment still.
    """
    await add(database, *dead(1, 2), due_at=START)
    await sent(database, work)
    probe_at = START + FIRST_WAIT
    assert ClaimResult(reason=WaitReason.HOSTS, until=probe_at) == await peek(database, work)
    await add(database, *good(1), due_at=START + DAY)
    assert ClaimResult(reason=WaitReason.LATER, until=probe_at) == await peek(database, work)
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    assert await peek(database, work) is None


async def test_a_held_host_without_videos_is_waited_for_by_none(
    database: Database, work: QueueTransaction
) -> None:
    """A held host of which no video is left does not keep a queue awake."""
    assert ClaimResult(reason=WaitReason.NOTHING) == await peek(database, work)


async def test_a_host_without_videos_is_probed_with_the_next(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A host that is due for a probe without a video keeps no other from its own, and is probed as
    soon as one of its videos is there.
    """
    await ends(database, *["badly"] * 3, at=START, host="other.example")
    await add(database, "https://other.example/1.mp4", due_at=START)
    assert [] == await sent(database, work, free_slots=1)
    hands.pass_seconds(FIRST_WAIT.total_seconds() + 2)
    assert [1] == await sent(database, work, free_slots=1)
    await add(database, *dead(2, 3), due_at=START)
    assert [] == await sent(database, work, free_slots=1)
    assert [2] == await sent(database, work, free_slots=1)
    assert [] == await sent(database, work, free_slots=1)


async def test_a_pause_holds_probes_as_well(
    database: Database, work: QueueTransaction, hands: Hands, plain: Plain
) -> None:
    """Nothing is claimed or postponed during a pause, no probe either."""
    await add(database, *dead(1, 2), due_at=START)
    await sent(database, work)
    plain.execute("UPDATE account SET paused_at = '2026-01-01 12:00:00'")
    hands.pass_seconds(FIRST_WAIT.total_seconds())
    assert [] == await sent(database, work)
    assert {1: "held", 2: "held"} == await states(database)
