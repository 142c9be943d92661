import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, update

from tests.conftest import START, Hands, open_database
from tests.parts import (
    SETTINGS,
    add,
    claim,
    facts,
    later,
    overhear,
    plans,
    row,
    steps,
    take,
)
from tests.plain import Plain
from worker.core.model import Claim, Expired, State, Twin, Video
from worker.db.database import Database
from worker.db.schema import history, videos
from worker.runner.transaction import FAR_FUTURE
from worker.store import leases, queue
from worker.store.queue import Ahead

LEASE_END = START + SETTINGS.lease


async def change(database: Database, video_id: int, **columns: object) -> None:
    """Change one row as any program can."""
    await database.write(
        lambda c: c.execute(update(videos).where(videos.c.id == video_id).values(**columns)), "test"
    )


async def expire(database: Database, now: datetime, worker: str = "worker-2") -> list[Expired]:
    """Put in doubt every claim whose lease ran out, as another worker does."""
    return await database.write(lambda c: leases.expire(c, now, worker), "test")


async def test_a_claim_is_written_down_in_full(database: Database) -> None:
    """Law 1: a claim on disk names its worker, its start and the end of its lease."""
    await add(database, "https://example.org/a.mp4", due_at=START)
    (claim,) = await take(database, START)
    stored = await row(database, 1)
    assert {
        "state": "submitting",
        "claims": 1,
        "attempts": 0,
        "claim_token": claim.token,
        "claimed_by": "worker-1",
        "lease_until": LEASE_END,
        "updated_at": START,
        "request_id": claim.request_id,
        "due_at": START,
    } == {name: stored[name] for name in CLAIMED}
    expected = Claim(
        video_id=1,
        video=Video(url="https://example.org/a.mp4"),
        attempt=1,
        attempts=0,
        token=claim.token,
        request_id=claim.request_id,
        lease_until=LEASE_END,
    )
    assert expected == claim
    assert 32 == len(claim.token)


CLAIMED = (
    *("state", "claims", "attempts", "claim_token", "claimed_by", "lease_until"),
    *("updated_at", "request_id", "due_at"),
)


async def test_a_claim_carries_everything_that_the_row_says(database: Database) -> None:
    """No column of the request is lost on the way to the API."""
    columns: dict[str, Any] = {
        "media_id": "ours-1",
        "title": "T",
        "description": "D",
        "language": "fi-FI",
        "transcript_url": "https://example.org/a.srt",
        "face_min_relative_height": 0.25,
        "face_gallery_id": "g",
        "email_group": "e",
        "callback_url": "https://example.org/done",
    }
    await add(database, "https://example.org/a.mp4", due_at=START, **columns)
    (claim,) = await take(database, START)
    assert Video(url="https://example.org/a.mp4", **columns) == claim.video


async def test_the_order_is_priority_then_due_then_id(database: Database) -> None:
    """Claims go by priority, then by due_at, then by id."""
    await add(database, "late", due_at=START)
    await add(database, "early", due_at=later(START, -10))
    await add(database, "first", "second", due_at=later(START, -5))
    await add(database, "important", due_at=START, priority=1)
    await add(database, "least", due_at=later(START, -99), priority=-1)
    await add(database, "most", due_at=START, priority=7)
    claims = await take(database, START, limit=10)
    order = ["most", "important", "early", "first", "second", "late", "least"]
    assert order == [claim.video.url for claim in claims]


async def test_no_more_than_the_limit_is_claimed(database: Database) -> None:
    """The next in order get it, across priorities; the others stay as they are."""
    await add(database, "a", "b", due_at=START, priority=1)
    await add(database, "c", "d", due_at=START)
    assert ["a", "b", "c"] == [each.video.url for each in await take(database, START, limit=3)]
    assert "pending" == (await row(database, 4))["state"]
    assert ["d"] == [each.video.url for each in await take(database, START, limit=3)]
    assert [] == await take(database, START, limit=3)


