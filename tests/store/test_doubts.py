from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, delete, insert, update

from tests.conftest import START
from tests.parts import SETTINGS, add, facts, later, plans, row, steps, take
from tests.plain import Plain
from worker.core.evidence import Doubt, NeighbourAcceptance
from worker.core.model import Fact
from worker.db.database import Database
from worker.db.schema import history, jobs, videos
from worker.store import changes, doubts, leases
from worker.store.search import Filter

DOUBTFUL = {"state": "in_doubt", "claims": 1, "attempts": 1}


async def tell(database: Database, video_id: int, fact: Fact, at: float, **more: object) -> None:
    """Add a fact to the history, ``at`` seconds after the start."""
    known = {"attempt": 1, "who": "worker-1", "at": later(START, at), "video_id": video_id}
    row = {**known, "fact": fact, **more}
    await database.write(lambda c: c.execute(insert(history).values(**row)), "test")


async def accept(database: Database, video_id: int, begun: float, written: float) -> None:
    """Accept a video; add its row if it is missing."""
    job = f"job-{video_id}"
    known = {"state": "submitted", "claims": 1, "attempts": 1, "request_id": f"r-{video_id}"}
    await add(database, f"https://example.org/{video_id}.mp4", id=video_id, job_id=job, **known)
    await tell(
        database, video_id, Fact.ACCEPTED, written, started_at=later(START, begun), job_id=job
    )


async def doubt(
    database: Database, video_id: int, begun: float, written: float, **columns: object
) -> None:
    """Put a video in doubt."""
    moment = later(START, written)
    values = {"updated_at": moment, "request_id": f"r-{video_id}", **DOUBTFUL, **columns}
    await add(database, f"https://example.org/{video_id}.mp4", id=video_id, **values)
    await tell(database, video_id, Fact.IN_DOUBT, written, started_at=later(START, begun))


LATE = later(START, 9_999)


async def known(database: Database, recorded_before: datetime = LATE) -> list[Doubt]:
    """Return all doubts that were recorded by then."""
    return await database.read(lambda c: doubts.doubts(c, recorded_before))


async def window(database: Database, video_id: int = 5) -> tuple[bool, bool, list[str]]:
    """Return the acceptances around one doubt."""
    (found,) = [each for each in await known(database) if each.video_id == video_id]
    return found.before, found.after, [witness.job_id for witness in found.neighbours]


async def change(database: Database, video_id: int, **columns: object) -> None:
    """Change one row by plain SQL."""
    await database.write(
        lambda c: c.execute(update(videos).where(videos.c.id == video_id).values(**columns)), "test"
    )


async def test_a_doubt_comes_with_all_that_was_accepted_around_it(database: Database) -> None:
    """A doubt has its neighbours, from the last one before it to the first one begun after it."""
    await accept(database, 1, -20, -19)
    await accept(database, 2, -10, -0.000001)
    await accept(database, 3, 1, 2)
    await doubt(database, 5, 0, 60, media_id="m")
    await accept(database, 6, 30, 61)
    await accept(database, 7, 60, 62)
    await accept(database, 8, 62, 63)
    (found,) = await known(database)
    assert (
        Doubt(
            video_id=5,
            attempt=1,
            attempts=1,
            url="https://example.org/5.mp4",
            media_id="m",
            request_id="r-5",
            unique=True,
            began_at=START,
            recorded_at=later(START, 60),
            before=True,
            after=True,
            neighbours=[
                NeighbourAcceptance(
                    job_id=f"job-{n}", request_id=f"r-{n}", at=later(START, written)
                )
                for n, written in ((2, -0.000001), (3, 2), (6, 61), (7, 62))
            ],
        )
        == found
    )


async def test_a_doubt_without_neighbours_says_so(database: Database) -> None:
    """The first and the last video of a queue have a neighbour on one side only."""
    await doubt(database, 5, 0, 60)
    assert (False, False, []) == await window(database)
    await accept(database, 6, 61, 62)
    assert (False, True, []) == await window(database)


async def test_what_an_audit_adopted_stands_around_nothing(database: Database) -> None:
    """An adopted job is no neighbour: when it was made, and as what, is unknown."""
    await accept(database, 2, -5, -1)
    await doubt(database, 5, 0, 60)
    await tell(database, 2, Fact.FOUND, 30, message=doubts.ADOPTED, job_id="job-9")
    await accept(database, 6, 61, 62)
    assert (True, True, ["job-2", "job-6"]) == await window(database)


