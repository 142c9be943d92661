from datetime import timedelta, timezone

import pytest
from sqlalchemy import Connection, insert, update

from tests.conftest import START
from tests.parts import add, facts, later, row, take
from worker.core.model import State
from worker.db.database import Database
from worker.db.schema import history, videos
from worker.store import changes, search
from worker.store.search import Filter

NOW = START
WHO = "person:somebody"


async def change(database: Database, video_id: int, **columns: object) -> None:
    """Change one row by plain SQL."""
    await database.write(
        lambda c: c.execute(update(videos).where(videos.c.id == video_id).values(**columns)), "test"
    )


async def tell(database: Database, video_id: int, *told: tuple[int, str, str | None]) -> None:
    """Add facts of one video: attempt, fact, job id."""
    rows = [
        {
            "video_id": video_id,
            "attempt": attempt,
            "at": NOW,
            "who": "worker-1",
            "fact": fact,
            "job_id": job_id,
        }
        for attempt, fact, job_id in told
    ]
    await database.write(lambda c: c.execute(insert(history), rows), "test")


async def ids(database: Database, wanted: Filter, after: int = 0, limit: int = 100) -> list[int]:
    """Return the ids of a filter's videos."""
    found = await database.read(lambda c: search.matching(c, wanted, after, limit))
    return [each["id"] for each in found]


async def retry(database: Database, wanted: Filter, *, doubts: bool = False) -> int:
    """Retry the videos of a filter."""
    return await database.write(
        lambda c: changes.retry(c, wanted, doubts=doubts, now=NOW, who=WHO), "test"
    )


async def one_in_each_state(database: Database) -> dict[State, int]:
    """Add a video in every state and return their ids by state."""
    for state in State:
        job_id = "job" if state is State.SUBMITTED else None
        await add(
            database,
            f"https://example.org/{state}.mp4",
            state=state,
            job_id=job_id,
            claim_token="t",
            claimed_by="w",
            lease_until=later(NOW, 60),
            attempts=1,
            claims=2,
            error=f"error of {state}",
            http_status=400,
            updated_at=NOW,
        )
    return {state: place for place, state in enumerate(State, start=1)}


# filters


async def test_no_filter_means_everything(database: Database) -> None:
    """A filter without conditions means every video."""
    places = await one_in_each_state(database)
    assert list(places.values()) == await ids(database, Filter())
    assert [] == Filter().clauses()


async def test_states_are_alternatives(database: Database) -> None:
    """Several states mean videos in any of them."""
    places = await one_in_each_state(database)
    wanted = Filter(states=(State.FAILED, State.IN_DOUBT))
    assert [places[State.FAILED], places[State.IN_DOUBT]] == await ids(database, wanted)
    assert {"failed": 1, "in_doubt": 1} == await database.read(lambda c: search.count(c, wanted))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("50%", [1]),
        ("a_b", [3]),
        ("%", [1]),
        ("_", [3]),
        ("\\", [5]),
        ("TIMEOUT", [6]),
        ("HTTP 400", [1, 2, 3]),
        ("nowhere", []),
        ("'; DROP TABLE videos; --", []),
    ],
)
async def test_a_part_of_an_error_is_taken_literally(
    database: Database, text: str, found: list[int]
) -> None:
    """% and _ in a part of an error stand for themselves."""
    errors = [
        "HTTP 400: 50% done",
        "HTTP 400: 505 done",
        "HTTP 400: a_b",
        "axb",
        "c:\\d",
        "timeout",
    ]
    for error in errors:
        await add(database, f"https://example.org/{error}", error=error)
    await add(database, "https://example.org/none")
    assert found == await ids(database, Filter(error_like=text))


@pytest.mark.parametrize(
    ("written", "seconds", "found"),
    [
        ("2026-01-01 12:00:00", 0, True),
        ("2026-01-01 12:00:00", -0.5, True),
        ("2026-01-01 12:00:00", 0.5, False),
        ("2026-01-01 12:00:00.5", 0.5, True),
        ("2026-01-01 12:00:00.500000", 0.5, True),
        ("2026-01-01 12:00:00.499999", 0.5, False),
        ("2026-01-01 11:59:59.999999", 0, False),
    ],
)
async def test_since_counts_from_its_moment_on(
    database: Database, written: str, seconds: float, *, found: bool
) -> None:
    """A change at the very moment counts, written with a fraction or without."""
    await add(database, "https://example.org/a")
    sql = f"UPDATE videos SET updated_at = '{written}'"
    await database.write(lambda c: c.exec_driver_sql(sql), "test")
    assert found == bool(await ids(database, Filter(since=later(NOW, seconds))))


async def test_since_is_a_moment_in_any_zone(database: Database) -> None:
    """One moment in two time zones is the same filter."""
    await add(database, "https://example.org/a", updated_at=NOW)
    for hours in (-5, 0, 3):
        zone = timezone(timedelta(hours=hours))
        assert [1] == await ids(database, Filter(since=NOW.astimezone(zone)))


async def test_everything_that_is_given_must_hold(database: Database) -> None:
    """A video must satisfy every condition of a filter."""
    await one_in_each_state(database)
    given: list[Filter] = [
        Filter(states=(State.FAILED,), ids=(4,), error_like="failed", since=NOW),
        Filter(states=(State.FAILED,), ids=(3,)),
        Filter(ids=(4,), error_like="doubt"),
        Filter(ids=(4, 5), since=later(NOW, 1)),
    ]
    assert [[4], [], [], []] == [await ids(database, each) for each in given]