async def test_every_priority_that_fits_is_claimed(database: Database) -> None:
    """Videos at the highest and the lowest number that a column holds are claimed."""
    for number in (2**63 - 1, 0, -(2**63)):
        await add(database, f"https://example.org/{number}.mp4", priority=number, due_at=START)
    assert [1, 2, 3] == [claim.video_id for claim in await take(database, START, limit=9)]


@pytest.mark.parametrize(
    ("seconds", "claimed"), [(-0.000001, True), (0.0, True), (0.000001, False), (1, False)]
)
async def test_only_what_is_due_is_claimed(
    database: Database, seconds: float, *, claimed: bool
) -> None:
    """To the microsecond, nothing is sent before its time, and nothing waits past it."""
    await add(database, "u", due_at=later(START, seconds))
    assert claimed == bool(await take(database, START))


async def test_a_plain_moment_is_due_in_its_second(plain: Plain, database: Database) -> None:
    """A moment that another program wrote without a fraction is due at that second exactly."""
    plain.execute("INSERT INTO videos (url, due_at) VALUES ('u', '2026-01-01 12:00:00')")
    assert [] == await take(database, later(START, -0.000001))
    assert 1 == len(await take(database, START))


@pytest.mark.parametrize("state", ["failed", "in_doubt", "cancelled", "submitted", "submitting"])
async def test_only_pending_videos_are_claimed(database: Database, state: str) -> None:
    """A video that has failed, was cancelled, is in doubt or under way is never claimed."""
    columns: dict[str, object] = {"state": state, "due_at": START}
    columns |= {"job_id": "job-1"} if state == "submitted" else {}
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": LEASE_END}
    columns |= claim if state == "submitting" else {}
    await add(database, "u", **columns)
    assert [] == await take(database, START)


async def test_two_claimers_never_get_one_video(url: str, database: Database) -> None:
    """No two processes claim the same video."""
    await add(database, *(f"u{number}" for number in range(10)), due_at=START)
    async with open_database(url) as other:
        taken = []
        for place in range(4):
            claims = await take((database, other)[place % 2], START, 3, f"worker-{place % 2}")
            taken += [claim.video_id for claim in claims]
    assert list(range(1, 11)) == taken


async def test_a_video_with_a_job_is_never_claimed(database: Database) -> None:
    """Law 6: whatever its state, a video that was bought is not bought again."""
    for state in ("failed", "in_doubt", "cancelled"):
        await add(database, "u", state=state, job_id=f"job-{state}", due_at=START)
    assert [] == await take(database, START, limit=10)


LEASED = {"claim_token": "t", "claimed_by": "w", "lease_until": later(START, 60), "claims": 1}


@pytest.mark.parametrize(
    ("other", "twin"),
    [
        ({"state": "submitted", "job_id": "J"}, Twin(1, State.SUBMITTED, "J")),
        ({"state": "failed", "job_id": "J"}, Twin(1, State.FAILED, "J")),
        ({"state": "cancelled", "job_id": "J"}, Twin(1, State.CANCELLED, "J")),
        ({"state": "submitting", **LEASED}, Twin(1, State.SUBMITTING)),
        ({"state": "submitting", "job_id": "J", **LEASED}, Twin(1, State.SUBMITTING, "J")),
        ({"state": "in_doubt"}, Twin(1, State.IN_DOUBT)),
        ({"state": "pending", "due_at": later(START, 60)}, None),
        (
            {"state": "pending", "due_at": later(START, 60), "http_status": 500},
            Twin(1, State.PENDING),
        ),
        ({"state": "failed"}, None),
        ({"state": "cancelled"}, None),
    ],
)
async def test_law_17_a_claim_names_the_video_that_may_have_bought_its_address(
    database: Database, other: dict[str, object], twin: Twin | None
) -> None:
    """Law 17: a claim names the other video of its address that has a job, or may have one."""
    await add(database, "u", **other)
    await add(database, "u", "v", due_at=START)
    claims = await take(database, START, limit=5)
    assert [(2, twin), (3, None)] == [(claim.video_id, claim.twin) for claim in claims]