async def test_what_was_under_way_at_its_beginning_is_not_before_it(database: Database) -> None:
    """A job made during the attempt is no neighbour before it."""
    await accept(database, 2, -5, 0.000001)
    await doubt(database, 5, 0, 60)
    await accept(database, 6, 61, 62)
    assert (False, True, []) == await window(database)


async def test_what_began_before_its_end_is_not_after_it(database: Database) -> None:
    """A job whose attempt began during the doubt is no neighbour after it."""
    await accept(database, 2, -5, -1)
    await doubt(database, 5, 0, 60)
    await accept(database, 6, 59.999999, 62)
    assert (True, False, []) == await window(database)
    await accept(database, 7, 60, 63)
    assert (True, True, ["job-2", "job-6", "job-7"]) == await window(database)


@pytest.mark.parametrize(
    "columns", [{"job_id": None}, {"fact": Fact.IN_DOUBT}, {"started_at": None}]
)
async def test_only_an_acceptance_is_a_neighbour(
    database: Database, columns: dict[str, object]
) -> None:
    """A refusal, or a job that a person named, is no neighbour."""
    await accept(database, 2, -5, -1)
    await doubt(database, 5, 0, 60)
    fact = {"fact": Fact.ACCEPTED, "started_at": later(START, 61), "job_id": "job-6", **columns}
    await tell(database, 6, at=62, **fact)  # type: ignore[arg-type]
    assert (True, False, []) == await window(database)


@pytest.mark.parametrize("fact", [Fact.ACCEPTED, Fact.LATE_ANSWER, Fact.FOUND])
async def test_every_way_to_a_job_makes_a_neighbour(database: Database, fact: Fact) -> None:
    """A job that was found or answered late is a neighbour."""
    await add(database, "https://example.org/2.mp4", id=2, request_id="r-2")
    await tell(database, 2, fact, -1, job_id="job-2")
    await doubt(database, 5, 0, 60)
    await accept(database, 6, 61, 62)
    assert (True, True, ["job-2", "job-6"]) == await window(database)


async def test_a_clock_that_stepped_back_does_not_order_the_neighbours(database: Database) -> None:
    """A neighbour is before or after the doubt by the order of the history and by the clock."""
    await accept(database, 1, -20, -19)
    await accept(database, 2, 3_600, 3_601)  # written when the clock was an hour ahead
    await doubt(database, 5, 0, 60)
    await accept(database, 6, -15, -10)  # the clock stepped back
    assert (True, False, []) == await window(database)
    await accept(database, 7, 61, 62)
    assert (True, True, ["job-1", "job-2", "job-6", "job-7"]) == await window(database)


async def test_an_attempt_that_ended_before_it_began_lasts_until_its_beginning(
    database: Database,
) -> None:
    """A clock that stepped back during the attempt does not make the doubt older."""
    await accept(database, 2, -20, -19)
    await doubt(database, 5, 0, -3_540)
    await accept(database, 6, -3_500, -3_490)
    (found,) = await known(database)
    assert (None, START) == (found.began_at, found.recorded_at)
    assert (False, False, []) == await window(database)
    assert [] == await known(database, later(START, -0.000001))


async def test_an_answer_that_seems_to_come_before_its_request_is_not_after(
    database: Database,
) -> None:
    """An acceptance recorded before its own start is no neighbour after the doubt."""
    await accept(database, 2, -5, -1)
    await doubt(database, 5, 0, 60)
    await accept(database, 6, 3_600, 62)
    assert (True, False, []) == await window(database)


async def test_a_doubt_begins_with_its_first_attempt_in_doubt(database: Database) -> None:
    """Law 5: the window begins before the earliest attempt in doubt."""
    await accept(database, 1, -20, -19)
    await doubt(database, 5, 0, 60, claims=3, attempts=3)
    await accept(database, 2, 61, 62)
    await tell(database, 5, Fact.REFUSED, 70, attempt=2, started_at=later(START, 69))
    await tell(database, 5, Fact.IN_DOUBT, 160, attempt=3, started_at=later(START, 100))
    await accept(database, 6, 161, 162)
    (found,) = await known(database)
    assert (3, START, later(START, 160)) == (found.attempt, found.began_at, found.recorded_at)
    assert (True, True, ["job-1", "job-2", "job-6"]) == await window(database)


