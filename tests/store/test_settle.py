from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from tests.conftest import START
from tests.parts import POLICY, SETTINGS, add, facts, later, plans, row, take
from worker.core.decide import decide
from worker.core.model import (
    Accepted,
    AccountRefused,
    Claim,
    ClaimStatus,
    Fact,
    InDoubt,
    Invalid,
    NotSent,
    Outcome,
    Refused,
    Released,
    Result,
    Settlement,
    State,
    Throttled,
    TryLater,
    WrongAddress,
)
from worker.db.database import Database
from worker.db.schema import history, videos
from worker.store import leases, queue, settle
from worker.store.history import open_doubts

LEASE_END = START + SETTINGS.lease
SENT = later(START, 0.05)
NOW = later(START, 1)
AFTER = later(LEASE_END, 1)


def result(claim: Claim, outcome: Outcome) -> Result:
    """Return the result of an attempt that was sent."""
    return Result(claim=claim, outcome=outcome, started_at=SENT)


async def write(database: Database, now: datetime, *results: Result) -> list[Settlement]:
    """Settle as the writer does: look, decide, write."""

    def work(connection: Connection) -> list[Settlement]:
        settlements = [
            Settlement(
                result=each,
                status=status,
                transition=decide(each.claim, each.outcome, status, now, 0.5, POLICY),
            )
            for each, status in zip(results, settle.statuses(connection, results), strict=True)
        ]
        settle.settle(connection, settlements, now, "worker-1")
        return settlements

    return await database.write(work, "test")


async def claimed(database: Database, **columns: object) -> Claim:
    """Return a video under a claim."""
    await add(database, "https://example.org/a.mp4", due_at=START, **columns)
    (claim,) = await take(database, START)
    return claim


async def expire(database: Database) -> None:
    """Let every lease run out."""
    await database.write(lambda c: leases.expire(c, LEASE_END, "worker-2"), "test")


async def repeat(database: Database) -> None:
    """Make every doubt due again."""
    await database.write(lambda c: leases.repeat_doubts(c, AFTER, 99, AFTER, "worker-2"), "test")


async def doubts(database: Database, *ids: int) -> dict[int, set[int]]:
    """Return the attempts that are in doubt."""
    return await database.read(lambda c: open_doubts(c, ids))


async def change(database: Database, **columns: object) -> None:
    """Change every row as a person could."""
    await database.write(lambda c: c.execute(update(videos).values(**columns)), "test")


async def stories(database: Database) -> list[dict[str, Any]]:
    """Return the whole history."""
    rows = await database.read(lambda c: c.execute(select(history)).mappings().all())
    return [dict(each) for each in rows]


def end(stored: dict[str, object]) -> dict[str, object]:
    """Return what a settle writes, without the empty fields."""
    names = ("state", "attempts", "job_id", "http_status", "error", "submitted_at", "updated_at")
    claim = ("claim_token", "claimed_by", "lease_until")
    return {name: stored[name] for name in (*names, *claim) if stored[name] is not None}


OWN: list[tuple[Outcome, dict[str, object], datetime]] = [
    (
        Accepted("job-1", 200),
        {"state": "submitted", "attempts": 1, "job_id": "job-1", "submitted_at": NOW},
        START,
    ),
    (Refused("no such format", 400), {"state": "failed", "attempts": 1}, START),
    (Invalid("url: is empty"), {"state": "failed", "attempts": 0}, START),
    (InDoubt("no answer", None), {"state": "in_doubt", "attempts": 1}, START),
    (InDoubt("not JSON", 200), {"state": "in_doubt", "attempts": 1}, START),
    (TryLater("busy", 503), {"state": "pending", "attempts": 1}, later(NOW, 5)),
    (TryLater("busy", 503, spent=False), {"state": "pending", "attempts": 0}, later(NOW, 5)),
    (Throttled("slow down", 429), {"state": "pending", "attempts": 0}, later(NOW, 5)),
    (AccountRefused("who?", 401), {"state": "pending", "attempts": 0}, later(NOW, 5)),
    (WrongAddress("what?", 404), {"state": "pending", "attempts": 0}, later(NOW, 5)),
    (NotSent("no route"), {"state": "pending", "attempts": 0}, later(NOW, 5)),
    (Released("our own stop"), {"state": "pending", "attempts": 0}, START),
]