@pytest.mark.parametrize(
    ("story", "doubted"),
    [
        (["in_doubt"], True),
        (["in_doubt", "resolve"], True),  # given up
        (["in_doubt", "retry", "refused"], True),
        (["in_doubt", "absent"], False),
        (["refused"], False),
    ],
)
async def test_law_17_a_doubt_that_no_state_shows_may_be_a_job(
    database: Database, story: list[str], *, doubted: bool
) -> None:
    """Law 17: an address is not bought while a doubt about a video of it is open, even one that a
    person has given up.
    """
    await add(database, "u", state="failed", claims=1)
    await add(database, "u", due_at=START)
    told = {"video_id": 1, "attempt": 1, "at": START, "who": "w"}
    rows = [{**told, "fact": fact} for fact in story]
    await database.write(lambda c: c.execute(insert(history), rows), "test")
    (claim,) = await take(database, START)
    assert doubted == (claim.twin is not None)


async def test_law_17_the_first_of_several_is_named_and_a_mark_on_the_row_asks_for_none(
    database: Database,
) -> None:
    """Law 17: of several videos that have bought an address, the first is named. A row that may be
    bought twice is claimed as any other.
    """
    for number in range(3):
        await add(database, "u", state="submitted", job_id=f"J{number}")
    await change(database, 1, priority=5)
    await add(database, "u", due_at=START)
    await add(database, "u", due_at=START, may_buy_twice=1)
    plain, marked = await take(database, START, limit=5)
    assert Twin(1, State.SUBMITTED, "J0") == plain.twin
    assert (False, True) == (plain.may_buy_twice, marked.may_buy_twice)
    assert marked.twin is None


@pytest.mark.parametrize("bought", [1, 1_000])
def test_law_17_an_address_a_thousand_times_is_looked_up_in_its_index(
    crowded: Connection, bought: int
) -> None:
    """Law 17: a thousand rows of one address cost a claim a look at each at most, and a million of
    other addresses nothing.
    """
    made = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) "
        "INSERT INTO videos (url, due_at, priority, state, job_id) SELECT 'one', "
        "'2026-01-01 00:00:00', 9, iif(i = ?, 'submitted', 'pending'), iif(i = ?, 'J', NULL) FROM n"
    )
    crowded.exec_driver_sql(made, (bought, bought))
    assert 500 > steps(crowded, claim_ten, 1_000)
    assert all(claim.twin for claim in claim_ten(crowded))


async def test_claims_number_the_attempts(database: Database) -> None:
    """Each claim has a number and a token of its own; what was counted before comes with it."""
    await add(database, "u", due_at=START, claims=4, attempts=2)
    (first,) = await take(database, START)
    await change(database, 1, state="pending")
    (second,) = await take(database, START)
    assert [(5, 2), (6, 2)] == [(each.attempt, each.attempts) for each in (first, second)]
    assert first.token != second.token


async def test_every_claim_has_its_own_token(database: Database) -> None:
    """Of two videos claimed at once, neither can be settled under the other's claim."""
    await add(database, "a", "b", due_at=START)
    first, second = await take(database, START, limit=2)
    assert first.token != second.token


@pytest.mark.parametrize(
    ("media_id", "request_id"), [("ours-1", "ours-1"), ("", "random"), (None, "random")]
)
async def test_the_first_claim_takes_the_media_id(
    database: Database, media_id: str | None, request_id: str
) -> None:
    """A video is known at the API by its owner's name for it, where there is one."""
    await add(database, "u", due_at=START, media_id=media_id, request_id="random")
    (claim,) = await take(database, START)
    assert request_id == claim.request_id
    assert request_id == (await row(database, 1))["request_id"]