async def test_pages_follow_each_other_without_a_gap(database: Database) -> None:
    """Every video of a filter is read once, in the order of ids."""
    await add(database, *(f"https://example.org/{number}" for number in range(2_500)))
    assert [3, 4] == await ids(database, Filter(), after=2, limit=2)
    everything = await database.read(lambda c: [each["id"] for each in search.every(c, Filter())])
    assert list(range(1, 2_501)) == everything


# one video


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("2", [2]),
        ("talk-2", [2]),
        ("job-2", [2]),
        ("request-2", [2]),
        ("3", [1, 3]),
        ("02", [2]),
        ("", []),
        ("-1", []),
        ("٣", []),
        ("2'", []),
        ("9" * 18, []),
        ("9" * 30, []),
    ],
)
async def test_a_video_is_found_by_each_of_its_names(
    database: Database, reference: str, found: list[int]
) -> None:
    """A video is found by its id, media id, request id or job id, and every match is returned."""
    for number in (1, 2, 4):
        await add(
            database,
            f"https://example.org/{number}",
            media_id="3" if number == 1 else f"talk-{number}",
            request_id=f"request-{number}",
            claims=1,
            job_id=f"job-{number}",
            state="submitted",
        )
    rows = await database.read(lambda c: search.find(c, reference))
    assert found == [each["id"] for each in rows]


async def test_ids_that_another_program_counts_from_0_or_below_are_found(
    database: Database,
) -> None:
    """Every video is found in the order of ids, whichever number it has."""
    for number in (7, -5, 0):
        await add(database, f"https://example.org/{number}", id=number)
    found = await database.read(lambda c: [row["id"] for row in search.every(c, Filter())])
    assert [-5, 0, 7] == found


async def test_a_story_is_told_from_the_beginning(database: Database) -> None:
    """A story holds every fact of its video, oldest first, and none of another's."""
    await add(database, "https://example.org/1", "https://example.org/2")
    await tell(database, 1, (1, "try_later", None), (2, "in_doubt", None))
    await tell(database, 2, (1, "accepted", "job-2"))
    await tell(database, 1, (1, "retry", None))

    def look(connection: Connection) -> list[tuple[list[tuple[int, str]], bool]]:
        rows = search.matching(connection, Filter(), 0, 9)
        stories = [search.story(connection, each) for each in rows]
        return [
            ([(fact["attempt"], fact["fact"]) for fact in each.facts], each.doubted)
            for each in stories
        ]

    assert [
        ([(1, "try_later"), (2, "in_doubt"), (1, "retry")], True),
        ([(1, "accepted")], False),
    ] == await database.read(look)


# retry


async def test_a_retry_begins_again(database: Database) -> None:
    """A retried video is due now, from attempt 0, without claim or error."""
    await add(
        database,
        *("https://example.org/a",),
        state="failed",
        attempts=3,
        claims=5,
        claim_token="t",
        claimed_by="w",
        lease_until=NOW,
        error="e",
        http_status=400,
        due_at=later(NOW, 900),
    )
    before = await row(database, 1)
    assert 1 == await retry(database, Filter(ids=(1,)))
    again = {"state": "pending", "attempts": 0, "due_at": NOW, "updated_at": NOW}
    gone = ("error", "http_status", "claim_token", "claimed_by", "lease_until")
    assert {**before, **again, **dict.fromkeys(gone)} == await row(database, 1)
    assert [(5, "retry")] == await facts(database, 1)
    (claim,) = await take(database, NOW)
    assert (6, 0) == (claim.attempt, claim.attempts)


@pytest.mark.parametrize(
    ("doubts", "taken"),
    [
        (False, {State.FAILED, State.CANCELLED}),
        (True, {State.FAILED, State.CANCELLED, State.IN_DOUBT}),
    ],
)
async def test_a_retry_takes_the_states_that_it_names(
    database: Database, taken: set[State], *, doubts: bool
) -> None:
    """A retry changes failed and cancelled videos, and those in doubt only if they are included."""
    places = await one_in_each_state(database)
    before = {place: await row(database, place) for place in places.values()}
    assert taken == set(changes.retried_states(doubts=doubts))
    assert len(taken) == await retry(database, Filter(), doubts=doubts)
    for state, place in places.items():
        if state in taken:
            assert "pending" == (await row(database, place))["state"]
        else:
            assert before[place] == await row(database, place)


async def test_a_failed_video_that_may_have_been_bought_is_a_doubt(database: Database) -> None:
    """Law 5: a video given up in doubt is retried only if doubts are included."""
    await add(database, "https://example.org/a", state="failed", claims=1)
    await tell(database, 1, (1, "in_doubt", None))
    assert 0 == await retry(database, Filter(ids=(1,)))
    assert 1 == await retry(database, Filter(ids=(1,)), doubts=True)


async def test_a_doubt_outlives_its_retry(database: Database) -> None:
    """Law 5: a retry by a person settles no doubt."""
    await add(database, "https://example.org/a", state="in_doubt", claims=1, attempts=1)
    await tell(database, 1, (1, "in_doubt", None))
    await retry(database, Filter(ids=(1,)), doubts=True)
    assert [(1, "in_doubt"), (1, "retry")] == await facts(database, 1)
    (story,) = await database.read(
        lambda c: [search.story(c, each) for each in search.find(c, "1")]
    )
    assert story.doubted
    await tell(database, 1, (1, "late_answer", "job-1"))
    (story,) = await database.read(
        lambda c: [search.story(c, each) for each in search.find(c, "1")]
    )
    assert not story.doubted


async def test_a_video_with_a_job_is_never_retried(database: Database) -> None:
    """Law 6: a video with a job id is not retried, whatever its state."""
    await add(database, "https://example.org/a", state="failed", job_id="job-1")
    assert 0 == await retry(database, Filter(ids=(1,)), doubts=True)