@pytest.mark.parametrize(("outcome", "expected", "due_at"), OWN)
async def test_an_outcome_is_written_under_its_claim(
    database: Database, outcome: Outcome, expected: dict[str, object], due_at: datetime
) -> None:
    """The row holds the answer's state, result and next time, and the claim is over."""
    claim = await claimed(database)
    (settlement,) = await write(database, NOW, result(claim, outcome))
    assert settlement.status.own
    stored = await row(database, 1)
    assert due_at == stored["due_at"]
    silent = isinstance(outcome, Accepted | Released)
    said = {} if silent else {"error": outcome.message}
    status = {} if outcome.status is None else {"http_status": outcome.status}
    assert expected | said | status | {"updated_at": NOW} == end(stored)


@pytest.mark.parametrize("outcome", [outcome for outcome, _, _ in OWN])
async def test_each_outcome_is_a_fact(database: Database, outcome: Outcome) -> None:
    """The history of a video has each attempt: its time, its worker and its outcome."""
    claim = await claimed(database, claims=2)
    await write(database, NOW, result(claim, outcome))
    assert [
        {
            "id": 1,
            "video_id": 1,
            "attempt": 3,
            "at": NOW,
            "who": "worker-1",
            "fact": outcome.fact.value,
            "started_at": SENT,
            "http_status": outcome.status,
            "message": outcome.message,
            "job_id": outcome.job_id if isinstance(outcome, Accepted) else None,
        }
    ] == await stories(database)


async def test_what_was_counted_before_is_kept(database: Database) -> None:
    """Attempts add up, and the last one allowed ends as a failure that says so."""
    claim = await claimed(database, attempts=2, claims=2)
    await write(database, NOW, result(claim, TryLater("busy", 503)))
    stored = await row(database, 1)
    last = "busy (attempt 3, the last one allowed)"
    assert ("failed", 3, last) == (stored["state"], stored["attempts"], stored["error"])


async def test_an_old_result_is_wiped_by_the_new(database: Database) -> None:
    """The row shows the last result, not a mixture."""
    claim = await claimed(database, error="old", http_status=500)
    await write(database, NOW, result(claim, Released("our own stop")))
    assert {"state": "pending", "attempts": 0, "updated_at": NOW} == end(await row(database, 1))


LATE: list[tuple[Outcome, str, int]] = [
    (Accepted("job-1", 200), "submitted", 1),
    (Refused("no such format", 400), "failed", 1),
    (TryLater("busy", 503), "pending", 1),
    (Throttled("slow down", 429), "pending", 0),
    (NotSent("no route"), "pending", 0),
    (Released("our own stop"), "pending", 0),
]


@pytest.mark.parametrize(("outcome", "state", "attempts"), LATE)
@pytest.mark.parametrize("claims", [0, 4])
async def test_a_late_answer_settles_its_own_doubt(
    database: Database, outcome: Outcome, state: str, attempts: int, claims: int
) -> None:
    """Law 6: expiry keeps the token, so the answer still counts, and counts once; and law 5 does
    not mean the doubt that it settles.
    """
    claim = await claimed(database, claims=claims)
    await expire(database)
    assert {1: {claims + 1}} == await doubts(database, 1)
    (settlement,) = await write(database, AFTER, result(claim, outcome))
    assert settlement.status.late
    stored = await row(database, 1)
    assert (state, attempts) == (stored["state"], stored["attempts"])
    assert [None, None, None] == [stored[name] for name in queue.UNCLAIMED]
    ends = [(claims + 1, "in_doubt"), (claims + 1, "late_answer")]
    assert ends == await facts(database, 1)
    assert {} == await doubts(database, 1)


@pytest.mark.parametrize(("said", "told"), [("hello", "accepted: hello"), (None, "accepted")])
async def test_a_late_answer_is_told_for_what_it_is(
    database: Database, said: str | None, told: str
) -> None:
    """The fact that closes a doubt names the answer, and brings the job with it."""
    claim = await claimed(database)
    await expire(database)
    await write(database, AFTER, result(claim, Accepted("job-1", 200, said)))
    _, late = await stories(database)
    found = (late["message"], late["http_status"], late["job_id"], late["started_at"])
    assert (told, 200, "job-1", SENT) == found


async def test_a_late_silence_says_nothing_new(database: Database) -> None:
    """Law 5: a doubt that stands is not closed by a result that is in doubt itself."""
    claim = await claimed(database)
    await expire(database)
    before = await row(database, 1)
    await write(database, AFTER, result(claim, InDoubt("no answer")))
    assert before == await row(database, 1)
    assert [(1, "in_doubt")] == await facts(database, 1)
    assert {1: {1}} == await doubts(database, 1)