@pytest.mark.parametrize(
    ("fact", "started_at", "sent_as"),
    [
        (None, None, "new"),
        ("invalid", None, "new"),
        ("not_sent", START, "old"),
        ("try_later", START, "old"),
        ("in_doubt", None, "old"),
    ],
)
async def test_the_request_id_stays_once_it_was_perhaps_sent(
    database: Database, fact: str | None, started_at: datetime | None, sent_as: str
) -> None:
    """A request id that was perhaps sent stays, whatever the row's name is now. One that was
    never sent takes the new name.
    """
    await add(database, "u", due_at=START, media_id="old")
    await take(database, START)
    if fact:
        told = {"video_id": 1, "attempt": 1, "at": START, "who": "w", "started_at": started_at}
        await database.write(lambda c: c.execute(insert(history).values(fact=fact, **told)), "test")
    await change(database, 1, state="pending", media_id="new")
    (claim,) = await take(database, START)
    assert (sent_as, "new") == (claim.request_id, claim.video.media_id)


async def test_a_name_that_was_never_sent_and_is_taken_away_gives_way_to_a_random_one(
    database: Database,
) -> None:
    """A row whose media id could not be sent can be, without it."""
    await add(database, "u", due_at=START, media_id="old")
    await take(database, START)
    await change(database, 1, state="pending", media_id=None)
    (claim,) = await take(database, START)
    assert re.fullmatch("[0-9a-f]{32}", claim.request_id)


async def test_a_lease_that_ran_out_is_a_doubt(database: Database, hands: Hands) -> None:
    """Law 4: a claim whose lease ran out is in doubt, not due again, and its history says so."""
    await add(database, "u", due_at=START, attempts=1, claims=3)
    (claim,) = await take(database, START)
    hands.pass_seconds(SETTINGS.lease.total_seconds())
    assert [] == await expire(database, later(LEASE_END, -0.000001))
    assert [Expired(video_id=1, attempt=4, claimed_by="worker-1")] == await expire(
        database, LEASE_END
    )
    stored = await row(database, 1)
    assert {
        "state": "in_doubt",
        "attempts": 2,
        "claims": 4,
        "claim_token": claim.token,
        "updated_at": LEASE_END,
    } == {
        name: stored[name] for name in ("state", "attempts", "claims", "claim_token", "updated_at")
    }
    assert "the lease ran out" in str(stored["error"])
    assert [(4, "in_doubt")] == await facts(database, 1)
    assert [] == await expire(database, LEASE_END)
    assert [] == await take(database, LEASE_END)


async def test_the_fact_says_when_and_by_whom(plain: Plain, database: Database) -> None:
    """The history of a doubt names who recorded it, and why."""
    await add(database, "u", due_at=START)
    await take(database, START)
    await expire(database, LEASE_END)
    ((at, who, message),) = plain.execute("SELECT at, who, message FROM history")
    assert ("2026-01-01 12:01:10", "worker-2") == (at[:19], who)
    assert "the lease ran out" in message


async def test_a_job_that_came_meanwhile_ends_it_submitted(database: Database) -> None:
    """Law 6: an earlier attempt's late job id makes a lost worker's video no doubt."""
    await add(database, "u", due_at=START)
    await take(database, START)
    await change(database, 1, job_id="job-1")
    await expire(database, LEASE_END)
    stored = await row(database, 1)
    assert ("submitted", "job-1", 1) == (stored["state"], stored["job_id"], stored["attempts"])
    assert [(1, "in_doubt")] == await facts(database, 1)


async def repeat(database: Database, recorded_before: datetime, max_attempts: int) -> list[int]:
    """Make doubts due again, as ``on_doubt = retry`` does."""
    now = later(START, 1000)
    return await database.write(
        lambda c: leases.repeat_doubts(c, recorded_before, max_attempts, now, "worker-2"), "test"
    )


async def test_old_doubts_may_be_repeated(database: Database) -> None:
    """With ``on_doubt = retry`` a doubt is due again, and its story says that it may buy twice."""
    await add(database, "u", due_at=START)
    await take(database, START)
    await expire(database, LEASE_END)
    assert [] == await repeat(database, later(LEASE_END, -0.000001), 3)
    assert [1] == await repeat(database, LEASE_END, 3)
    stored = await row(database, 1)
    names = ("state", "due_at", "attempts", "claim_token", "claimed_by", "lease_until")
    expected = ["pending", later(START, 1000), 1, None, None, None]
    assert expected == [stored[name] for name in names]
    assert [(1, "in_doubt"), (1, "retry")] == await facts(database, 1)
    (again,) = await take(database, later(START, 1000))
    assert (2, 1) == (again.attempt, again.attempts)