async def test_a_settled_attempt_is_not_judged_again(database: Database) -> None:
    """An attempt proven absent does not widen the next attempt's window."""
    await doubt(database, 5, 0, 60, claims=2, attempts=2)
    await tell(database, 5, Fact.ABSENT, 400)
    await tell(database, 5, Fact.IN_DOUBT, 560, attempt=2, started_at=later(START, 500))
    (found,) = await known(database)
    assert (later(START, 500), later(START, 560)) == (found.began_at, found.recorded_at)


async def test_a_doubt_whose_beginning_nobody_knows_has_no_window(database: Database) -> None:
    """A doubt with one attempt of unknown start has no known start."""
    await accept(database, 1, -20, -19)
    await doubt(database, 5, 0, 60, claims=2)
    await tell(database, 5, Fact.IN_DOUBT, 160, attempt=2)
    await accept(database, 6, 161, 162)
    (found,) = await known(database)
    assert (None, later(START, 160)) == (found.began_at, found.recorded_at)
    assert (False, False, []) == await window(database)


async def test_a_doubt_without_a_history_is_as_old_as_its_row(database: Database) -> None:
    """A doubt that another program wrote has no neighbours, and its age is its row's."""
    await add(database, "u", id=5, updated_at=START, **DOUBTFUL)
    (found,) = await known(database, START)
    assert (None, START, False) == (found.began_at, found.recorded_at, found.before)
    assert [] == await known(database, later(START, -0.000001))


async def test_a_lease_that_ran_out_began_with_its_claim(database: Database) -> None:
    """Law 4: a doubt left by a lost worker begins with its claim."""
    await add(database, "u", due_at=START)
    await take(database, START)
    end = START + SETTINGS.lease
    await database.write(lambda c: leases.expire(c, end, "worker-2"), "test")
    (found,) = await known(database)
    assert (START, end) == (found.began_at, found.recorded_at)


async def test_only_what_was_over_before_the_question_is_judged(database: Database) -> None:
    """An attempt that was not over before the list was requested is not judged."""
    await doubt(database, 5, 0, 60)
    assert [] == await known(database, later(START, 59.999999))
    assert 1 == len(await known(database, later(START, 60)))


@pytest.mark.parametrize(
    "columns", [{"state": "failed"}, {"state": "pending"}, {"job_id": "job-5"}]
)
async def test_only_doubts_are_judged(database: Database, columns: dict[str, object]) -> None:
    """Law 6: a video that has a job, or is not in doubt any more, is not judged."""
    await doubt(database, 5, 0, 60)
    await change(database, 5, **columns)
    assert [] == await known(database)


@pytest.mark.parametrize(
    "other",
    [
        {"request_id": "r-5"},
        {"media_id": "r-5"},
        {"request_id": "r-5", "state": "submitted", "job_id": "j"},
    ],
)
async def test_an_identifier_that_another_video_has_is_not_unique(
    database: Database, other: dict[str, object]
) -> None:
    """An identifier that two videos share is not unique."""
    await doubt(database, 5, 0, 60)
    assert [True] == [each.unique for each in await known(database)]
    await add(database, "https://example.org/6.mp4", **other)
    assert [False] == [each.unique for each in await known(database)]


async def test_ones_own_names_are_not_shared(database: Database) -> None:
    """A media id equal to the video's own identifier leaves it unique."""
    await doubt(database, 5, 0, 60, media_id="r-5")
    assert [True] == [each.unique for each in await known(database)]


async def test_a_video_that_is_gone_shows_no_identifier(database: Database) -> None:
    """A neighbour whose row was deleted stays in the window without an identifier."""
    await accept(database, 1, -5, -1)
    await doubt(database, 5, 0, 60)
    await accept(database, 6, 61, 62)
    await database.write(lambda c: c.execute(delete(videos).where(videos.c.id == 1)), "test")
    (found,) = await known(database)
    assert [(None, False), ("r-6", False)] == [
        (witness.request_id, witness.renamed) for witness in found.neighbours
    ]