CLAIMED = {"claim_token": "another", "claimed_by": "w", "lease_until": later(AFTER, 60)}


@pytest.mark.parametrize("state", ["pending", "failed", "in_doubt", "cancelled"])
async def test_a_late_job_is_always_written_down(database: Database, state: str) -> None:
    """Law 6: a bought video's job is known and stays, whatever became of the video meanwhile."""
    claim = await claimed(database)
    await expire(database)
    await change(database, state=state, **queue.UNCLAIMED)
    (settlement,) = await write(database, AFTER, result(claim, Accepted("job-1", 200)))
    assert (False, False) == (settlement.status.own, settlement.status.late)
    stored = await row(database, 1)
    found = (stored["state"], stored["job_id"], stored["submitted_at"], stored["updated_at"])
    assert ("submitted", "job-1", AFTER, AFTER) == found
    assert [(1, "in_doubt"), (1, "late_answer")] == await facts(database, 1)
    assert [] == await take(database, later(AFTER, 999))


async def repeated(database: Database) -> tuple[Claim, Claim]:
    """Return a first attempt in doubt, and a second one under way."""
    first = await claimed(database)
    await expire(database)
    await repeat(database)
    (second,) = await take(database, AFTER)
    return first, second


SECOND: list[tuple[Outcome, int, str | None]] = [
    (Accepted("job-1", 200), 2, None),
    (Accepted("job-2", 200), 2, "bought twice: job job-2 was made as well"),
    (Refused("no such format", 400), 2, None),
    (TryLater("busy", 503), 2, None),
    (InDoubt("no answer"), 2, None),
    (Released("our own stop"), 1, None),
]


@pytest.mark.parametrize(("outcome", "attempts", "error"), SECOND)
async def test_a_late_job_waits_for_the_attempt_under_way(
    database: Database, outcome: Outcome, attempts: int, error: str | None
) -> None:
    """Law 6: a job of the first attempt is known at once, and the second one's end, whatever it
    is, leaves the video submitted; a second purchase is said.
    """
    first, second = await repeated(database)
    await write(database, AFTER, result(first, Accepted("job-1", 200)))
    stored = await row(database, 1)
    assert ("submitting", "job-1", second.token) == (
        stored["state"],
        stored["job_id"],
        stored["claim_token"],
    )
    await write(database, later(AFTER, 1), result(second, outcome))
    stored = await row(database, 1)
    found = (stored["state"], stored["job_id"], stored["attempts"], stored["error"])
    assert ("submitted", "job-1", attempts, error) == found
    assert (2, outcome.fact.value) == (await facts(database, 1))[-1]


@pytest.mark.parametrize("kept", ["submitted", "failed", "cancelled"])
async def test_a_second_purchase_is_never_forgotten(database: Database, kept: str) -> None:
    """Law 6: even where the doubt was closed meanwhile and the token is still the attempt's own,
    a job that it brings is in the history.
    """
    claim = await claimed(database)
    await expire(database)
    await change(database, state=kept, job_id="job-1")
    await write(database, AFTER, result(claim, Accepted("job-2", 200)))
    assert "job-1" == (await row(database, 1))["job_id"]
    assert [(1, "in_doubt"), (1, "late_answer")] == await facts(database, 1)
    assert "job-2" == (await stories(database))[-1]["job_id"]


@pytest.mark.parametrize(
    "outcome",
    [Refused("no such format", 400), TryLater("busy", 503), Throttled("slow", 429), NotSent("no")],
)
async def test_a_lost_claim_changes_nothing(database: Database, outcome: Outcome) -> None:
    """Law 6: an answer to an old attempt does not end another one; it closes its own doubt."""
    first, second = await repeated(database)
    before = await row(database, 1)
    (settlement,) = await write(database, AFTER, result(first, outcome))
    assert (False, False) == (settlement.status.own, settlement.status.late)
    assert before == await row(database, 1)
    assert (1, "late_answer") == (await facts(database, 1))[-1]
    assert {} == await doubts(database, 1)
    await write(database, AFTER, result(second, Accepted("job-2", 200)))
    assert "submitted" == (await row(database, 1))["state"]


async def test_a_lost_claim_in_doubt_says_nothing(database: Database) -> None:
    """An old attempt without a known result stays in doubt."""
    first, _ = await repeated(database)
    before = await row(database, 1)
    await write(database, AFTER, result(first, InDoubt("no answer")))
    assert before == await row(database, 1)
    assert {1: {1}} == await doubts(database, 1)