@pytest.mark.parametrize(
    "columns",
    [
        {"attempts": 3, "claims": 3},
        {"job_id": "job-1"},
        {"state": "failed"},
        {"state": "cancelled"},
    ],
)
async def test_what_is_used_up_or_bought_is_not_repeated(
    database: Database, columns: dict[str, object]
) -> None:
    """Law 5: attempts used up by doubts leave the video in doubt; other states are no doubts."""
    await add(database, "u", **{"state": "in_doubt", "updated_at": START, **columns})
    assert [] == await repeat(database, START, 3)
    assert [] == await facts(database, 1)
    assert await database.read(lambda c: leases.oldest_doubt(c, 3)) is None
    assert 0 == await database.read(lambda c: leases.count_repeatable(c, 3))


async def test_a_doubt_whose_address_is_bought_is_not_repeated(database: Database) -> None:
    """Law 17: it would be refused and in doubt again, for ever; a word to buy twice repeats it."""
    for url, word in (("u", 0), ("v", 1)):
        doubt = {"state": "in_doubt", "updated_at": START, "may_buy_twice": word}
        await add(database, url, **doubt)
    for url in ("u", "v"):
        await add(database, url, state="submitted", job_id=f"job-{url}")
    assert 1 == await database.read(lambda c: leases.count_repeatable(c, 3))
    assert [2] == await repeat(database, START, 3)


async def test_the_oldest_doubt_is_the_next_to_be_repeated(database: Database) -> None:
    """The next doubt to be repeated is the oldest."""
    doubt = {"state": "in_doubt", "attempts": 1, "claims": 1}
    await add(database, "a", updated_at=later(START, 5), **doubt)
    await add(database, "b", updated_at=later(START, 2), **doubt)
    await add(database, "c", updated_at=START, state="in_doubt", attempts=3, claims=3)
    assert later(START, 2) == await database.read(lambda c: leases.oldest_doubt(c, 3))
    assert 2 == await database.read(lambda c: leases.count_repeatable(c, 3))


def due(connection: Connection) -> Ahead:
    """Return what is due later, as seen at the start."""
    return queue.ahead(connection, START, FAR_FUTURE)


async def test_an_empty_queue_has_nothing_ahead(database: Database) -> None:
    """An empty queue has no next moment."""
    nothing = Ahead(due=False, next_due_at=None, next_lease_end=None)
    assert nothing == await database.read(due)
    await add(database, "u", state="failed", due_at=START)
    assert nothing == await database.read(due)


async def test_the_next_due_moment_is_the_nearest_of_all_priorities(database: Database) -> None:
    """A high priority does not hide that something lower is due sooner."""
    await add(database, "a", due_at=later(START, 30), priority=5)
    await add(database, "b", due_at=later(START, 10), priority=1)
    await add(database, "c", due_at=later(START, 20), priority=-3)
    assert Ahead(
        due=False, next_due_at=later(START, 10), next_lease_end=None
    ) == await database.read(due)


async def test_something_due_is_told_whatever_waits_above_it(database: Database) -> None:
    """A video due at a low priority is seen behind one that is due later at a high one."""
    await add(database, "a", due_at=later(START, 30), priority=5)
    await add(database, "b", due_at=START, priority=1)
    assert (await database.read(due)).due


LATER_ABOVE = {
    "sqlite": "INSERT INTO videos (url, priority, due_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION "
    "ALL SELECT i + 1 FROM n WHERE i < 10100) SELECT 'l' || i, i, '2026-01-02 12:00:00' FROM n",
    "postgresql": "INSERT INTO videos (url, priority, due_at) SELECT 'l' || i, i, "
    "TIMESTAMPTZ '2026-01-02 12:00:00+00' FROM generate_series(1, 10100) AS n (i)",
}