async def test_a_neighbour_that_is_bought_anew_counts_by_its_job_alone(database: Database) -> None:
    """A neighbour under a new identifier is compared by its job: under what it was sent is unknown.
    The job that it has now is compared by both.
    """
    await accept(database, 1, -5, -1)
    await doubt(database, 5, 0, 60)
    await accept(database, 6, 61, 62)
    over = {"ended_as": "error", "ended_at": START}
    end = update(jobs).where(jobs.c.job_id == "job-1").values(over)
    await database.write(lambda c: c.execute(end), "test")
    anew = Filter(ids=(1,))
    assert 1 == await database.write(lambda c: changes.buy_again(c, anew, LATE, "me"), "test")
    for columns in ({}, {"state": "submitted", "job_id": "job-9"}):
        await change(database, 1, updated_at=LATE, **columns)
        (found,) = await known(database)
        near = [(each.job_id, each.renamed) for each in found.neighbours]
        assert [("job-1", True), ("job-6", False)] == near


async def test_what_a_500_turned_away_is_rechecked(database: Database) -> None:
    """A video that got a documented 500 is rechecked before it is sent again."""
    waits = {"state": "pending", "http_status": 500, "updated_at": START, "claims": 1}
    await add(database, "a", due_at=later(START, 20), **waits)
    await add(database, "b", due_at=later(START, 10), **{**waits, "updated_at": later(START, 1)})
    await add(database, "c", **{**waits, "http_status": 503})
    await add(database, "d", **{**waits, "state": "failed"})

    def rechecks(seconds: float) -> Callable[[Connection], list[int]]:
        moment = later(START, seconds)
        return lambda c: [each.video_id for each in doubts.rechecks(c, moment)]

    def due_at(seconds: float | None) -> Callable[[Connection], datetime | None]:
        moment = None if seconds is None else later(START, seconds)
        return lambda c: doubts.next_recheck(c, moment)

    assert [1] == await database.read(rechecks(0))
    assert [1, 2] == await database.read(rechecks(1))
    assert later(START, 10) == await database.read(due_at(None))
    assert later(START, 10) == await database.read(due_at(0))
    assert await database.read(due_at(1)) is None


async def test_the_youngest_doubt_is_told(database: Database) -> None:
    """The youngest doubt is the one recorded last."""
    assert await database.read(doubts.youngest_doubt) is None
    await doubt(database, 5, 0, 60)
    await doubt(database, 6, 0, 70)
    assert later(START, 70) == await database.read(doubts.youngest_doubt)
    assert {5, 6} == await database.read(doubts.still_in_doubt)


async def test_held_is_what_a_video_has(database: Database) -> None:
    """Of thousands of jobs, exactly those that videos have are returned."""
    for number in range(3):
        await accept(database, number + 1, 0, 1)
    ids = [f"job-{number}" for number in range(1_200)]
    assert {"job-1", "job-2", "job-3"} == await database.read(lambda c: doubts.held(c, ids))
    assert set() == await database.read(lambda c: doubts.held(c, []))


Verdict = Callable[[Connection, Doubt], bool]
NOW = later(START, 400)
VERDICTS: dict[str, Verdict] = {
    "find": lambda c, d: doubts.find(c, d, "job-5", NOW, "me"),
    "free": lambda c, d: doubts.free(c, d, later(NOW, 15), NOW, "me"),
    "keep": lambda c, d: doubts.keep(c, d, "used up", NOW, "me"),
}


async def judged(database: Database, verdict: str, doubt: Doubt) -> bool:
    """Write a verdict."""
    return await database.write(lambda c: VERDICTS[verdict](c, doubt), "test")


@pytest.mark.parametrize(
    ("verdict", "expected", "story"),
    [
        (
            "find",
            {"state": "submitted", "job_id": "job-5", "submitted_at": NOW, "error": None},
            (2, "found"),
        ),
        (
            "free",
            {"state": "pending", "due_at": later(NOW, 15), "claim_token": None, "error": None},
            (2, "absent"),
        ),
        ("keep", {"state": "in_doubt", "claim_token": "t", "error": "used up"}, (2, "absent")),
    ],
)
async def test_a_verdict_is_written_with_its_fact(
    database: Database, verdict: str, expected: dict[str, object], story: tuple[int, str]
) -> None:
    """A verdict changes the row and adds its fact to the history."""
    await doubt(database, 5, 0, 60, claims=2, claim_token="t", http_status=502, error="lost")
    await database.write(lambda c: c.execute(update(history).values(attempt=2)), "test")
    (found,) = await known(database)
    assert await judged(database, verdict, found)
    stored = await row(database, 5)
    assert expected == {name: stored[name] for name in expected}
    assert (None, NOW, 1) == (stored["http_status"], stored["updated_at"], stored["attempts"])
    assert [(2, "in_doubt"), story] == await facts(database, 5)