async def test_both_attempts_of_a_video_end_in_one_transaction(database: Database) -> None:
    """Law 6: settled together, neither the old nor the new attempt's job is lost."""
    first, second = await repeated(database)
    await write(
        database,
        AFTER,
        result(first, Accepted("job-1", 200)),
        result(second, Accepted("job-2", 200)),
    )
    stored = await row(database, 1)
    assert ("submitted", "job-2") == (stored["state"], stored["job_id"])
    assert ["job-2", "job-1"] == [
        each["job_id"] for each in await stories(database) if each["job_id"]
    ]


async def test_an_old_job_beats_a_refusal_in_the_same_transaction(database: Database) -> None:
    """Law 6: refused now, but bought before: the video is submitted."""
    first, second = await repeated(database)
    await write(
        database, AFTER, result(second, Refused("no", 400)), result(first, Accepted("job-1", 200))
    )
    stored = await row(database, 1)
    assert ("submitted", "job-1") == (stored["state"], stored["job_id"])


HELD = "the API answered with job job-1, which video {} holds already"


async def test_a_job_that_another_video_holds_is_a_doubt(database: Database) -> None:
    """One job is never two videos': the row names the one that has it."""
    await add(database, "u", state="submitted", job_id="job-1")
    claim = await claimed(database)
    await write(database, NOW, result(claim, Accepted("job-1", 200)))
    stored = await row(database, 2)
    found = (stored["state"], stored["job_id"], stored["error"], stored["attempts"])
    assert ("in_doubt", None, HELD.format(1), 1) == found
    story = (await stories(database))[-1]
    assert ("in_doubt", None) == (story["fact"], story["job_id"])
    assert "answered with job job-1, which video 1 holds" == story["message"]


async def test_two_videos_that_bring_one_job_at_once(database: Database) -> None:
    """Inside one transaction the first to bring a job holds it."""
    await add(database, "a", "b", "c", due_at=START)
    first, second, third = await take(database, START, limit=3)
    await write(
        database,
        NOW,
        result(second, Accepted("job-1", 200)),
        result(first, Accepted("job-1", 200)),
        result(third, Accepted("job-3", 200)),
    )
    stored = [await row(database, number) for number in (1, 2, 3)]
    assert ["in_doubt", "submitted", "submitted"] == [each["state"] for each in stored]
    assert [None, "job-1", "job-3"] == [each["job_id"] for each in stored]
    assert HELD.format(2) == stored[0]["error"]


async def test_a_lost_claim_takes_no_job_from_another(database: Database) -> None:
    """A late job that another video holds stays with that one, and is still written down."""
    first, second = await repeated(database)
    await add(database, "u", state="submitted", job_id="job-1")
    before = await row(database, 1)
    await write(database, AFTER, result(first, Accepted("job-1", 200)))
    assert before == await row(database, 1)
    story = (await stories(database))[-1]
    assert ("in_doubt", 1, None) == (story["fact"], story["attempt"], story["job_id"])
    assert "answered with job job-1, which video 2 holds" == story["message"]
    await write(database, AFTER, result(second, Accepted("job-2", 200)))
    assert "job-2" == (await row(database, 1))["job_id"]


CLOSING: list[tuple[Outcome, int, str, int]] = [
    (Refused("no such format", 400), 0, "no such format", 2),
    (Invalid("url: is empty"), 0, "url: is empty", 1),
    (TryLater("busy", 503), 1, "busy (attempt 3, the last one allowed)", 3),
]


@pytest.mark.parametrize(("outcome", "more", "said", "attempts"), CLOSING)
async def test_a_clear_answer_leaves_an_earlier_doubt(
    database: Database, outcome: Outcome, more: int, said: str, attempts: int
) -> None:
    """Law 5: refused now, but perhaps bought before: the video stays in doubt, and says both."""
    first = await claimed(database, attempts=more, claims=more)
    await expire(database)
    await repeat(database)
    (second,) = await take(database, AFTER)
    await write(database, AFTER, result(second, outcome))
    stored = await row(database, 1)
    why = f"an earlier attempt is still in doubt; the last one ended in: {said}"
    assert ("in_doubt", why, attempts) == (stored["state"], stored["error"], stored["attempts"])
    assert {1: {first.attempt}} == await doubts(database, 1)


