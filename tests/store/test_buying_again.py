"""Videos whose job brought nothing are bought again by a person, and by nobody else."""

import pytest
from sqlalchemy import Connection, select, update

from tests.conftest import START, Hands
from tests.parts import add, facts, later, let_start, row, take, transaction
from worker.core.job_list import Entry, Listing
from worker.core.model import Accepted, Fact, InDoubt, Result, State
from worker.db.database import Database
from worker.db.schema import account, history, jobs, videos
from worker.store import audit, changes, doubts, imports, pruning, search, statistics
from worker.store.search import Filter

WHO = "person:me"
ERRORS = Filter(job_status=("error",))


async def bought(database: Database, hands: Hands, *ends: str | None, **columns: object) -> None:
    """Buy a video for each end of a job."""
    await let_start(database, START)
    for place, end in enumerate(ends, start=1):
        await add(database, f"https://v.example/{place}.mp4", due_at=START, **columns)
        await settle(database, hands, Accepted(f"job-{place}", 200))
        at = START if end else None
        values = {"ended_as": end, "ended_at": at, "status": end}
        ended = update(jobs).where(jobs.c.job_id == f"job-{place}").values(values)
        await database.write(lambda c, s=ended: c.execute(s), "test")  # type: ignore[misc]


async def settle(database: Database, hands: Hands, outcome: Accepted | InDoubt) -> str:
    """Claim the next video, end its attempt, and return the identifier that was sent."""
    (claim,) = await take(database, later(START, 60))
    ending = Result(claim=claim, outcome=outcome, started_at=START)
    work = transaction(hands.clock)
    await database.write(lambda c: work.write(c, [ending], 0), "test")
    return claim.request_id


async def buy_again(database: Database, wanted: Filter = ERRORS) -> int:
    """Buy again what the filter means."""
    return await database.write(lambda c: changes.buy_again(c, wanted, START, WHO), "test")


async def test_a_job_in_error_is_bought_again(database: Database, hands: Hands) -> None:
    """A video bought again is pending as a new one under a new identifier; its job stays known."""
    await bought(database, hands, "error")
    before = await row(database, 1)

    assert 1 == await buy_again(database)

    after = await row(database, 1)
    assert (State.PENDING, None, None, 0) == tuple(
        after[name] for name in ("state", "job_id", "submitted_at", "attempts")
    )
    assert (before["claims"], START) == (after["claims"], after["due_at"])
    assert before["request_id"] != after["request_id"]
    assert [(1, Fact.ACCEPTED), (1, Fact.RETRY)] == await facts(database, 1)
    told = await database.read(
        lambda c: c.execute(select(history).order_by(history.c.id.desc()).limit(1)).mappings().one()
    )
    assert (WHO, changes.BOUGHT_AGAIN, None) == (told["who"], told["message"], told["job_id"])
    assert ["job-1"] == await database.read(lambda c: c.scalars(select(jobs.c.job_id)).all())
    assert 0 == await buy_again(database)


@pytest.mark.parametrize("end", ["finished", None])
async def test_law_6_no_other_job_is_ever_given_up(
    database: Database, hands: Hands, end: str | None
) -> None:
    """Law 6: a job that finished, or has not ended, is not bought again, whatever the filter."""
    await bought(database, hands, end)
    for wanted in (Filter(), ERRORS, Filter(ids=(1,)), Filter(job_status=("finished", "open"))):
        assert 0 == await buy_again(database, wanted)
    assert "job-1" == (await row(database, 1))["job_id"]


async def test_a_gone_job_is_bought_again(database: Database, hands: Hands) -> None:
    """A job that the API no longer knows may be bought again by a person."""
    await bought(database, hands, "gone", "error")
    assert 1 == await buy_again(database, Filter(job_status=("gone",)))
    assert "job-2" == (await row(database, 2))["job_id"]


@pytest.mark.parametrize("media_id", [None, "media-7"])
async def test_the_first_job_is_no_evidence_of_the_second(
    database: Database, hands: Hands, media_id: str | None
) -> None:
    """A doubt about the second attempt is not settled by the first job, also under a media id."""
    await bought(database, hands, "error", media_id=media_id)
    first = (
        await database.read(lambda c: doubts.held(c, ["job-1", "job-2"])),
        await sent(database),
    )
    await buy_again(database)
    second = await settle(database, hands, InDoubt("lost"))
    assert first[1] != second
    assert {"job-1"} == first[0] == await database.read(lambda c: doubts.held(c, ["job-1"]))


async def sent(database: Database) -> object:
    """Return the identifier of video 1."""
    return (await row(database, 1))["request_id"]