async def test_a_priority_for_each_video_starves_nobody(database: Database, dialect: str) -> None:
    """Videos due below thousands of priorities that are due later are seen and claimed in order,
    by few statements.
    """
    await database.write(lambda c: c.exec_driver_sql(LATER_ABOVE[dialect]), "test")
    said: list[str] = []

    def look(connection: Connection) -> tuple[list[str], Ahead]:
        end = overhear(connection, said.append)
        ahead = due(connection)
        rows = queue.due(connection, 3, START, FAR_FUTURE)
        end()
        return [row[queue.URL] for row in rows], ahead

    tomorrow = later(START, 86_400)
    nothing = Ahead(due=False, next_due_at=tomorrow, next_lease_end=None)
    assert ([], nothing) == await database.write(look, "test")
    await add(database, "later", due_at=later(START, 10), priority=-5)
    soon = Ahead(due=False, next_due_at=later(START, 10), next_lease_end=None)
    assert ([], soon) == await database.write(look, "test")
    for url, seconds, priority in (("c", -9, -9), ("b", -1, -8), ("d", -8, -9), ("a", -2, -8)):
        await add(database, url, due_at=later(START, seconds), priority=priority)
    said.clear()
    urls, ahead = await database.write(look, "test")
    assert ["a", "b", "c"] == urls
    assert (True, None) == (ahead.due, ahead.next_due_at)
    assert len(said) <= queue.APART + 4


async def test_the_next_lease_end_is_the_nearest(database: Database) -> None:
    """The next lease to end is the nearest."""
    await add(database, "a", due_at=START)
    await take(database, START)
    await add(database, "b", due_at=later(START, -5))
    await take(database, later(START, -5))
    assert Ahead(due=False, next_due_at=None, next_lease_end=later(LEASE_END, -5)) == (
        await database.read(due)
    )


TURNED_AWAY = {"http_status": 500, "claims": 1, "attempts": 1, "due_at": START}


@pytest.mark.parametrize(
    ("columns", "checked_until", "claimed"),
    [
        ({}, None, False),
        ({}, later(START, -0.000001), False),
        ({}, START, True),
        ({"http_status": 503}, None, True),
        ({"http_status": None}, None, True),
    ],
)
async def test_what_a_500_turned_away_waits_for_a_look_at_the_list(
    database: Database,
    columns: dict[str, object],
    checked_until: datetime | None,
    *,
    claimed: bool,
) -> None:
    """A documented 500 may have made a job: its video is not sent again before a list was read
    that was asked for since.
    """
    await add(database, "u", **{**TURNED_AWAY, "updated_at": START, **columns})
    ahead = await database.read(lambda c: queue.ahead(c, START, checked_until))
    assert claimed == ahead.due
    taken = await database.write(
        lambda c: claim(c, 9, START, "worker-1", LEASE_END, checked_until), "test"
    )
    assert claimed == bool(taken)


@pytest.fixture
def crowded(path: Path) -> Iterator[Connection]:
    """Make a queue with thousands of rows in each state, and as many due later at other
    priorities.
    """
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql(CROWD)
        yield connection
    engine.dispose()


CROWD = """
INSERT INTO videos (url, state, priority, due_at, updated_at, attempts, claims, job_id,
                    claim_token, claimed_by, lease_until)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 11999)
SELECT 'u' || i, state, i % 3,
       CASE i % 3 WHEN 0 THEN '2026-01-01 11:00:00' ELSE '2026-02-01 12:00:00' END,
       '2026-01-01 11:00:00', 1, 1,
       CASE state WHEN 'submitted' THEN 'job-' || i END, 't', 'w', '2026-01-02 00:00:00'
FROM (SELECT i, CASE i / 2000 WHEN 0 THEN 'pending' WHEN 1 THEN 'submitting'
     WHEN 2 THEN 'submitted' WHEN 3 THEN 'failed' WHEN 4 THEN 'in_doubt' ELSE 'cancelled' END
     AS state FROM n)
"""