@pytest.mark.parametrize(("outcome", "more", "said", "attempts"), CLOSING)
async def test_a_doubt_that_was_settled_does_not_count(
    database: Database, outcome: Outcome, more: int, said: str, attempts: int
) -> None:
    """Law 5: once the earlier attempt's own answer has come, a refusal is a failure."""
    first = await claimed(database, attempts=more, claims=more)
    await expire(database)
    await repeat(database)
    (second,) = await take(database, AFTER)
    await write(database, AFTER, result(first, Refused("no", 400)))
    await write(database, AFTER, result(second, outcome))
    stored = await row(database, 1)
    assert ("failed", said, attempts) == (stored["state"], stored["error"], stored["attempts"])


async def test_a_doubt_of_another_video_does_not_count(database: Database) -> None:
    """Law 5 speaks of the attempts of one video."""
    await claimed(database)
    await expire(database)
    claim = await claimed(database, claims=1)
    await write(database, NOW, result(claim, Refused("no", 400)))
    assert "failed" == (await row(database, 2))["state"]
    assert {1: {1}} == await doubts(database, 1, 2)


@pytest.mark.parametrize(
    ("attempt", "job_id", "left"),
    [
        (2, "job-1", {}),
        (1, "job-1", {1: {2}}),
        (2, None, {1: {1, 2}}),
    ],
)
async def test_a_person_who_finds_the_job_settles_the_doubts_up_to_then(
    database: Database, attempt: int, job_id: str | None, left: dict[int, set[int]]
) -> None:
    """Law 5: a job that was found answers for the attempts before it; giving up answers none."""
    said = {"video_id": 1, "at": START, "who": "a person"}
    rows = [
        {**said, "attempt": 1, "fact": Fact.IN_DOUBT, "job_id": None},
        {**said, "attempt": 2, "fact": Fact.IN_DOUBT, "job_id": None},
        {**said, "attempt": attempt, "fact": Fact.RESOLVE, "job_id": job_id},
    ]
    await database.write(lambda c: c.execute(insert(history), rows), "test")
    assert left == await doubts(database, 1)


async def test_doubts_of_nothing_are_none(database: Database) -> None:
    """Asking about no video finds no doubt."""
    assert {} == await doubts(database)


async def test_a_row_that_was_deleted_meanwhile(database: Database) -> None:
    """A job of a deleted video is still in the history, and the settle goes on."""
    await add(database, "a", "b", due_at=START)
    first, second = await take(database, START, limit=2)
    await database.write(lambda c: c.execute(delete(videos).where(videos.c.id == 1)), "test")
    gone, kept = await write(
        database, NOW, result(first, Accepted("job-1", 200)), result(second, Accepted("job-2", 200))
    )
    assert (None, True) == (gone.status.state, kept.status.own)
    assert [(1, "late_answer")] == await facts(database, 1)
    assert "submitted" == (await row(database, 2))["state"]


LONG = "a\0b\ud800c" + "x" * 3000


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Refused(LONG, 400), "a\ufffdb\ufffdc" + "x" * 1995),
        (InDoubt("", 200), ""),
    ],
)
async def test_text_is_stored_clean_and_cut(
    database: Database, outcome: Outcome, text: str
) -> None:
    """The API's text can be stored and printed, however strange and long it is."""
    claim = await claimed(database)
    await write(database, NOW, result(claim, outcome))
    assert text == (await row(database, 1))["error"]
    assert [text] == [each["message"] for each in await stories(database)]


async def test_nothing_to_settle_is_nothing(database: Database) -> None:
    """An empty transaction writes nothing."""
    assert [] == await write(database, NOW)
    assert [] == await stories(database)


def test_a_claim_status_is_one_thing_at_most() -> None:
    """A claim is in force, or late, or lost."""
    for state in (None, *State):
        for holds in (False, True):
            status = ClaimStatus(state=state, holds=holds)
            assert (holds and state is State.SUBMITTING) == status.own
            assert (holds and state is State.IN_DOUBT) == status.late


@pytest.mark.usefixtures("path")
async def test_a_settle_searches_nothing_row_by_row(database: Database) -> None:
    """However long the table and its history, a settle finds what it needs by index."""
    _, second = await repeated(database)
    results = [result(second, Accepted("job-1", 200))]
    found = await database.read(lambda c: plans(c, lambda c: settle.statuses(c, results)))
    assert "SEARCH videos USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN" in found
    assert "SEARCH holder USING INDEX videos_job_id (job_id=?) LEFT-JOIN" in found
    scanned = [each for each in found if "SCAN" in each]
    assert ["SCAN json_each VIRTUAL TABLE INDEX 1:"] == scanned