async def test_an_audit_knows_the_first_job(database: Database, hands: Hands) -> None:
    """The first job of a video bought again is no job of a stranger."""
    await bought(database, hands, "error")
    await buy_again(database)
    listing = Listing(
        entries=(Entry(job_id="job-1", status="error", identifiers=frozenset(), urls=frozenset()),),
        paged=None,
        shape="",
    )
    assert {"job-1"} == await database.read(lambda c: doubts.held(c, ["job-1"]))
    assert await database.read(lambda c: audit.rows(c, listing)) == []


async def test_law_17_the_second_job_of_an_address_is_counted(
    database: Database, hands: Hands
) -> None:
    """Law 17: the jobs of an address beyond its first one are counted, whatever became of it."""
    await bought(database, hands, "error")
    await add(database, "https://v.example/1.mp4", state="submitted", job_id="twin", claims=1)
    await database.write(
        lambda c: c.execute(update(videos).where(videos.c.id == 1).values(may_buy_twice=1)), "test"
    )
    counted = [await twice(database)]
    await buy_again(database)
    await settle(database, hands, Accepted("job-again", 200))
    counted.append(await twice(database))
    assert [1, 2] == counted


async def test_a_job_of_a_late_answer_is_counted_once_when_it_is_bought_again(
    database: Database, hands: Hands
) -> None:
    """A job that a late answer brought and its successor are two: one is bought twice."""
    await let_start(database, START)
    await add(database, "https://v.example/1.mp4", due_at=START)
    (claim,) = await take(database, START)
    work = transaction(hands.clock)
    for outcome in (InDoubt("lost"), Accepted("job-1", 200)):
        ending = Result(claim=claim, outcome=outcome, started_at=START)
        await database.write(lambda c, e=ending: work.write(c, [e], 0), "test")  # type: ignore[misc]
    end = update(jobs).values(ended_as="error", ended_at=START)
    await database.write(lambda c: c.execute(end), "test")
    await buy_again(database)
    await settle(database, hands, Accepted("job-2", 200))
    seen = await database.read(lambda c: statistics.overview(c, START))
    assert (1, 1) == (await twice(database), seen.possibly_twice)


async def twice(database: Database) -> object:
    """Return how many jobs were bought beyond one an address."""
    return await database.read(lambda c: c.scalar(select(account.c.bought_twice)))


async def test_law_6_a_video_bought_again_is_never_pruned(database: Database, hands: Hands) -> None:
    """Law 6: the first job is not forgotten with a video that has another one."""
    await bought(database, hands, "error")
    await buy_again(database)
    await settle(database, hands, Accepted("job-again", 200))
    end = update(jobs).values(ended_as="finished", ended_at=START)
    await database.write(lambda c: c.execute(end), "test")
    old = later(START, 10**7)
    assert 0 == await database.read(lambda c: pruning.count(c, old, "status"))


async def test_its_status_is_that_of_the_new_job(database: Database, hands: Hands) -> None:
    """Once bought again, a video is found by its new job alone."""
    await bought(database, hands, "error")
    await buy_again(database)
    await settle(database, hands, Accepted("job-again", 200))
    for status, number in (("error", 0), ("open", 1)):
        wanted = Filter(job_status=(status,))
        found = await database.read(lambda c, w=wanted: search.matching(c, w, 0, 9))  # type: ignore[misc]
        assert number == len(found)


async def test_a_video_that_is_bought_again_and_cancelled_is_not_bought_by_chance(
    database: Database, hands: Hands
) -> None:
    """The word to buy again ends with a cancel: no plain retry, import or other row buys its
    address, and no prune forgets it.
    """
    await bought(database, hands, "error")
    await buy_again(database)
    await database.write(lambda c: changes.cancel(c, Filter(ids=(1,)), START, WHO), "test")

    def plainly(connection: Connection) -> int:
        return changes.retry(connection, Filter(ids=(1,)), doubts=False, now=START, who=WHO)

    assert 0 == await database.write(plainly, "test")
    options = await database.read(lambda c: imports.options(c, WHO, START, allow_duplicates=False))
    rows = [{"url": "https://v.example/1.mp4"}]
    done = await database.write(lambda c: imports.add(c, rows, START, options), "test")
    assert (0, 1) == (done.inserted, len(done.passed))
    await add(database, "https://v.example/1.mp4", due_at=START)
    (claim,) = await take(database, later(START, 60))
    assert 1 == (claim.twin and claim.twin.video_id)
    before = later(START, 1e8)
    assert 0 == await database.read(lambda c: pruning.count(c, before, "status"))
