from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

import pytest
from sqlalchemy import Connection, insert, text, update

from tests.conftest import START, Hands, open_database
from tests.parts import add, facts, later, let_start, overhear, row, take, transaction
from tests.plain import Plain, session
from worker.core.model import (
    Accepted,
    AccountRefused,
    Cap,
    Claim,
    CoolDown,
    Expired,
    InDoubt,
    NotSent,
    Outcome,
    Refused,
    Result,
    State,
    Throttled,
    TryLater,
)
from worker.core.pace import Brake
from worker.core.reasons import ClaimResult, WaitReason
from worker.core.upload import Setback
from worker.db.database import Database
from worker.db.schema import account, hosts, videos
from worker.runner.model import Committed
from worker.runner.pacer import LONGEST_COOL_DOWN_SECONDS
from worker.runner.transaction import INVALID_AT_ONCE, QueueTransaction
from worker.store import changes, leases, relocation, shared_state, uploads
from worker.store.shared_state import SharedState
from worker.store.uploads import Reach

GAP = timedelta(microseconds=1020)
"""Between two starts under ``SETTINGS``: a second and the margin, a thousandth of both."""


@pytest.fixture
def work(hands: Hands) -> QueueTransaction:
    """Return the transaction of one process."""
    return transaction(hands.clock)


@pytest.fixture(autouse=True)
async def _started(database: Database) -> None:
    """Let the pace's next start be the start of the test."""
    await let_start(database, START)


async def write(
    database: Database, work: QueueTransaction, *results: Result, free_slots: int = 0
) -> Committed:
    """Do one transaction."""
    return await database.write(lambda c: work.write(c, results, free_slots), "test")


async def due(database: Database, count: int, **columns: object) -> None:
    """Insert videos that are due at the start."""
    urls = [f"https://example.org/{number}.mp4" for number in range(count)]
    await add(database, *urls, **{"due_at": START, **columns})


async def known(database: Database) -> SharedState:
    """Return the shared state as it stands."""
    return await database.read(shared_state.read)


def note(claim: Claim, outcome: Outcome, *, started_at: datetime | None = START) -> Result:
    """Return a result to write."""
    return Result(claim=claim, outcome=outcome, started_at=started_at)


async def cool(database: Database, until: datetime, reason: str = "too fast") -> None:
    """Begin a cool-down."""
    await database.write(lambda c: shared_state.cool_down(c, until, reason, START), "test")


async def pause(database: Database, reason: str | None = "lunch") -> None:
    """Pause the queue as a person."""
    sql = text("UPDATE account SET paused_at = '2026-01-01 11:00:00', pause_reason = :reason")
    await database.write(lambda c: c.execute(sql, {"reason": reason}), "test")