async def test_an_absence_settles_every_doubt_of_the_video(database: Database) -> None:
    """Law 5: a proof of absence settles every attempt in doubt."""
    await doubt(database, 5, 0, 60, claims=2)
    await tell(database, 5, Fact.IN_DOUBT, 160, attempt=2, started_at=later(START, 100))
    (found,) = await known(database)
    assert await judged(database, "free", found)
    assert [(1, "in_doubt"), (2, "in_doubt"), (1, "absent"), (2, "absent")] == await facts(
        database, 5
    )


@pytest.mark.parametrize("verdict", ["find", "free", "keep"])
@pytest.mark.parametrize(
    "columns",
    [
        {"claims": 2},
        {"state": "pending"},
        {"state": "failed"},
        {"state": "cancelled"},
        {"state": "submitted", "job_id": "theirs"},
        {"job_id": "theirs"},
        {
            "state": "submitting",
            "claim_token": "t",
            "claimed_by": "w",
            "lease_until": later(START, 70),
        },
    ],
)
async def test_a_verdict_that_comes_too_late_is_dropped(
    database: Database, verdict: str, columns: dict[str, object]
) -> None:
    """Law 6: a verdict on an attempt that is not the last one changes nothing."""
    await doubt(database, 5, 0, 60)
    (found,) = await known(database)
    await change(database, 5, **columns)
    before = await row(database, 5)
    assert not await judged(database, verdict, found)
    assert before == await row(database, 5)
    assert [(1, "in_doubt")] == await facts(database, 5)


async def test_a_recheck_that_shows_something_is_a_doubt(database: Database) -> None:
    """A rechecked video that may have a job is in doubt."""
    await add(database, "u", http_status=500, updated_at=START, claims=1, attempts=1)
    (found,) = await database.read(lambda c: doubts.rechecks(c, START))
    assert await database.write(lambda c: doubts.park(c, found, "a\0b", NOW, "me"), "test")
    stored = await row(database, 1)
    assert ("in_doubt", "a\ufffdb", None) == tuple(
        stored[name] for name in ("state", "error", "http_status")
    )
    assert [(1, "in_doubt")] == await facts(database, 1)


async def test_a_recheck_of_what_was_sent_again_is_dropped(database: Database) -> None:
    """Law 6: a recheck of a video that was sent again changes nothing."""
    await add(database, "u", http_status=500, updated_at=START, claims=1, attempts=1)
    (found,) = await database.read(lambda c: doubts.rechecks(c, START))
    await change(database, 1, http_status=429)
    assert not await database.write(lambda c: doubts.park(c, found, "why", NOW, "me"), "test")
    assert [] == await facts(database, 1)


async def test_a_reason_follows_the_one_that_it_adds_to(database: Database) -> None:
    """The error holds the reason and the last evidence once each, and the doubt keeps its age."""
    await doubt(database, 5, 0, 60, error="the answer was lost")
    (found,) = await known(database)
    await database.write(lambda c: doubts.explain(c, found, "not yet"), "test")
    await database.write(lambda c: doubts.explain(c, found, "a\ud800"), "test")
    stored = await row(database, 5)
    assert "the answer was lost; evidence: a\ufffd" == stored["error"]
    assert later(START, 60) == stored["updated_at"]
    await change(database, 5, claims=2)
    await database.write(lambda c: doubts.explain(c, found, "more"), "test")
    assert stored["error"] == (await row(database, 5))["error"]


@pytest.fixture
def crowded(path: Path) -> Iterator[Connection]:
    """Give a queue with thousands of rows in each state and as many facts, and ten doubts."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        for statement in CROWD.split(";"):
            connection.exec_driver_sql(statement)
        yield connection
    engine.dispose()


CROWD = """
INSERT INTO videos (id, url, state, updated_at, attempts, claims, job_id, http_status, media_id)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)
SELECT i, 'u' || i, state, '2026-01-01 12:00:00', 1, 1,
       CASE state WHEN 'submitted' THEN 'job-' || i END,
       CASE WHEN i % 900 = 7 THEN 500 END, CASE i % 2 WHEN 0 THEN 'm' || i END
FROM (SELECT i, CASE WHEN i % 900 = 0 THEN 'in_doubt' WHEN i % 3 = 0 THEN 'submitted'
     WHEN i % 3 = 1 THEN 'pending' ELSE 'failed' END AS state FROM n);