def walks(plan: set[str]) -> set[str]:
    """Return the walks over tables in a plan, without those over a statement's own parameters."""
    tables = {each for each in plan if each.startswith(("SCAN", "SEARCH"))}
    own = {"SCAN highest", "SCAN next_due", "SCAN next_due LEFT-JOIN", "SCAN CONSTANT ROW"}
    own |= {"SCAN levels", "SCAN counted"}
    return tables - own - {"SCAN json_each VIRTUAL TABLE INDEX 1:"}


def claim_ten(connection: Connection) -> list[Claim]:
    """Claim ten as a worker does."""
    return claim(connection, 10, START, "worker-1", LEASE_END, START)


OF_ATTEMPT = "SEARCH history_1 USING INDEX history_of_video (video_id=? AND attempt=? AND rowid>?)"


OF_TWINS = {
    "SEARCH twin USING INDEX videos_url (url=?)",
    "SEARCH pruned USING INDEX pruned_url (url=?)",
    "SEARCH jobs USING INDEX jobs_of_video (video_id=?)",
    "SEARCH history USING INDEX history_of_video (video_id=?)",
    "SEARCH history_1 USING INDEX history_of_video (video_id=? AND attempt>?)",
    OF_ATTEMPT,
}


@pytest.mark.parametrize(
    ("action", "plan"),
    [
        (
            claim_ten,
            {
                "SEARCH videos USING INDEX videos_due (priority<?)",
                "SEARCH videos USING INDEX videos_due (priority=? AND due_at<?)",
                "SEARCH videos USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH history USING INDEX history_of_video (video_id=?)",
                *OF_TWINS,
            },
        ),
        (
            due,
            {
                "SEARCH videos USING INDEX videos_due (priority<?)",
                "SEARCH videos USING INDEX videos_leases",
            },
        ),
        (
            lambda c: leases.expire(c, START, "worker-1"),
            {"SEARCH videos USING INDEX videos_leases (lease_until<?)"},
        ),
        (
            lambda c: leases.oldest_doubt(c, 3),
            {"SEARCH videos USING INDEX videos_doubts", *OF_TWINS},
        ),
        (
            lambda c: leases.repeat_doubts(c, later(START, -9999), 3, START, "worker-1"),
            {"SEARCH videos USING INDEX videos_doubts (updated_at<?)", *OF_TWINS},
        ),
    ],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_every_look_goes_through_its_partial_index(
    crowded: Connection,
    action: Callable[[Connection], object],
    plan: set[str],
    *,
    analysed: bool,
) -> None:
    """No verb walks the finished rows, nor sorts, however many there are of them."""
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    assert plan == walks(plans(crowded, action))


@pytest.mark.parametrize(
    "action",
    [claim_ten, due, lambda c: leases.expire(c, START, "w"), lambda c: leases.oldest_doubt(c, 3)],
)
def test_a_crowd_at_other_priorities_costs_nothing(
    crowded: Connection, action: Callable[[Connection], object]
) -> None:
    """A claim passes over no row that is due later or finished."""
    assert 50 > steps(crowded, action, 100)


def test_what_is_due_is_seen_without_a_look_below_it(crowded: Connection) -> None:
    """A look ahead ends at the first priority of which a video is due."""
    crowded.exec_driver_sql(LATER_ABOVE["sqlite"].replace("2026-01-02", "2026-01-01"))
    assert 50 > steps(crowded, due, 100)


HEIGHTS = (None, 0.0, 1.0, 0.25, 0.1 + 0.2, 1 / 3, 0.1 + 2**-56, 5e-324)


async def test_a_number_keeps_all_its_digits(database: Database) -> None:
    """A claim carries the number that its row has, to the last digit."""
    for height in HEIGHTS:
        await add(database, "u", face_min_relative_height=height, due_at=START)
    claims = await take(database, START, limit=len(HEIGHTS))
    assert list(HEIGHTS) == [claim.video.face_min_relative_height for claim in claims]