async def test_starts_are_spaced_evenly(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """Law 10: each start is exactly one step after the one before, on the loop's clock."""
    await due(database, 5)
    turn = (await write(database, work, free_slots=5)).claimed
    assert [1, 2, 3, 4, 5] == [start.claim.video_id for start in turn.starts]
    assert [pytest.approx(1000 + place * 0.00102) for place in range(5)] == [
        start.at for start in turn.starts
    ]
    assert [hands.seconds + 70.0] * 5 == [start.lease_ends for start in turn.starts]
    assert [START + timedelta(seconds=70)] * 5 == [s.claim.lease_until for s in turn.starts]
    assert (WaitReason.PACE, START) == (turn.reason, turn.until)
    assert START + 5 * GAP == (await known(database)).next_start_at


async def test_starts_are_at_most_100_ms_ahead(database: Database, work: QueueTransaction) -> None:
    """Law 12: what is claimed is what can be sent now, however much is due and free."""
    await due(database, 200)
    turn = (await write(database, work, free_slots=200)).claimed
    assert 99 == len(turn.starts)
    assert 1000.0 + 98 * 0.00102 == pytest.approx(turn.starts[-1].at)
    assert 1000.1 >= turn.starts[-1].at
    assert START + 99 * GAP == (await known(database)).next_start_at
    assert "pending" == (await row(database, 100))["state"]


@pytest.mark.parametrize(("room", "count", "claimed"), [(10, 3, 3), (3, 10, 3), (4, 0, 0)])
async def test_the_pace_is_charged_what_was_claimed(
    database: Database, work: QueueTransaction, room: int, count: int, claimed: int
) -> None:
    """Law 12: only claims spend starts. Free slots or due videos alone spend none."""
    if count:
        await due(database, count)
    turn = (await write(database, work, free_slots=room)).claimed
    assert claimed == len(turn.starts)
    assert START + claimed * GAP == (await known(database)).next_start_at


async def test_a_claim_of_nothing_moves_nothing(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A claim of nothing leaves the pace as it was, and with it the time since the last real
    start.
    """
    hands.pass_seconds(10)
    await write(database, work, free_slots=5)
    assert START == (await known(database)).next_start_at


async def test_starts_begin_where_the_last_ones_ended(
    database: Database, work: QueueTransaction
) -> None:
    """Law 10: the starts of a claim follow those reserved by the one before."""
    await due(database, 80)
    await let_start(database, later(START, 0.04))
    turn = (await write(database, work, free_slots=80)).claimed
    assert 1000.04 == pytest.approx(turn.starts[0].at)
    assert 59 == len(turn.starts)


async def test_time_without_starts_is_no_credit(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """Law 10: after a quiet hour the pace is unchanged and begins now."""
    await due(database, 2)
    hands.pass_seconds(3600)
    turn = (await write(database, work, free_slots=2)).claimed
    assert [4600.0, pytest.approx(4600.00102)] == [start.at for start in turn.starts]
    assert later(START, 3600) + 2 * GAP == (await known(database)).next_start_at


async def test_too_few_starts_are_waited_for(database: Database, work: QueueTransaction) -> None:
    """A claim with too few starts waits until the pace has room for more."""
    await due(database, 1)
    await let_start(database, later(START, 0.09))
    expected = ClaimResult(
        reason=WaitReason.PACE, until=later(START, 0.09) + 48 * GAP - timedelta(seconds=0.1)
    )
    assert expected == (await write(database, work, free_slots=1)).claimed
    assert later(START, 0.09) == (await known(database)).next_start_at
    assert expected == await database.read(work.peek)


async def test_two_processes_share_one_spacing(url: str, database: Database, hands: Hands) -> None:
    """Law 10: on one database no two starts are nearer than a step, whichever process claims."""
    await due(database, 60)
    works = [transaction(hands.clock, worker=f"worker-{n}", rate=100) for n in range(2)]
    starts: list[tuple[float, int]] = []
    async with open_database(url) as other:
        for place in range(40):
            done = await write((database, other)[place % 2], works[place % 2], free_slots=8)
            starts += [(start.at, place % 2) for start in done.claimed.starts]
            hands.pass_seconds(0.0137)
    gaps = [after - before for (before, _), (after, _) in pairwise(starts)]
    assert pytest.approx(0.0102) == min(gaps)
    assert {0, 1} == {who for _, who in starts}
    assert 50 < len(starts)
    assert 60 >= len(starts)


async def test_a_pause_lets_nothing_be_claimed(database: Database, work: QueueTransaction) -> None:
    """During a person's pause nothing is claimed, and results are still settled."""
    await due(database, 2)
    (claim,) = await take(database, START)
    await pause(database)
    done = await write(database, work, note(claim, Accepted("job-1", 200)), free_slots=5)
    assert ClaimResult(reason=WaitReason.PAUSE, detail="lunch") == done.claimed
    assert ClaimResult(reason=WaitReason.PAUSE, detail="lunch") == await database.read(work.peek)
    assert ["submitted", "pending"] == [(await row(database, n))["state"] for n in (1, 2)]
    assert START == (await known(database)).next_start_at


async def moved(database: Database) -> None:
    """Mark the queue as moved."""
    await database.write(lambda c: relocation.mark(c, "sqlite:///b.db"), "test")


async def test_a_queue_that_has_moved_is_claimed_from_no_more(
    database: Database, work: QueueTransaction
) -> None:
    """From a queue that has moved nothing is claimed, and results are still settled."""
    await due(database, 2)
    (claim,) = await take(database, START)
    await moved(database)
    done = await write(database, work, note(claim, Accepted("job-1", 200)), free_slots=5)
    assert ClaimResult(reason=WaitReason.MOVED, detail="sqlite:///b.db") == done.claimed
    assert ClaimResult(reason=WaitReason.MOVED, detail="sqlite:///b.db") == await database.read(
        work.peek
    )
    assert ["submitted", "pending"] == [(await row(database, n))["state"] for n in (1, 2)]


async def test_a_mark_between_look_and_claim_is_seen(
    database: Database, work: QueueTransaction
) -> None:
    """A claim sees that the queue has moved since the peek."""
    await due(database, 1)
    assert await database.read(work.peek) is None
    await moved(database)
    assert WaitReason.MOVED is (await write(database, work, free_slots=5)).claimed.reason
    assert "pending" == (await row(database, 1))["state"]


async def test_a_queue_that_has_moved_is_paused_no_more(
    database: Database, work: QueueTransaction
) -> None:
    """A queue that has moved is reported as moved, even if it is paused."""
    await pause(database)
    await moved(database)
    assert WaitReason.MOVED is (await write(database, work, free_slots=5)).claimed.reason
    seen = await database.read(work.peek)
    assert seen is not None
    assert WaitReason.MOVED is seen.reason


async def test_a_pause_needs_no_reason(database: Database, work: QueueTransaction) -> None:
    """A pause without a reason holds as well."""
    await due(database, 1)
    await pause(database, None)
    assert (
        ClaimResult(reason=WaitReason.PAUSE) == (await write(database, work, free_slots=5)).claimed
    )
    assert ClaimResult(reason=WaitReason.PAUSE) == await database.read(work.peek)


async def test_a_cool_down_lets_nothing_be_claimed(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """During a cool-down nothing is claimed, and its reason is reported. Starts go on from its
    end.
    """
    await due(database, 1)
    await cool(database, later(START, 7))
    detail = "a cool-down until 2026-01-01 12:00:07 UTC (too fast)"
    expected = ClaimResult(reason=WaitReason.COOL_DOWN, until=later(START, 7), detail=detail)
    assert expected == (await write(database, work, free_slots=5)).claimed
    assert expected == await database.read(work.peek)
    hands.pass_seconds(6.999999)
    assert expected == (await write(database, work, free_slots=5)).claimed
    hands.pass_seconds(0.000001)
    (start,) = (await write(database, work, free_slots=5)).claimed.starts
    assert 1007.0 == pytest.approx(start.at)


async def test_a_throttled_request_slows_everybody_down(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A 429 begins a cool-down for all processes, a little longer than it says. Then the pace
    is lower than the setting.
    """
    await due(database, 20)
    (claim,) = await take(database, START)
    hands.pass_seconds(1)
    done = await write(database, work, note(claim, Throttled("slow down", 429, 60.0)), free_slots=9)
    until = later(START, 1 + 63)
    detail = f"a cool-down until {until:%Y-%m-%d %H:%M:%S} UTC (slow down)"
    assert ClaimResult(reason=WaitReason.COOL_DOWN, until=until, detail=detail) == done.claimed
    assert Brake(low=900.0, ceiling=900.0, cut_at=until) == (await known(database)).brake
    hands.pass_seconds(63)
    starts = (await write(database, work, free_slots=9)).claimed.starts
    assert 9 == len(starts)
    assert pytest.approx(8 * 1.02 / 900, abs=1e-5) == starts[-1].at - starts[0].at


def daemon(hands: Hands) -> QueueTransaction:
    """Return the work of a daemon that probes a cool-down after a minute."""
    work = transaction(hands.clock, retry_after_max_seconds=60.0)
    return replace(work, pacer=replace(work.pacer, probe_after=timedelta(seconds=60)))


LONG = 86_400.0


async def probed(database: Database, hands: Hands, work: QueueTransaction, ends: Outcome) -> None:
    """Let a daemon meet a cool-down of a day and send its probe, which ends in this."""
    await due(database, 20)
    (claim,) = await take(database, START)
    await write(database, work, note(claim, Throttled("slow", 429, LONG)))
    hands.pass_seconds(59.999)
    assert () == (await write(database, work, free_slots=9)).claimed.starts
    hands.pass_seconds(0.001)
    (start,) = (await write(database, work, free_slots=9)).claimed.starts
    assert () == (await write(database, daemon(hands), free_slots=9)).claimed.starts
    hands.pass_seconds(1)
    await write(database, work, note(start.claim, ends, started_at=hands.wall))


@pytest.mark.parametrize("ends", [Accepted("j", 200), Refused("no", 400)])
async def test_a_long_cool_down_ends_with_a_clear_answer_to_its_probe(
    database: Database, hands: Hands, ends: Outcome
) -> None:
    """A daemon sends one request once a cool-down is as old as the setting says. A clear answer
    ends it, and the pace climbs from then on.
    """
    work = daemon(hands)
    await probed(database, hands, work, ends)
    assert None is (await known(database)).cooling(hands.wall)
    assert hands.wall == (await known(database)).brake.cut_at  # type: ignore[union-attr]
    assert 9 == len((await write(database, work, free_slots=9)).claimed.starts)


async def test_a_probe_that_is_turned_away_says_the_new_end(
    database: Database, hands: Hands
) -> None:
    """The time that a probe is told takes the place of the old one, be it sooner or later."""
    work = daemon(hands)
    await probed(database, hands, work, Throttled("slower", 429, 30.0))
    assert later(hands.wall, 31.5) == (await known(database)).cool_down_until
    hands.pass_seconds(31.5)
    assert 9 == len((await write(database, work, free_slots=9)).claimed.starts)


@pytest.mark.parametrize("ends", [InDoubt("lost"), NotSent("no"), AccountRefused("no", 401)])
async def test_a_probe_without_a_clear_answer_leaves_the_cool_down(
    database: Database, hands: Hands, ends: Outcome
) -> None:
    """Only an answer ends a cool-down; the next probe goes a whole age later."""
    work = daemon(hands)
    await probed(database, hands, work, ends)
    assert (await known(database)).cooling(hands.wall)
    hands.pass_seconds(58.999)
    assert () == (await write(database, work, free_slots=9)).claimed.starts
    hands.pass_seconds(0.001)
    assert 1 == len((await write(database, work, free_slots=9)).claimed.starts)


async def test_an_old_answer_ends_no_cool_down(database: Database, hands: Hands) -> None:
    """An answer to a request from before the probe says nothing of the cool-down."""
    await due(database, 3)
    one, other = await take(database, START, limit=2)
    work = daemon(hands)
    await write(database, work, note(one, Throttled("slow", 429, LONG)))
    hands.pass_seconds(60)
    assert 1 == len((await write(database, work, free_slots=9)).claimed.starts)
    await write(database, work, note(other, Accepted("j", 200)))
    assert (await known(database)).cooling(hands.wall)


async def test_a_drain_leaves_a_long_cool_down_as_it_is(database: Database, hands: Hands) -> None:
    """A drain sends nothing before the end that was told, however old the cool-down."""
    await due(database, 3)
    (claim,) = await take(database, START)
    work = transaction(hands.clock, retry_after_max_seconds=60.0)
    await write(database, work, note(claim, Throttled("slow", 429, LONG)))
    hands.pass_seconds(3_600)
    claimed = (await write(database, work, free_slots=9)).claimed
    assert (WaitReason.COOL_DOWN, later(START, LONG * 1.05)) == (claimed.reason, claimed.until)


@pytest.mark.parametrize(
    ("told", "dice", "seconds"),
    [
        (60.0, 0.0, 60.0),
        (60.0, 0.5, 63.0),
        (60.0, 1.0, 66.0),
        (0.0, 0.5, 0.0),
        (None, 0.0, 1.0),
        (None, 0.5, 1.05),
        (1e9, 0.0, LONGEST_COOL_DOWN_SECONDS),
        (float("inf"), 1.0, LONGEST_COOL_DOWN_SECONDS * 1.1),
    ],
)
async def test_a_pause_is_never_shorter_than_told(
    database: Database, hands: Hands, told: float | None, dice: float, seconds: float
) -> None:
    """A cool-down lasts Retry-After and a jitter on top, which spreads the processes."""
    await due(database, 1)
    (claim,) = await take(database, START)
    work = transaction(hands.clock)
    work = replace(work, pacer=replace(work.pacer, dice=lambda: dice))
    await write(database, work, note(claim, Throttled("slow down", 429, told)))
    assert later(START, seconds) == (await known(database)).cool_down_until


async def test_one_flight_lowers_the_pace_once(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """Several 429s to requests that began before the first of them lower the pace once."""
    await due(database, 3)
    claims = await take(database, START, limit=3)
    hands.pass_seconds(1)
    notes = [note(claim, Throttled("slow down", 429, 2.0)) for claim in claims]
    await write(database, work, *notes[:2])
    await write(database, work, notes[2])
    brake = (await known(database)).brake
    assert brake is not None
    assert 900.0 == brake.low


async def test_what_was_not_sent_slows_nobody_down(
    database: Database, work: QueueTransaction
) -> None:
    """Only an answer of the API lowers the pace."""
    await due(database, 1)
    (claim,) = await take(database, START)
    await write(database, work, note(claim, Throttled("slow down", 429, 60.0), started_at=None))
    assert (None, None) == ((await known(database)).cool_down_until, (await known(database)).brake)


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (TryLater("busy", 503, 20.0), 21.0),
        (TryLater("busy", 503, 20.0, spent=False), 21.0),
        (TryLater("busy", 503, 0.0), 0.0),
        (TryLater("busy", 503), None),
        (AccountRefused("who?", 401), None),
        (NotSent("no route"), None),
        (InDoubt("no answer"), None),
        (Accepted("job-1", 200), None),
    ],
)
async def test_try_later_with_a_time_is_everybodys_pause(
    database: Database, work: QueueTransaction, outcome: Outcome, seconds: float | None
) -> None:
    """A 503 that names a time is a cool-down for all, and one that names none delays its video.
    The pace stays.
    """
    await due(database, 1)
    (claim,) = await take(database, START)
    await write(database, work, note(claim, outcome))
    account_now = await known(database)
    expected = None if seconds is None else later(START, seconds)
    assert expected == account_now.cool_down_until
    assert account_now.brake is None


async def test_the_breakers_pause_is_written_with_its_ending(
    database: Database, work: QueueTransaction
) -> None:
    """Law 13: the breaker's cool-down holds every process on the database."""
    await due(database, 1)
    (claim,) = await take(database, START)
    ending = Result(claim=claim, outcome=InDoubt("no answer"), started_at=START)
    await write(database, work, replace(ending, cool_down=CoolDown(30.0, "a crowd of doubts")))
    account_now = await known(database)
    assert (later(START, 30), "a crowd of doubts") == (
        account_now.cool_down_until,
        account_now.cool_down_reason,
    )


async def test_the_climb_waits_while_nothing_is_sent(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """The pace does not climb while nothing is sent."""
    await due(database, 20)
    await database.write(
        lambda c: shared_state.brake(c, Brake(low=100.0, ceiling=500.0, cut_at=START)), "test"
    )
    hands.pass_seconds(36_000)
    starts = (await write(database, work, free_slots=5)).claimed.starts
    assert pytest.approx(4 * 0.0102) == starts[-1].at - starts[0].at
    resumed = Brake(low=100.0, ceiling=500.0, cut_at=later(START, 36_000))
    assert resumed == (await known(database)).brake
    hands.pass_seconds(0.06)
    assert [] != (await write(database, work, free_slots=5)).claimed.starts
    assert resumed == (await known(database)).brake


EXPIRED = (
    "https://bucket.s3.amazonaws.com/a.mp4?X-Amz-Date=20251231T000000Z&X-Amz-Expires=60"
    "&X-Amz-Signature=abc"
)


async def test_what_cannot_be_sent_is_closed_on_the_way(
    dialect: str, plain: Plain, database: Database, work: QueueTransaction
) -> None:
    """A row that cannot be sent costs neither a start nor an attempt, and stops no other."""
    unreadable: str | bytes = b"https://example.org/\xff.mp4"
    wrong = "UTF-8"
    if dialect == "postgresql":  # which lets no such bytes in
        unreadable, wrong = "//e.org/0.mp4", "http"
    insert = "INSERT INTO videos (url, due_at) VALUES (CAST(? AS TEXT), '2026-01-01 12:00:00')"
    for url in (EXPIRED, "not a url", unreadable, "https://e.org/1.mp4"):
        plain.execute(insert, url)
    plain.execute(insert, "ftp://e.org/2.mp4")
    plain.execute(insert, "https://e.org/3.mp4")
    done = await write(database, work, free_slots=2)
    assert [4, 6] == [start.claim.video_id for start in done.claimed.starts]
    assert [1000.0, pytest.approx(1000.00102)] == [start.at for start in done.claimed.starts]
    assert START + 2 * GAP == (await known(database)).next_start_at
    assert [1, 2, 3, 5] == [closed.result.claim.video_id for closed in done.closed]
    for closed, part in zip(done.closed, ("signed", "url: holds", wrong, "http"), strict=True):
        video_id = closed.result.claim.video_id
        stored = await row(database, video_id)
        assert ("failed", 0, 1) == (stored["state"], stored["attempts"], stored["claims"])
        assert part in str(stored["error"])
        assert [(1, "invalid")] == await facts(database, video_id)
        assert closed.written is not None
        assert State.FAILED is closed.written.state
        assert closed.result.started_at is None
    assert [] == await facts(database, 4)


async def test_a_link_must_outlive_the_margin(database: Database, hands: Hands) -> None:
    """A signed link is sent only if it lives as long as the setting says."""
    link = EXPIRED.replace("20251231T000000Z", "20260101T120000Z").replace("=60&", "=3600&")
    await add(database, link, link, due_at=START)
    strict = transaction(hands.clock, url_margin_seconds=3600.001)
    assert 2 == len((await write(database, strict, free_slots=2)).closed)
    await add(database, link, due_at=START)
    assert 1 == len((await write(database, transaction(hands.clock), free_slots=1)).claimed.starts)


async def test_others_get_their_turn_between_unsendable_rows(
    database: Database, work: QueueTransaction
) -> None:
    """The lock is released between batches of rows that cannot be sent."""
    await add(database, *(f"nonsense {n}" for n in range(INVALID_AT_ONCE + 100)), due_at=START)
    await due(database, 1, priority=-1)
    done = await write(database, work, free_slots=99)
    assert () == done.claimed.starts
    assert INVALID_AT_ONCE <= len(done.closed)
    assert INVALID_AT_ONCE + 99 > len(done.closed)
    assert (WaitReason.PACE, START) == (done.claimed.reason, done.claimed.until)
    assert START == (await known(database)).next_start_at
    assert 1 == len((await write(database, work, free_slots=99)).claimed.starts)


AGAIN = "to buy it a second time: valossa-ingest retry id={} --may-buy-twice"


async def test_law_17_one_address_goes_once_in_one_claim(
    database: Database, work: QueueTransaction
) -> None:
    """Law 17: of rows with one address the first that can be sent goes; the others are closed
    without a request and without an attempt. A row that may be bought twice goes as well.
    """
    await add(database, "https://a.example/1", face_gallery_id="\ufdd0", due_at=START)
    await add(database, *["https://a.example/2"] * 2, "https://a.example/1", due_at=START)
    await add(database, "https://a.example/2", due_at=START, may_buy_twice=1)
    await add(database, "https://a.example/2", due_at=START)
    done = await write(database, work, free_slots=9)
    assert [1, 2, 5] == [start.claim.video_id for start in done.claimed.starts]
    assert [3, 4, 6] == [each.result.claim.video_id for each in done.closed]
    for number, first in ((3, 2), (4, 1), (6, 2)):
        closed = await row(database, number)
        assert ("failed", 0, 1) == (closed["state"], closed["attempts"], closed["claims"])
        sentence = f"url: is that of video {first}, which is in flight; {AGAIN.format(number)}"
        assert sentence == closed["error"]
        assert [(1, "invalid")] == await facts(database, number)


@pytest.mark.parametrize(
    ("fields", "how"),
    [
        ({"state": "submitted", "job_id": "J7"}, "has job J7"),
        ({"state": "in_doubt"}, "is in doubt"),
    ],
)
async def test_law_17_the_error_of_a_bought_address_names_the_job_and_the_way_out(
    database: Database, work: QueueTransaction, fields: dict[str, object], how: str
) -> None:
    """Law 17: a row that is closed for its address names the other one, and the command that buys
    it all the same. An unsendable row before it does not count.
    """
    await add(database, "https://a.example/1", **fields)
    await add(database, "https://a.example/1", due_at=START)
    done = await write(database, work, free_slots=9)
    assert () == done.claimed.starts
    sentence = f"url: is that of video 1, which {how}; {AGAIN.format(2)}"
    assert sentence == (await row(database, 2))["error"]
    assert START == (await known(database)).next_start_at


async def test_law_17_an_unsendable_row_keeps_its_address_from_no_other(
    database: Database, work: QueueTransaction
) -> None:
    """A row that cannot be sent has not bought its address: the next one of it goes."""
    await add(database, "https://a.example/1", callback_url="nonsense", due_at=START)
    await add(database, "https://a.example/1", due_at=START)
    done = await write(database, work, free_slots=9)
    assert [2] == [start.claim.video_id for start in done.claimed.starts]
    assert "callback_url: " in str((await row(database, 1))["error"])


async def test_a_clock_that_stepped_back_is_repaired(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """A start reserved by a clock that ran an hour ahead costs no hour."""
    await due(database, 1)
    await let_start(database, later(START, 3600))
    assert await database.read(work.peek) is None
    done = await write(database, work, free_slots=1)
    assert ClaimResult(reason=WaitReason.PACE, until=later(START, 0.1) + GAP) == done.claimed
    assert later(START, 0.1) + GAP == (await known(database)).next_start_at
    hands.pass_seconds(0.1)
    assert 1 == len((await write(database, work, free_slots=1)).claimed.starts)


async def test_a_clock_that_stepped_back_in_a_cool_down(
    database: Database, work: QueueTransaction
) -> None:
    """The repair of a clock's step does not end a cool-down."""
    await let_start(database, later(START, 3600))
    await cool(database, later(START, 60))
    turn = (await write(database, work, free_slots=1)).claimed
    assert WaitReason.COOL_DOWN is turn.reason
    assert later(START, 0.1) + GAP == (await known(database)).next_start_at


async def set_clock(
    database: Database, hands: Hands, seconds: float, *works: QueueTransaction
) -> None:
    """Let these processes do a transaction, then set the wall clock."""
    for work in works:
        await write(database, work, free_slots=1)
    hands.wall += timedelta(seconds=seconds)


HOURS = timedelta(hours=2)
"""A cool-down that is longer than any drain sits out."""


@pytest.mark.parametrize("back", [3600, 86_400])
async def test_a_step_back_leaves_a_cool_down_its_length(
    database: Database, hands: Hands, back: float
) -> None:
    """After a step of the clock a cool-down lasts as long as before, the same for every
    process. One that is long by right is not cut.
    """
    await due(database, 1, due_at=later(START, -2 * back))
    await cool(database, START + HOURS)
    first = transaction(hands.clock)
    assert START + HOURS == (await write(database, first, free_slots=1)).claimed.until
    hands.wall -= timedelta(seconds=back)
    fresh = [transaction(hands.clock) for _ in range(2)]
    for each in (first, *fresh):
        assert hands.wall + HOURS == (await write(database, each, free_slots=1)).claimed.until
    hands.pass_seconds(60)
    assert hands.wall + HOURS == later((await known(database)).cool_down_until or START, 60)
    hands.pass_seconds(HOURS.total_seconds() - 60)
    assert 1 == len((await write(database, fresh[0], free_slots=1)).claimed.starts)


@pytest.mark.parametrize("column", ["moved_to", "paused_at"])
async def test_a_queue_that_claims_nothing_keeps_its_pace(
    database: Database, work: QueueTransaction, column: str
) -> None:
    """A start that lies too far ahead is repaired by who claims, not in a moved or paused queue."""
    await due(database, 1)
    far = START + timedelta(hours=1)
    await let_start(database, far)
    value = "'sqlite:///b.db'" if column == "moved_to" else "'2026-01-01 11:00:00'"
    await database.write(
        lambda c: c.execute(text(f"UPDATE account SET {column} = {value}")), "test"
    )
    claimed = (await write(database, work, free_slots=1)).claimed
    expected = WaitReason.MOVED if column == "moved_to" else WaitReason.PAUSE
    assert (expected, far) == (claimed.reason, (await known(database)).next_start_at)


async def test_a_step_back_moves_pace_and_brake(database: Database, hands: Hands) -> None:
    """After a step back a reserved start keeps its distance, and so does a half-done climb. The
    pace is neither stuck nor begun anew.
    """
    await due(database, 9)
    work, other = transaction(hands.clock, rate=1), transaction(hands.clock, rate=1)
    await write(database, work, free_slots=1)
    brake = Brake(low=0.5, ceiling=1.0, cut_at=later(START, -20))
    await database.write(lambda c: shared_state.brake(c, brake), "test")
    hands.wall -= timedelta(hours=1)
    await add(database, "https://example.org/early.mp4", due_at=hands.wall)
    turn = (await write(database, other, free_slots=1)).claimed
    assert (WaitReason.PACE, later(hands.wall, 1.02 - 0.1)) == (turn.reason, turn.until)
    found = await known(database)
    assert (later(hands.wall, 1.02), hands.wall) == (found.next_start_at, found.written_at)
    assert later(hands.wall, -20) == (found.brake and found.brake.cut_at)


@pytest.mark.parametrize("seconds", [0.2, 3600])
async def test_a_step_forward_is_followed_once(
    database: Database, hands: Hands, seconds: float
) -> None:
    """Law 10: after a step forward reserved starts and a cool-down are as far off as before,
    however many processes see it. Times written after the step are not moved.
    """
    await due(database, 9)
    works = [transaction(hands.clock, rate=1) for _ in range(3)]
    await set_clock(database, hands, seconds, *works)
    await cool_later(database, hands, seconds)
    for work in works:
        turn = (await write(database, work, free_slots=1)).claimed
        assert (WaitReason.COOL_DOWN, later(hands.wall, 0.5)) == (turn.reason, turn.until)
    assert later(hands.wall, 1.02) == (await known(database)).next_start_at
    hands.pass_seconds(1.02)
    assert 1 == len((await write(database, works[2], free_slots=1)).claimed.starts)
    assert [] == list((await write(database, works[0], free_slots=1)).claimed.starts)


@pytest.mark.parametrize("looks", [True, False])
async def test_a_step_is_followed_once_by_rare_looks(
    database: Database,
    hands: Hands,
    looks: bool,  # noqa: FBT001
) -> None:
    """A step that is shorter than the time between two looks is not followed by each of them."""
    await due(database, 9)
    work = transaction(hands.clock)
    await cool(database, later(START, 600))
    await set_clock(database, hands, 18, work)
    for _ in range(3):
        hands.pass_seconds(20)
        if not looks or await database.read(work.peek) is None:
            await write(database, work, free_slots=1)
    assert later(START, 618) == (await known(database)).cool_down_until


async def cool_later(database: Database, hands: Hands, seconds: float) -> None:
    """Begin a cool-down of half a second just before the clock is set by so many seconds."""
    before = later(hands.wall, -seconds)
    until = later(before, 0.5)
    await database.write(lambda c: shared_state.cool_down(c, until, "too fast", before), "test")


async def test_a_step_that_was_rolled_back_is_followed_again(
    database: Database, hands: Hands
) -> None:
    """A transaction that failed has moved nothing, and the next one moves it."""
    await due(database, 9)
    work = transaction(hands.clock, rate=1)
    await set_clock(database, hands, 3600, work)

    def fail(connection: Connection) -> None:
        work.write(connection, [], 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(fail, "test")
    assert [] == list((await write(database, work, free_slots=1)).claimed.starts)
    assert later(hands.wall, 1.02) == (await known(database)).next_start_at


async def test_a_clock_that_was_set_is_worth_the_lock(database: Database, hands: Hands) -> None:
    """A peek at a cool-down asks for the write lock when the clock was set."""
    await due(database, 1)
    work = transaction(hands.clock)
    await cool(database, later(START, 60))
    for seconds in (-3600, 7200):
        await write(database, work, free_slots=1)
        assert isinstance(await database.read(work.peek), ClaimResult)
        hands.wall += timedelta(seconds=seconds)
        assert await database.read(work.peek) is None
        await write(database, work, free_slots=1)
        assert later(hands.wall, 60) == (await known(database)).cool_down_until


async def test_a_question_follows_the_clock(database: Database, hands: Hands) -> None:
    """A question for the list, and the cool-down from its answer, go by the clock as it is."""
    await cool(database, later(START, 60))
    hands.wall -= timedelta(hours=1)
    assert later(hands.wall, 59.9) == await reserve(database, transaction(hands.clock))
    hands.wall -= timedelta(hours=1)
    work = transaction(hands.clock)
    await database.write(lambda c: work.pacer.hold(c, 10.0, "busy"), "test")
    assert later(hands.wall, 60) == (await known(database)).cool_down_until
    await database.write(lambda c: work.pacer.hold(c, 100.0, "busy"), "test")
    found = await known(database)
    assert (later(hands.wall, 105), "busy") == (found.cool_down_until, found.cool_down_reason)


async def test_a_request_from_before_a_step_back_is_no_calm_time(
    database: Database, work: QueueTransaction
) -> None:
    """A 429 to a request that began an hour ahead cuts the pace in force now, with no hour of
    calm added.
    """
    await due(database, 1)
    (claim,) = await take(database, START)
    brake = Brake(low=20.0, ceiling=20.0, cut_at=later(START, -10))
    await database.write(lambda c: shared_state.brake(c, brake), "test")
    late = note(claim, Throttled("slow down", 429, 1.0), started_at=later(START, 3600))
    await write(database, work, late)
    found = (await known(database)).brake
    assert found
    assert pytest.approx(18.0) == found.low


async def test_an_ending_is_settled_before_claims_are_made(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """One transaction settles and then claims, and reports each result in its order."""
    await due(database, 4)
    first, second, third = await take(database, START, limit=3)
    await database.write(
        lambda c: c.execute(update(videos).where(videos.c.id == 2).values(claim_token="other")),
        "test",
    )
    hands.pass_seconds(1)
    done = await write(
        database,
        work,
        note(third, Refused("no", 400)),
        note(second, Accepted("job-2", 200)),
        note(first, Accepted("job-1", 200)),
        free_slots=9,
    )
    assert [third, second, first] == [settled.result.claim for settled in done.settled]
    states = [settled.written and settled.written.state for settled in done.settled]
    assert [State.FAILED, None, State.SUBMITTED] == states
    assert [4] == [start.claim.video_id for start in done.claimed.starts]
    assert ([], []) == (list(done.closed), list(done.expired))
    stored = await row(database, 2)
    assert ("submitting", "job-2") == (stored["state"], stored["job_id"])


async def test_a_claim_that_is_no_longer_in_force_is_told_as_lost(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """The result of a claim that a person has closed is reported as lost."""
    await due(database, 1)
    (claim,) = await take(database, START)
    await write(database, work)
    hands.pass_seconds(70)
    await write(database, work)
    await database.write(lambda c: c.execute(update(videos).values(state="failed")), "test")
    done = await write(database, work, note(claim, Refused("no", 400)))
    assert [None] == [settled.written for settled in done.settled]


async def test_a_late_answer_is_told_with_its_transition(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """An answer that settles its own doubt counts as this run's success."""
    await due(database, 1)
    (claim,) = await take(database, START)
    hands.pass_seconds(70)
    assert 1 == len((await write(database, work)).expired)
    (settled,) = (await write(database, work, note(claim, Accepted("job-1", 200)))).settled
    assert settled.written is not None
    assert State.SUBMITTED is settled.written.state


async def test_without_room_leases_still_run_out(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """Law 4: each transaction expires leases, even without a free slot."""
    await due(database, 2)
    await take(database, START)
    hands.pass_seconds(70)
    done = await write(database, work, free_slots=0)
    assert [Expired(video_id=1, attempt=1, claimed_by="worker-1")] == done.expired
    assert ClaimResult(reason=WaitReason.PACE, until=later(START, 70)) == done.claimed
    assert ["in_doubt", "pending"] == [(await row(database, n))["state"] for n in (1, 2)]


async def in_doubt(database: Database, at: datetime = START, **columns: object) -> None:
    """Insert a doubt recorded at that moment."""
    doubt = {"state": "in_doubt", "updated_at": at, "attempts": 1, "claims": 1}
    await add(database, "https://example.org/a.mp4", **{**doubt, **columns})


async def test_doubts_are_repeated_where_it_is_said_so(database: Database, hands: Hands) -> None:
    """``on_doubt = retry`` makes a doubt due that is old enough, and claims it at once."""
    await in_doubt(database)
    patient = transaction(hands.clock, on_doubt="retry", doubt_settle_seconds=300.0)
    hands.pass_seconds(299.999)
    assert () == (await write(database, patient, free_slots=1)).claimed.starts
    hands.pass_seconds(0.001)
    await write(database, patient, free_slots=0)
    assert "in_doubt" == (await row(database, 1))["state"]
    assert () == (await write(database, transaction(hands.clock), free_slots=1)).claimed.starts
    (start,) = (await write(database, patient, free_slots=1)).claimed.starts
    assert (1, 2, 1) == (start.claim.video_id, start.claim.attempt, start.claim.attempts)
    assert [(1, "retry")] == await facts(database, 1)


async def look(database: Database, work: QueueTransaction) -> ClaimResult | None:
    """Peek without the write lock."""
    return await database.read(work.peek)


async def test_an_empty_table_waits_for_new_videos(
    database: Database, work: QueueTransaction
) -> None:
    """An empty table has no next moment."""
    assert ClaimResult(reason=WaitReason.NOTHING) == await look(database, work)
    await add(database, "u", state="failed")
    await in_doubt(database)
    assert ClaimResult(reason=WaitReason.NOTHING) == await look(database, work)


async def test_a_claim_is_worth_the_lock(database: Database, work: QueueTransaction) -> None:
    """A peek at a due video that may start asks for the write lock."""
    await due(database, 1)
    assert await look(database, work) is None


async def test_a_look_writes_nothing(database: Database, work: QueueTransaction) -> None:
    """A peek takes no lock and changes no row."""
    await due(database, 1)
    before = await row(database, 1), await known(database)
    await look(database, work)
    assert before == (await row(database, 1), await known(database))


async def _later_one(database: Database) -> None:
    await add(database, "u", due_at=later(START, 30))


async def _claimed(database: Database) -> None:
    await add(database, "u", due_at=later(START, -50))
    await take(database, later(START, -50))


async def _doubtful(database: Database) -> None:
    await in_doubt(database, later(START, -290))


LATER = (WaitReason.LATER, 30.0)
OTHERS = (WaitReason.OTHERS, 20.0)
DOUBTS = (WaitReason.DOUBTS, 10.0)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((_later_one,), LATER),
        ((_claimed,), OTHERS),
        ((_doubtful,), DOUBTS),
        ((_later_one, _claimed), OTHERS),
        ((_later_one, _doubtful), DOUBTS),
        ((_claimed, _doubtful), DOUBTS),
        ((_later_one, _claimed, _doubtful), DOUBTS),
    ],
)
async def test_the_nearest_moment_is_told(
    database: Database,
    hands: Hands,
    rows: Sequence[object],
    expected: tuple[WaitReason, float],
) -> None:
    """A peek returns the first moment at which there can be more, with its reason."""
    for each in rows:
        assert callable(each)
        await each(database)
    why, seconds = expected
    work = transaction(hands.clock, on_doubt="retry", doubt_settle_seconds=300.0)
    assert ClaimResult(reason=why, until=later(START, seconds)) == await look(database, work)
    hands.pass_seconds(seconds - 0.000001)
    assert ClaimResult(reason=why, until=later(START, seconds)) == await look(database, work)
    hands.pass_seconds(0.000001)
    assert await look(database, work) is None


async def test_doubts_are_waited_for_only_where_they_are_repeated(
    database: Database, work: QueueTransaction
) -> None:
    """Without ``on_doubt = retry`` a doubt has no next moment."""
    await _doubtful(database)
    await _later_one(database)
    assert ClaimResult(reason=WaitReason.LATER, until=later(START, 30)) == await look(
        database, work
    )


async def test_a_lease_that_ran_out_is_seen_in_a_pause(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """Law 4: a lease that ran out asks for the write lock even during a pause."""
    await _claimed(database)
    await pause(database)
    hands.pass_seconds(20)
    assert await look(database, work) is None


async def test_a_repeatable_doubt_waits_for_the_pauses_end(
    database: Database, hands: Hands
) -> None:
    """During a pause no doubt is repeated."""
    await _doubtful(database)
    await pause(database)
    hands.pass_seconds(10)
    work = transaction(hands.clock, on_doubt="retry", doubt_settle_seconds=300.0)
    assert ClaimResult(reason=WaitReason.PAUSE, detail="lunch") == await look(database, work)
    assert WaitReason.PAUSE is (await write(database, work, free_slots=1)).claimed.reason
    assert [] == await take(database, later(START, -1))


async def test_a_doubt_of_a_queue_that_has_moved_is_not_repeated(
    database: Database, hands: Hands
) -> None:
    """A doubt in a queue that has moved stays in doubt."""
    await _doubtful(database)
    await moved(database)
    hands.pass_seconds(10)
    work = transaction(hands.clock, on_doubt="retry", doubt_settle_seconds=300.0)
    assert WaitReason.MOVED is (await write(database, work, free_slots=1)).claimed.reason
    assert "in_doubt" == (await row(database, 1))["state"]


async def test_a_slow_pace_is_told_to_the_moment(database: Database, hands: Hands) -> None:
    """At a slow pace the next claim comes just before its start."""
    await due(database, 2)
    slow = transaction(hands.clock, rate=1)
    assert 1 == len((await write(database, slow, free_slots=2)).claimed.starts)
    expected = ClaimResult(reason=WaitReason.PACE, until=later(START, 1.02 - 0.1))
    assert expected == await look(database, slow)
    assert expected == (await write(database, slow, free_slots=2)).claimed
    hands.pass_seconds(0.92)
    assert await look(database, slow) is None
    (start,) = (await write(database, slow, free_slots=2)).claimed.starts
    assert 1001.02 == pytest.approx(start.at)


async def test_a_lease_is_twice_the_time_out_and_a_minute(hands: Hands) -> None:
    """Law 4: a lease outlives every attempt under it."""
    lease = transaction(hands.clock, timeout_seconds=60.0).settings.lease
    assert timedelta(seconds=180) == lease


async def test_an_old_lease_is_not_prolonged(database: Database, work: QueueTransaction) -> None:
    """Law 4: the lease counts from before the claim, by both clocks."""
    await due(database, 1)
    (start,) = (await write(database, work, free_slots=1)).claimed.starts
    assert (later(START, 70), 1070.0) == (start.claim.lease_until, start.lease_ends)
    assert later(START, 70) == (await row(database, 1))["lease_until"]
    assert 1 == len(await database.write(lambda c: leases.expire(c, later(START, 70), "w"), "t"))


async def test_law_4_a_lease_is_counted_from_before_its_claim(
    database: Database, hands: Hands
) -> None:
    """Law 4: the lease of a claim that takes long counts from before the claim."""
    await add(database, "https://a.example/1.mp4", due_at=hands.wall)
    await let_start(database, hands.wall)
    work = transaction(hands.clock)
    before = hands.seconds

    def slow(connection: Connection) -> ClaimResult:
        end = overhear(connection, lambda _: hands.pass_seconds(1))
        try:
            return work.write(connection, [], 1).claimed
        finally:
            end()

    (start,) = (await database.write(slow, "test")).starts
    assert hands.seconds > before
    assert before + work.settings.lease.total_seconds() == start.lease_ends


# --- The API's list of jobs -----------------------------------------------------------------------


@pytest.fixture
def asking(hands: Hands) -> QueueTransaction:
    """Return the transaction of a process that settles doubts by the list."""
    return transaction(hands.clock, on_doubt="reconcile", doubt_settle_seconds=300.0)


async def reserve(database: Database, work: QueueTransaction) -> float | datetime:
    """Ask for one start."""
    return await database.write(work.pacer.reserve_one, "test")


async def test_a_question_spends_one_start(database: Database, work: QueueTransaction) -> None:
    """Law 10: a question takes the next start, and the one after it is a step later."""
    assert 1000.0 == await reserve(database, work)
    assert START + GAP == (await known(database)).next_start_at
    assert 1000.00102 == pytest.approx(await reserve(database, work))
    assert START + 2 * GAP == (await known(database)).next_start_at


async def test_a_question_is_at_most_100_ms_ahead(
    database: Database, work: QueueTransaction
) -> None:
    """A start that is further off is not taken yet, and nothing is spent."""
    await let_start(database, later(START, 0.5))
    assert later(START, 0.4) == await reserve(database, work)
    assert later(START, 0.5) == (await known(database)).next_start_at


async def test_a_question_waits_for_the_end_of_a_cool_down(
    database: Database, work: QueueTransaction, hands: Hands
) -> None:
    """Law 10: a question waits for the end of a cool-down."""
    await cool(database, later(START, 50))
    assert later(START, 49.9) == await reserve(database, work)
    hands.pass_seconds(49.95)
    assert 1050.0 == pytest.approx(await reserve(database, work))


async def test_a_question_goes_at_the_pace_that_429s_left(
    database: Database, work: QueueTransaction
) -> None:
    """After a cut of the pace, a question spends as much of it as a video does."""
    brake = Brake(low=100.0, ceiling=100.0, cut_at=START)
    await database.write(lambda c: shared_state.brake(c, brake), "test")
    await reserve(database, work)
    assert later(START, 0.0102) == (await known(database)).next_start_at


async def test_a_clock_that_stepped_back_is_repaired_for_a_question(
    database: Database, work: QueueTransaction
) -> None:
    """A start that is an hour ahead after a step back is moved, and the question is soon asked."""
    await let_start(database, later(START, 3600))
    assert later(START, 0.1) + GAP == await reserve(database, work)
    assert later(START, 0.1) + GAP == (await known(database)).next_start_at
    assert START + GAP == await reserve(database, work)


TURNED_AWAY = {"http_status": 500, "claims": 1, "attempts": 1, "updated_at": START}


async def test_what_a_500_turned_away_is_not_claimed_before_a_list_was_read(
    database: Database, asking: QueueTransaction
) -> None:
    """A documented 500 may have made a job. Its video waits for a newer list, and the next one
    in the queue does not.
    """
    await due(database, 1, **TURNED_AWAY)
    await add(database, "https://example.org/other.mp4", due_at=later(START, -1))
    assert [2] == await claimed_by(database, asking)
    await database.write(lambda c: shared_state.list_read(c, later(START, -1)), "test")
    assert [] == await claimed_by(database, asking)
    await database.write(lambda c: shared_state.list_read(c, START), "test")
    assert [1] == await claimed_by(database, asking)


async def claimed_by(database: Database, work: QueueTransaction) -> list[int]:
    """Claim as this process and return the ids."""
    return [
        start.claim.video_id for start in (await write(database, work, free_slots=5)).claimed.starts
    ]


async def test_without_reconciliation_a_500_waits_for_no_list(
    database: Database, work: QueueTransaction
) -> None:
    """Without reconciliation a video with a 500 waits for no list."""
    await due(database, 1, **TURNED_AWAY)
    assert 1 == len((await write(database, work, free_slots=5)).claimed.starts)


async def test_a_look_tells_when_the_list_is_worth_asking_for(
    database: Database, asking: QueueTransaction, work: QueueTransaction
) -> None:
    """A peek returns the time of the next list for a run that asks for one, and for no other."""
    await due(database, 1, **TURNED_AWAY)
    assert ClaimResult(reason=WaitReason.LIST, until=START) == await database.read(asking.peek)
    await database.write(lambda c: shared_state.list_asked(c, START), "test")
    assert ClaimResult(reason=WaitReason.LATER, until=later(START, 60)) == await database.read(
        asking.peek
    )
    assert await database.read(work.peek) is None


async def test_a_list_of_later_is_no_reason_beside_others(
    database: Database, asking: QueueTransaction
) -> None:
    """Beside a backoff, a later list is not the reason to wait. The list is still read when its
    moment comes.
    """
    await add(database, "https://example.org/doubt.mp4", state="in_doubt", updated_at=START)
    await database.write(lambda c: shared_state.list_asked(c, START), "test")
    assert ClaimResult(reason=WaitReason.LIST, until=later(START, 60)) == await database.read(
        asking.peek
    )
    await add(database, "https://example.org/backoff.mp4", due_at=later(START, 900))
    assert ClaimResult(reason=WaitReason.LATER, until=later(START, 60)) == await database.read(
        asking.peek
    )
    await database.write(lambda c: shared_state.list_asked(c, later(START, -60)), "test")
    assert ClaimResult(reason=WaitReason.LIST, until=START) == await database.read(asking.peek)


async def test_rows_that_another_program_holds_are_waited_for(
    served: str, database: Database, work: QueueTransaction
) -> None:
    """A claim passes over rows that another program holds, and the next try is a second later."""
    await due(database, 2)
    with session(served) as other:
        other.execute("BEGIN")
        other.execute("UPDATE videos SET priority = 0 WHERE id = 1")
        assert [2] == await claimed_by(database, work)
        held = (await write(database, work, free_slots=5)).claimed
        assert ClaimResult(reason=WaitReason.HELD, until=later(START, 1)) == held
    assert [1] == await claimed_by(database, work)


async def test_the_verdicts_follow_the_settings(hands: Hands) -> None:
    """Doubts are judged by the settings of the run."""
    verdicts = transaction(hands.clock, doubt_settle_seconds=77.0).verdicts
    assert ("worker-1", timedelta(seconds=77)) == (verdicts.worker, verdicts.settings.settle_after)


# --- Caps -----------------------------------------------------------------------------------------

TOTAL = Cap(name="max_total", most=3, window=None)
DAILY = Cap(name="max_per_day", most=3, window=timedelta(hours=24))
TOTAL_TOLD = "max_total = 3 is reached: raise or unset it to go on"
DAILY_TOLD = "max_per_day = 3 is reached until 2026-01-02 12:00:00 UTC: wait, or raise it"


async def settle(
    database: Database, work: QueueTransaction, turn: ClaimResult, *outcomes: Outcome
) -> Committed:
    """Settle the starts of a claim result in their order, and claim again."""
    results = [
        note(start.claim, outcome) for start, outcome in zip(turn.starts, outcomes, strict=True)
    ]
    return await write(database, work, *results, free_slots=9)


def accepted(count: int) -> list[Outcome]:
    """Return so many jobs."""
    return [Accepted(f"job-{number}", 200) for number in range(count)]


@pytest.mark.parametrize("cap", [TOTAL, DAILY])
async def test_no_more_is_claimed_than_a_cap_leaves(
    database: Database, hands: Hands, cap: Cap
) -> None:
    """Claims in flight reserve room under a cap, and purchases stay counted."""
    await due(database, 9)
    work = transaction(hands.clock, caps=(cap,))
    turn = (await write(database, work, free_slots=9)).claimed
    assert [1, 2, 3] == [start.claim.video_id for start in turn.starts]
    assert START + 3 * GAP == (await known(database)).next_start_at
    held = (await settle(database, work, turn, *accepted(3))).claimed
    told = TOTAL_TOLD if cap is TOTAL else DAILY_TOLD
    until = None if cap is TOTAL else later(START, 86_400)
    assert ClaimResult(reason=WaitReason.CAP, until=until, detail=told) == held
    assert held == await look(database, work)


async def test_reserved_room_is_waited_for(database: Database, hands: Hands) -> None:
    """At a cap that claims in flight fill, the claim result names the end of the next lease. A
    release makes room at once.
    """
    await due(database, 9)
    work = transaction(hands.clock, caps=(TOTAL,))
    turn = (await write(database, work, free_slots=2)).claimed
    (other,) = await take(database, START, worker="worker-2")
    held = ClaimResult(
        reason=WaitReason.CAP, until=later(START, 70), detail=TOTAL_TOLD, submitting=3
    )
    hands.pass_seconds(1)
    assert held == (await write(database, work, free_slots=9)).claimed
    assert held == await look(database, work)
    done = await settle(database, work, turn, Accepted("job-1", 200), Refused("no", 400))
    assert [4] == [start.claim.video_id for start in done.claimed.starts]
    assert WaitReason.CAP is (await write(database, work, free_slots=9)).claimed.reason
    more = await write(database, work, note(other, Throttled("slow", 429, 0.0)), free_slots=9)
    assert [5] == [start.claim.video_id for start in more.claimed.starts]


async def test_a_lease_that_runs_out_frees_no_room(database: Database, hands: Hands) -> None:
    """A lease that ran out frees no room under a cap: its attempt was perhaps bought."""
    await due(database, 9)
    work = transaction(hands.clock, caps=(TOTAL,))
    await take(database, START, limit=3, worker="dead")
    hands.pass_seconds(70)
    assert await look(database, work) is None
    done = await write(database, work, free_slots=9)
    assert (3, ClaimResult(reason=WaitReason.CAP, detail=TOTAL_TOLD)) == (
        len(done.expired),
        done.claimed,
    )


async def test_a_cap_opens_at_the_moment_that_it_named(database: Database, hands: Hands) -> None:
    """A daily cap opens exactly at the moment that it named."""
    await due(database, 9)
    work = transaction(hands.clock, caps=(DAILY,))
    turn = (await write(database, work, free_slots=3)).claimed
    assert WaitReason.CAP is (await settle(database, work, turn, *accepted(3))).claimed.reason
    hands.pass_seconds(86_399.999999)
    assert ClaimResult(reason=WaitReason.CAP, until=later(START, 86_400), detail=DAILY_TOLD) == (
        await look(database, work)
    )
    assert WaitReason.CAP is (await write(database, work, free_slots=9)).claimed.reason
    hands.pass_seconds(0.000001)
    assert await look(database, work) is None
    assert 3 == len((await write(database, work, free_slots=9)).claimed.starts)


async def test_a_clock_that_steps_back_opens_no_cap(database: Database, hands: Hands) -> None:
    """After a step back of the clock, purchases that lie in its future still count."""
    await due(database, 9, due_at=later(START, -900_000))
    work = transaction(hands.clock, caps=(DAILY,))
    turn = (await write(database, work, free_slots=3)).claimed
    await settle(database, work, turn, *accepted(3))
    hands.wall = later(START, -90_000)
    await let_start(database, hands.wall)
    expected = ClaimResult(reason=WaitReason.CAP, until=later(START, 86_400), detail=DAILY_TOLD)
    assert expected == (await write(database, work, free_slots=9)).claimed
    assert expected == await look(database, work)


@pytest.mark.parametrize("first", [True, False])
async def test_the_tighter_cap_holds(database: Database, hands: Hands, *, first: bool) -> None:
    """Of two caps the tighter one holds. Of two full ones the one that opens last is reported."""
    await due(database, 9)
    wide = (Cap(name="max_total", most=5, window=None), DAILY)
    work = transaction(hands.clock, caps=wide if first else wide[::-1])
    turn = (await write(database, work, free_slots=9)).claimed
    assert 3 == len(turn.starts)
    held = await settle(database, work, turn, *accepted(3))
    assert DAILY_TOLD == held.claimed.detail
    both = transaction(hands.clock, caps=(TOTAL, DAILY) if first else (DAILY, TOTAL))
    assert (
        ClaimResult(reason=WaitReason.CAP, detail=TOTAL_TOLD)
        == (await write(database, both, free_slots=9)).claimed
    )


JOBS = Cap(name="max_in_progress", most=3, window=None, of_jobs=True)
JOBS_TOLD = (
    "max_in_progress = 3 is reached: it goes on as jobs end; raise or unset it to go on at once"
)


async def end_a_job(database: Database, job_id: str, how: str = "finished") -> None:
    """End a job as a follower does."""
    sql = text("UPDATE jobs SET ended_as = :how, ended_at = accepted_at WHERE job_id = :job_id")
    await database.write(lambda c: c.execute(sql, {"how": how, "job_id": job_id}), "test")


async def test_jobs_that_have_not_ended_fill_their_cap(database: Database, hands: Hands) -> None:
    """Claims in flight, jobs of any status without an end, and doubts that may have made one use
    the room of max_in_progress; each end makes room for one.
    """
    await due(database, 9)
    work = transaction(hands.clock, caps=(JOBS,))
    turn = (await write(database, work, free_slots=9)).claimed
    assert [1, 2, 3] == [start.claim.video_id for start in turn.starts]
    full = ClaimResult(
        reason=WaitReason.JOBS, until=later(START, 70), detail=JOBS_TOLD, submitting=3
    )
    hands.pass_seconds(1)
    assert full == (await write(database, work, free_slots=9)).claimed
    said: list[Outcome] = [*accepted(2), InDoubt("silence")]
    held = (await settle(database, work, turn, *said)).claimed
    assert ClaimResult(reason=WaitReason.JOBS, detail=JOBS_TOLD) == held
    assert held == await look(database, work)
    await database.write(
        lambda c: c.execute(text("UPDATE jobs SET status = 'on a journey', poll_errors = 9")),
        "test",
    )
    assert held == await look(database, work)
    for number, how in enumerate(("finished", "error")):
        await end_a_job(database, f"job-{number}", how)
        turn = (await write(database, work, free_slots=9)).claimed
        assert [number + 4] == [start.claim.video_id for start in turn.starts]


async def test_doubts_alone_fill_the_cap_of_jobs(database: Database, hands: Hands) -> None:
    """A cap of jobs that only doubts fill waits for no job's end, and says so."""
    await due(database, 9)
    work = transaction(hands.clock, caps=(JOBS,))
    turn = (await write(database, work, free_slots=9)).claimed
    held = (await settle(database, work, turn, *[InDoubt("silence")] * 3)).claimed
    told = "max_in_progress = 3 is reached, by 3 in doubt: settle them, or raise it to go on"
    assert ClaimResult(reason=WaitReason.CAP, detail=told) == held


async def test_a_refusal_frees_the_room_of_a_job(database: Database, hands: Hands) -> None:
    """A claim that makes no job gives its room back at once; a person's word ends a doubt's."""
    await due(database, 9)
    work = transaction(hands.clock, caps=(JOBS,))
    turn = (await write(database, work, free_slots=9)).claimed
    said: list[Outcome] = [Refused("no", 400), *accepted(1), InDoubt("silence")]
    done = await settle(database, work, turn, *said)
    assert [4] == [start.claim.video_id for start in done.claimed.starts]
    await database.write(lambda c: changes.resolve(c, 3, None, START, "person:me"), "test")
    assert 1 == len((await write(database, work, free_slots=9)).claimed.starts)


async def test_two_processes_share_the_room_of_jobs(database: Database, hands: Hands) -> None:
    """Two processes together have no more jobs in progress than the setting says."""
    await due(database, 9)
    first, second = (transaction(hands.clock, worker=f"w{n}", caps=(JOBS,)) for n in range(2))
    assert 2 == len((await write(database, first, free_slots=2)).claimed.starts)
    hands.pass_seconds(1)
    assert 1 == len((await write(database, second, free_slots=9)).claimed.starts)


async def test_a_row_that_cannot_be_sent_uses_no_cap(database: Database, hands: Hands) -> None:
    """A row that is closed without a request uses no room under a cap."""
    await add(database, *["not a url"] * 5, due_at=later(START, -1))
    await due(database, 9)
    work = transaction(hands.clock, caps=(TOTAL,))
    done = await write(database, work, free_slots=9)
    assert (5, 3) == (len(done.closed), len(done.claimed.starts))


async def test_a_question_for_the_list_uses_no_cap(database: Database, hands: Hands) -> None:
    """A question for the list is allowed under a full cap."""
    await due(database, 3)
    work = transaction(hands.clock, caps=(TOTAL,), on_doubt="reconcile", doubt_settle_seconds=300.0)
    turn = (await write(database, work, free_slots=3)).claimed
    await settle(database, work, turn, *accepted(3))
    assert isinstance(await reserve(database, work), float)


async def test_a_full_cap_holds_nothing_where_nothing_is_due(
    database: Database, hands: Hands
) -> None:
    """Where nothing is due, a full cap is not the reason to wait."""
    await due(database, 3)
    work = transaction(hands.clock, caps=(TOTAL,))
    turn = (await write(database, work, free_slots=3)).claimed
    done = await settle(database, work, turn, *accepted(3))
    assert ClaimResult(reason=WaitReason.NOTHING) == done.claimed
    assert ClaimResult(reason=WaitReason.NOTHING) == await look(database, work)


async def test_a_pause_and_a_cool_down_are_told_before_a_cap(
    database: Database, hands: Hands
) -> None:
    """A pause is reported before a cool-down, and both before a full cap."""
    await due(database, 9)
    work = transaction(hands.clock, caps=(TOTAL,))
    turn = (await write(database, work, free_slots=3)).claimed
    await settle(database, work, turn, *accepted(3))
    await cool(database, later(START, 7))
    assert WaitReason.COOL_DOWN is (await write(database, work, free_slots=9)).claimed.reason
    await pause(database)
    assert WaitReason.PAUSE is (await write(database, work, free_slots=9)).claimed.reason


@pytest.mark.parametrize("bad", ["infinity", "-infinity"])
async def test_an_unreadable_cool_down_is_half_a_minute_for_a_run(
    plain: Plain, database: Database, work: QueueTransaction, hands: Hands, bad: str
) -> None:
    """A cool-down whose end plain SQL made unreadable holds 30 s more, and then starts go on."""
    await due(database, 1)
    await cool(database, later(START, 5))
    plain.execute("UPDATE account SET cool_down_until = ?", bad)
    peeked = await database.read(work.peek)
    held = (await write(database, work, free_slots=1)).claimed
    assert (None, WaitReason.COOL_DOWN, later(START, 30)) == (peeked, held.reason, held.until)
    assert later(START, 30) == (await known(database)).cool_down_until
    hands.pass_seconds(30.1)
    assert 1 == len((await write(database, work, free_slots=1)).claimed.starts)


@pytest.mark.parametrize("column", ["next_start_at", "pace_cut_at", "written_at"])
async def test_an_unreadable_pace_is_the_slowest_that_it_may_mean(
    plain: Plain, database: Database, work: QueueTransaction, column: str
) -> None:
    """Law 10: the pace begins anew at its lowest, a whole step later, and is readable again."""
    await due(database, 1)
    brake = Brake(low=100.0, ceiling=500.0, cut_at=later(START, -3_600))
    await database.write(lambda c: shared_state.brake(c, brake), "test")
    plain.execute(f"UPDATE account SET {column} = ?", "infinity")
    assert (await database.read(work.peek)) is None
    (start,) = (await write(database, work, free_slots=1)).claimed.starts
    found = await known(database)
    assert ({}, START) == (found.unreadable, found.brake and found.brake.cut_at)
    assert pytest.approx(1000.0102) == start.at
    assert START + 20 * GAP == found.next_start_at


async def test_a_429_replaces_an_unreadable_cool_down(plain: Plain, database: Database) -> None:
    """A cool-down that the API asks for is written over one that is no moment."""
    plain.execute("UPDATE account SET cool_down_until = ?", "infinity")
    await cool(database, later(START, 5))
    assert later(START, 5) == (await known(database)).cool_down_until


async def test_a_pause_at_no_moment_is_still_a_pause(
    plain: Plain, database: Database, work: QueueTransaction
) -> None:
    """A pause whose beginning is unreadable holds until a person ends it."""
    await due(database, 1)
    plain.execute("UPDATE account SET paused_at = ?", "infinity")
    assert WaitReason.PAUSE == (await write(database, work, free_slots=1)).claimed.reason
    peeked = await database.read(work.peek)
    assert WaitReason.PAUSE == (peeked and peeked.reason)


async def test_a_cap_that_an_unreadable_moment_fills_opens_by_no_time(
    plain: Plain, database: Database, hands: Hands
) -> None:
    """An attempt at no moment counts against the day's cap, and no run waits for a time for it."""
    await due(database, 1)
    plain.execute(
        "INSERT INTO history (video_id, attempt, at, who, fact, job_id)"
        " VALUES (9, 1, ?, 'w', 'accepted', 'j')",
        "infinity",
    )
    cap = Cap(name="max_per_day", most=1, window=timedelta(days=1))
    work = replace(transaction(hands.clock), caps=(cap,))
    held = (await write(database, work, free_slots=1)).claimed
    assert (WaitReason.CAP, None) == (held.reason, held.until)


# --- Local files ----------------------------------------------------------------------------------

FILE = "file:///media/a.mp4"
HERE = Reach("worker-1", (b"/media",))


async def test_a_file_waits_for_its_upload_and_others_go_on(
    database: Database, hands: Hands
) -> None:
    """Law 16: it is handed over and postponed in the claim's transaction, without a trace in its
    history; the videos behind it are claimed, in a few transactions.
    """
    work = replace(transaction(hands.clock), reach=HERE)
    await add(database, *(f"file:///media/{number}.mp4" for number in range(30)), due_at=START)
    await add(database, "https://example.org/a.mp4", due_at=START)
    turn = (await write(database, work, free_slots=2)).claimed
    assert [31] == [start.claim.video_id for start in turn.starts]
    for video_id in (1, 30):
        video = await row(database, video_id)
        assert ("pending", 0, START + timedelta(days=1)) == (
            video["state"],
            video["claims"],
            video["due_at"],
        )
        assert (uploads.HELD, "waits for its upload") == (video["held_host"], video["error"])
        assert [] == await facts(database, video_id)
    wanted = await database.read(lambda c: uploads.look(c, HERE, START))
    assert list(range(1, 31)) == [number for number, _ in wanted]


async def test_an_upload_that_is_left_keeps_a_drain_at_work(
    database: Database, hands: Hands
) -> None:
    """Its worker is at it; one without the folder has nothing left, today or tomorrow."""
    work = transaction(hands.clock)
    here, there = replace(work, reach=HERE), replace(work, reach=Reach("worker-2", (b"/other",)))
    await add(database, FILE, due_at=START)
    left = ClaimResult(reason=WaitReason.UPLOADS, until=START)
    assert (
        ClaimResult(reason=WaitReason.NOTHING)
        == (await write(database, there, free_slots=2)).claimed
    )
    assert left == (await write(database, here, free_slots=2)).claimed
    assert left == await database.read(here.peek)
    assert ClaimResult(reason=WaitReason.NOTHING) == await database.read(there.peek)
    await add(database, "https://example.org/a.mp4", due_at=later(START, 60))
    for each in (work, there):
        assert ClaimResult(reason=WaitReason.LATER, until=later(START, 60)) == (
            await database.read(each.peek)
        )


async def test_an_upload_that_waits_is_due_later(database: Database, hands: Hands) -> None:
    """A drain that does not wait leaves it, as any backoff."""
    work = replace(transaction(hands.clock), reach=HERE)
    await add(database, FILE, due_at=START)
    await write(database, work, free_slots=2)

    def set_back(connection: Connection) -> None:
        upload = uploads.take(connection, 1, HERE, START, later(START, 9))
        setback = Setback(upload=upload, wait=timedelta(seconds=5))
        uploads.set_back(connection, 1, setback, "worker-1", START)

    await database.write(set_back, "test")
    assert ClaimResult(reason=WaitReason.LATER, until=later(START, 5)) == (
        await database.read(work.peek)
    )


def finish(connection: Connection, video_id: int) -> None:
    """Bring a file to its end."""
    upload = uploads.take(connection, video_id, HERE, START, later(START, 9))
    assert upload is not None
    assert uploads.finish(connection, upload, "worker-1", f"valossaupload://{video_id}", START)


async def test_a_video_is_sent_by_its_upload(database: Database, hands: Hands) -> None:
    """Law 16: the claim names the upload, the row keeps its file; of two videos with one file, one
    is bought.
    """
    work = replace(transaction(hands.clock), reach=HERE)
    await add(database, FILE, FILE, due_at=START)
    await write(database, work, free_slots=2)
    for video_id in (1, 2):
        await database.write(partial(finish, video_id=video_id), "test")
    turn = await write(database, work, free_slots=2)
    assert ["valossaupload://1"] == [s.claim.video.url for s in turn.claimed.starts]
    assert [2] == [closed.result.claim.video_id for closed in turn.closed]
    assert FILE == (await row(database, 1))["url"]


@pytest.mark.parametrize("spelled", ["file:/media/a.mp4", "FILE:///media/%61.mp4"])
async def test_law_17_a_file_in_another_spelling_is_bought_once(
    database: Database, hands: Hands, spelled: str
) -> None:
    """Law 17: a claim writes the plain spelling, and finds the twin before anything is uploaded."""
    work = replace(transaction(hands.clock), reach=HERE)
    await add(database, FILE, state="submitted", job_id="J7")
    await add(database, spelled, "https://example.org/a.mp4", due_at=START)
    done = await write(database, work, free_slots=9)
    assert [3] == [start.claim.video_id for start in done.claimed.starts]
    closed = await row(database, 2)
    assert (FILE, "failed") == (closed["url"], closed["state"])
    sentence = f"url: is that of video 1, which has job J7; {AGAIN.format(2)}"
    assert sentence == closed["error"]
    assert [] == await database.read(lambda c: uploads.look(c, HERE, START))


async def test_law_17_a_ready_upload_in_another_spelling_finds_its_twin(
    database: Database, hands: Hands
) -> None:
    """Law 17: also where another program spells the address anew once its upload is ready."""
    work = replace(transaction(hands.clock), reach=HERE)
    await add(database, FILE, due_at=START)
    await write(database, work, free_slots=1)
    await database.write(partial(finish, video_id=1), "test")
    await add(database, FILE, state="submitted", job_id="J7")
    spelled = update(videos).where(videos.c.id == 1).values(url="file://localhost/media/a.mp4")
    await database.write(lambda c: c.execute(spelled), "test")
    done = await write(database, work, free_slots=1)
    assert () == done.claimed.starts
    assert (
        f"url: is that of video 2, which has job J7; {AGAIN.format(1)}"
        == ((await row(database, 1))["error"])
    )


async def test_a_file_is_of_no_host(database: Database, hands: Hands) -> None:
    """A held host of that name holds no file, and no probe of it is one. One that was held for it
    is let go by the change of its address.
    """
    work = replace(transaction(hands.clock), reach=HERE)
    held = {"held_since": START, "probe_at": START, "why": "dead"}
    dead = insert(hosts).values(host="localhost", **held)
    await database.write(lambda c: c.execute(dead), "test")
    await database.write(lambda c: c.execute(update(account).values(held_hosts=1)), "test")
    await add(database, "file://localhost/media/a.mp4", "http://localhost/a.mp4", due_at=START)
    await add(database, "file://LOCALHOST/media/b.mp4", due_at=START, held_host="localhost")
    done = await write(database, work, free_slots=9)
    assert () == done.claimed.starts
    marks = [(await row(database, number))["held_host"] for number in (1, 2, 3)]
    assert [uploads.HELD, "localhost", None] == marks


async def test_what_holds_sends_is_told_while_uploads_are_left(
    database: Database, hands: Hands
) -> None:
    """A cool-down comes before the uploads that wait for its end, as a pause and a cap do."""
    work = replace(transaction(hands.clock), reach=HERE)
    await add(database, FILE, due_at=START)
    assert not await database.read(work.holds_uploads)
    await write(database, work, free_slots=2)
    await cool(database, later(START, 60))
    assert await database.read(work.holds_uploads)
    result = await database.read(work.peek)
    assert result is not None
    assert WaitReason.COOL_DOWN is result.reason