INSERT INTO history (video_id, attempt, at, who, fact, started_at, job_id)
SELECT id, 1, strftime('%Y-%m-%d %H:%M:%S', '2026-01-01 06:00:00', id || ' seconds'), 'w',
       CASE state WHEN 'submitted' THEN 'accepted' WHEN 'in_doubt' THEN 'in_doubt'
       ELSE 'refused' END,
       strftime('%Y-%m-%d %H:%M:%S', '2026-01-01 06:00:00', id || ' seconds'), job_id
FROM videos ORDER BY id
"""


def judge_all(connection: Connection) -> list[Doubt]:
    """Read every doubt and every recheck, as a reconciler does."""
    return [*doubts.doubts(connection, START), *doubts.rechecks(connection, START)]


@pytest.mark.parametrize(
    "action",
    [
        judge_all,
        lambda c: doubts.held(c, [f"job-{n}" for n in range(600)]),
        doubts.youngest_doubt,
        doubts.still_in_doubt,
        lambda c: doubts.next_recheck(c, None),
        lambda c: doubts.next_recheck(c, START),
        lambda c: doubts.free(c, judge_all(c)[0], NOW, NOW, "me"),
    ],
)
@pytest.mark.parametrize("analysed", [False, True])
def test_no_doubt_walks_the_finished_rows(
    crowded: Connection, action: Callable[[Connection], object], *, analysed: bool
) -> None:
    """Doubts are read and settled through indexes, however many videos and facts there are."""
    if analysed:
        crowded.exec_driver_sql("ANALYZE")
    scans = {plan for plan in plans(crowded, action) if plan.startswith("SCAN")}
    given = {
        "SCAN 600 CONSTANT ROWS",
        "SCAN (subquery-600)",
        "SCAN json_each VIRTUAL TABLE INDEX 1:",
    }
    assert scans <= {"SCAN CONSTANT ROW", *given, *BY_PARTIAL_INDEX}


async def test_the_job_of_a_video_that_is_bought_anew_stays_ours(database: Database) -> None:
    """A job that has ended is ours also after its video was cleared of it; an open one is not."""
    await accept(database, 1, 0, 1)
    await accept(database, 2, 2, 3)
    over = {"ended_as": "error", "ended_at": NOW}
    bought = update(jobs).where(jobs.c.job_id == "job-1").values(over)
    await database.write(lambda c: c.execute(bought), "test")
    for number in (1, 2):
        await change(database, number, state="in_doubt", job_id=None, claims=2, updated_at=NOW)
    held = await database.read(lambda c: doubts.held(c, ["job-1", "job-2", "job-3"]))
    assert {"job-1"} == held
    found = {each.video_id: each.earlier for each in await known(database)}
    assert {1: ("job-1",), 2: ()} == found


BY_PARTIAL_INDEX = {
    "SCAN videos USING INDEX videos_doubts",
    "SCAN videos USING INDEX videos_look_ups",
}


def test_a_crowd_of_finished_videos_costs_nothing(crowded: Connection) -> None:
    """Ten doubts among thousands of videos take as many steps as ten doubts alone."""
    assert 20 == len(judge_all(crowded))
    assert 400 > steps(crowded, judge_all, 100)


@pytest.mark.parametrize("column", ["at", "started_at"])
async def test_a_doubt_of_an_unknown_moment_is_as_old_as_its_row(
    plain: Plain, database: Database, column: str
) -> None:
    """Law 3: a moment that is none makes no doubt older, and proves no absence."""
    await doubt(database, 5, 0, 60)
    plain.execute(f"UPDATE history SET {column} = ?", "infinity")
    (found,) = await known(database)
    assert (None, later(START, 60)) == (found.began_at, found.recorded_at)


@pytest.mark.parametrize("video_id", [2, 7])
async def test_an_acceptance_of_an_unknown_moment_is_no_neighbour(
    plain: Plain, database: Database, video_id: int
) -> None:
    """An acceptance at no moment stands neither before a doubt nor after it."""
    await accept(database, 2, -10, -1)
    await doubt(database, 5, 0, 60)
    await accept(database, 7, 61, 62)
    bad = "-infinity" if video_id == 2 else "infinity"
    plain.execute("UPDATE history SET at = ? WHERE video_id = ?", bad, video_id)
    assert (video_id != 2, video_id != 7) == (await window(database))[:2]
