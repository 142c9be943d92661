from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import update

from tests.conftest import START
from tests.parts import SETTINGS, facts, later, row
from tests.store.test_doubts import accept, change, doubt, tell
from worker.core.evidence import PERSON, Absent, Ambiguous, Found, NoEvidence, Resolvable
from worker.core.job_list import Entry, Listing, Unlisted
from worker.core.model import Fact
from worker.core.redact import TEXT_LIMIT
from worker.db.database import Database
from worker.db.schema import account as account_table
from worker.runner.verdicts import JudgedDoubt, Verdicts, next_list_at
from worker.store import doubts, relocation, shared_state

SETTLE = timedelta(seconds=300)
VERDICTS = Verdicts(
    worker="me",
    settings=replace(SETTINGS, doubt_settle_seconds=300.0),
    dice=lambda: 0.5,
)
ASKED = later(START, 360)
NOW = later(START, 365)


def entry(number: int, *, url: bool = False) -> Entry:
    """Return the job of a video as the list shows it."""
    urls = frozenset({f"https://example.org/{number}.mp4"} if url else ())
    named = frozenset({f"r-{number}"})
    return Entry(job_id=f"job-{number}", status=None, identifiers=named, urls=urls)


def shown(*entries: Entry, paged: str | None = None) -> Listing:
    """Return a list with these jobs."""
    return Listing(entries=entries, paged=paged, shape="")


NEIGHBOURS = (entry(1), entry(6))


@pytest.fixture
async def _doubtful(database: Database) -> None:
    """Insert a video in doubt between two that were accepted."""
    await accept(database, 1, -20, -19)
    await doubt(database, 5, 0, 60, media_id="r-5")
    await accept(database, 6, 61, 62)


async def write(
    database: Database, seen: Listing | Unlisted, asked_at: datetime = ASKED, now: datetime = NOW
) -> Sequence[JudgedDoubt]:
    """Judge by a list, and write the verdicts."""
    return await database.write(lambda c: VERDICTS.write(c, seen, asked_at, now), "test")


async def state(database: Database, video_id: int = 5) -> object:
    """Return the state of a video."""
    return (await row(database, video_id))["state"]


@pytest.mark.usefixtures("_doubtful")
async def test_what_is_found_is_submitted(database: Database) -> None:
    """A doubtful video whose job is in the list is submitted with that job."""
    (finding,) = await write(database, shown(*NEIGHBOURS, entry(5, url=True)))
    assert (Found("job-5"), None) == (finding.verdict, finding.resolvable)
    stored = await row(database, 5)
    assert ("submitted", "job-5", NOW) == (
        stored["state"],
        stored["job_id"],
        stored["submitted_at"],
    )
    assert [(1, "in_doubt"), (1, "found")] == await facts(database, 5)


@pytest.mark.usefixtures("_doubtful")
async def test_nothing_is_judged_in_a_queue_that_has_moved(database: Database) -> None:
    """In a queue that has moved no doubt is judged."""
    await database.write(lambda c: relocation.mark(c, "sqlite:///b.db"), "test")
    assert [] == await write(database, shown(*NEIGHBOURS, entry(5, url=True)))
    assert "in_doubt" == await state(database)


@pytest.mark.usefixtures("_doubtful")
async def test_what_is_absent_is_due_again(database: Database) -> None:
    """A video whose job is absent from the list is due again after its backoff."""
    (finding,) = await write(database, shown(*NEIGHBOURS))
    assert (Absent(), None) == (finding.verdict, finding.resolvable)
    stored = await row(database, 5)
    assert ("pending", later(NOW, 5), 1) == (stored["state"], stored["due_at"], stored["attempts"])
    assert [(1, "in_doubt"), (1, "absent")] == await facts(database, 5)


@pytest.mark.usefixtures("_doubtful")
async def test_what_is_absent_and_used_up_is_for_a_person(database: Database) -> None:
    """Law 5: attempts used up by doubts end in doubt, with the command that sends the video
    again.
    """
    await change(database, 5, attempts=3, claims=3)
    (finding,) = await write(database, shown(*NEIGHBOURS))
    assert (Absent(), Resolvable.NONE) == (finding.verdict, finding.resolvable)
    stored = await row(database, 5)
    assert "in_doubt" == stored["state"]
    assert "used up; valossa-ingest retry --may-buy-twice id=5" in str(stored["error"])
    assert 1 == await database.read(lambda c: doubts.count_for_person(c, 0))
    assert [(1, "in_doubt"), (1, "absent")] == await facts(database, 5)
    (again,) = await write(database, shown(*NEIGHBOURS), later(START, 999))
    assert isinstance(again.verdict, NoEvidence)
    assert Resolvable.NONE is again.resolvable
    (last,) = await write(database, shown(entry(5, url=True)), later(START, 999))
    assert Found("job-5") == last.verdict


@pytest.mark.usefixtures("_doubtful")
async def test_what_may_be_ours_stays_in_doubt(database: Database) -> None:
    """A job that is perhaps another database's is named on the row, and the video stays in
    doubt.
    """
    (finding,) = await write(database, shown(*NEIGHBOURS, entry(5)))
    assert isinstance(finding.verdict, Ambiguous)
    assert Resolvable.NONE is finding.resolvable
    stored = await row(database, 5)
    assert ("in_doubt", later(START, 60)) == (stored["state"], stored["updated_at"])
    assert "resolve id=5 --job-id X" in str(stored["error"])
    assert 1 == await database.read(lambda c: doubts.count_for_person(c, 0))


@pytest.mark.usefixtures("_doubtful")
@pytest.mark.parametrize(
    ("seen", "asked", "hope"),
    [
        (shown(*NEIGHBOURS), 359.9, Resolvable.TIME),
        (shown(*NEIGHBOURS, paged="it says next"), 360, Resolvable.NONE),
        (shown(entry(1)), 360, Resolvable.TIME),
        (shown(entry(1)), 362, Resolvable.NONE),
        (Unlisted(reason="HTTP 404", lasting=True), 360, Resolvable.NONE),
        (Unlisted(reason="HTTP 500"), 359, Resolvable.TIME),
        (Unlisted(reason="HTTP 500"), 360, Resolvable.NEWS),
    ],
)
async def test_no_evidence_is_told_on_the_row(
    database: Database, seen: Listing | Unlisted, asked: float, hope: Resolvable
) -> None:
    """A doubt's row says why the list did not settle it."""
    (finding,) = await write(database, seen, later(START, asked))
    assert isinstance(finding.verdict, NoEvidence)
    assert hope is finding.resolvable
    stored = await row(database, 5)
    end = PERSON if hope is Resolvable.NONE else ""
    assert ("in_doubt", f"; evidence: {finding.verdict.reason}{end}") == (
        stored["state"],
        stored["error"],
    )
    for_person = int(hope is Resolvable.NONE)
    assert for_person == await database.read(lambda c: doubts.count_for_person(c, 0))


@pytest.mark.parametrize(("pending", "for_person"), [(0, 1), (1, 0)])
async def test_a_doubt_that_waits_for_a_later_video_waits_in_vain_without_one(
    database: Database, pending: int, for_person: int
) -> None:
    """A doubt that only a later acceptance can settle is a person's while no video is pending."""
    await accept(database, 1, -20, -19)
    await doubt(database, 5, 0, 60, media_id="r-5")
    (finding,) = await write(database, shown(*NEIGHBOURS))
    assert isinstance(finding.verdict, NoEvidence)
    assert Resolvable.NEWS is finding.resolvable
    assert for_person == await database.read(lambda c: doubts.count_for_person(c, pending))


@pytest.mark.usefixtures("_doubtful")
async def test_a_long_error_leaves_room_for_the_evidence(database: Database) -> None:
    """The end of the evidence is on the row, however long the first error and the reason are."""
    await change(database, 5, error="x" * 5_000)
    await write(database, Unlisted(reason="y" * 5_000, lasting=True))
    stored = str((await row(database, 5))["error"])
    assert (TEXT_LIMIT, True) == (len(stored), stored.endswith(PERSON))
    assert stored.startswith("xxx")
    assert "; evidence: no list of jobs: yyy" in stored


@pytest.mark.usefixtures("_doubtful")
async def test_reading_changes_nothing(database: Database) -> None:
    """A dry run returns the verdicts and leaves every row as it is."""
    before = await row(database, 5)
    seen = shown(*NEIGHBOURS)
    (finding,) = await database.write(lambda c: VERDICTS.read(c, seen, ASKED), "test")
    assert Absent() == finding.verdict
    assert before == await row(database, 5)
    assert (await database.read(shared_state.read)).list_read_at is None


@pytest.mark.usefixtures("_doubtful")
async def test_a_later_attempt_is_not_judged_by_an_earlier_list(database: Database) -> None:
    """Law 6: an attempt sent after the list was asked for is not judged by it."""
    await change(database, 5, claims=2, attempts=2, updated_at=later(START, 364))
    await tell(database, 5, Fact.IN_DOUBT, 364, attempt=2, started_at=later(START, 361))
    before = await row(database, 5)
    assert [] == await write(database, shown(*NEIGHBOURS))
    assert before == await row(database, 5)


async def test_two_doubts_of_one_name_are_for_a_person(database: Database) -> None:
    """A job whose name two videos have settles neither doubt."""
    await accept(database, 1, -20, -19)
    await doubt(database, 5, 0, 60, media_id="r-5")
    await doubt(database, 7, 0, 60, media_id="r-5", request_id="r-5")
    await accept(database, 8, 61, 62)
    found = await write(database, shown(entry(1), entry(5, url=True), entry(8)))
    assert [(5, Ambiguous), (7, Ambiguous)] == [(f.doubt.video_id, type(f.verdict)) for f in found]
    found = await write(database, shown(entry(1), entry(8)))
    assert [(5, Resolvable.NONE), (7, Resolvable.NONE)] == [
        (f.doubt.video_id, f.resolvable) for f in found
    ]
    assert ["in_doubt"] * 2 == [await state(database, video_id) for video_id in (5, 7)]


async def turned_away(database: Database, seconds: float = 0, **columns: object) -> None:
    """Return a video that got a documented 500."""
    await doubt(database, 5, -1, seconds, state="pending", http_status=500, **columns)
    await database.write(
        lambda c: c.exec_driver_sql("UPDATE history SET fact = 'try_later' WHERE video_id = 5"),
        "test",
    )


async def test_a_500_that_made_a_job_after_all_is_settled(database: Database) -> None:
    """Law 3: a video whose job is in the list already is not sent again."""
    await turned_away(database, media_id="r-5")
    (finding,) = await write(database, shown(entry(5, url=True)))
    assert (True, Found("job-5")) == (finding.is_recheck, finding.verdict)
    assert ("submitted", "job-5") == (
        await state(database),
        (await row(database, 5))["job_id"],
    )


async def test_a_500_that_perhaps_made_a_job_is_a_doubt(database: Database) -> None:
    """A video with a 500 that perhaps made a job is in doubt, and is not sent again."""
    await turned_away(database, media_id="r-5")
    (finding,) = await write(database, shown(entry(5)))
    assert (True, Resolvable.NONE) == (finding.is_recheck, finding.resolvable)
    assert "in_doubt" == await state(database)
    assert [(1, "try_later"), (1, "in_doubt")] == await facts(database, 5)


LASTING = Unlisted(reason="no", lasting=True)


@pytest.mark.parametrize("seen", [shown(), shown(paged="next"), LASTING])
async def test_a_500_without_a_job_goes_on(database: Database, seen: Listing | Unlisted) -> None:
    """A list without the job, or one that cannot be read, does not hold a video up for ever."""
    await turned_away(database)
    assert [] == await write(database, seen)
    assert "pending" == await state(database)
    assert ASKED == (await database.read(shared_state.read)).list_read_at


async def test_a_500_is_not_sent_again_since_the_list_failed_for_a_moment(
    database: Database,
) -> None:
    """After a 500 and a list that failed for a moment, the video waits for the next list. It
    waits no longer than an absence takes to count.
    """
    await turned_away(database)
    assert [] == await write(database, Unlisted(reason="HTTP 503"))
    assert later(ASKED, -300) == (await database.read(shared_state.read)).list_read_at
    await write(database, shown(), later(ASKED, -10))
    await write(database, Unlisted(reason="HTTP 503"))
    assert later(ASKED, -10) == (await database.read(shared_state.read)).list_read_at


async def test_a_500_that_came_after_the_question_waits_for_the_next(database: Database) -> None:
    """A 500 that came after the list was asked for waits for the next list."""
    await turned_away(database, 361, media_id="r-5")
    assert [] == await write(database, shown(entry(5, url=True)))
    assert "pending" == await state(database)


async def list_at(database: Database, seconds: float) -> float | None:
    """Return when the list is worth asking for, in seconds from the start, as seen then."""
    found = await database.read(lambda c: next_list_at(c, later(START, seconds)))
    return None if found is None else (found - START).total_seconds()


async def asked(database: Database, seconds: float) -> None:
    """Record that the list was asked for then."""
    await database.write(lambda c: shared_state.list_asked(c, later(START, seconds)), "test")


async def test_without_doubts_the_list_is_not_asked_for(database: Database) -> None:
    """Without doubts there is no time to ask for the list."""
    await accept(database, 1, -20, -19)
    assert await list_at(database, 0) is None


@pytest.mark.parametrize(
    ("last_asked", "now", "at"),
    [
        (None, 60, 60),
        (50, 60, 110),
        (50, 200, 110),
        (300, 380, 380),
        (300, 460, 400),
        (0, 100_000, 3600),
        (119, 60, 179),
        (7_000, 60, 60),
    ],
)
async def test_the_older_the_doubts_the_rarer_the_question(
    database: Database, last_asked: float | None, now: float, at: float
) -> None:
    """Between two questions lies a minute, and an hour at most. A clock that stepped back does
    not put the next one off.
    """
    await doubt(database, 5, 0, 60)
    await doubt(database, 7, -99, -9)
    if last_asked is not None:
        await asked(database, last_asked)
    assert at == await list_at(database, now)


@pytest.mark.parametrize(
    ("due", "last_asked", "read", "at"),
    [
        (15, None, None, 15),
        (15, -10, -10, 50),
        (70, -10, -10, 70),
        (15, -10, 0, None),
    ],
)
async def test_a_look_up_is_asked_for_when_its_video_is_due(
    database: Database, due: float, last_asked: float | None, read: float | None, at: float | None
) -> None:
    """The recheck after a 500 is due with the video's backoff, a minute after the last question
    at the earliest.
    """
    await turned_away(database, due_at=later(START, due))
    if last_asked is not None and read is not None:
        values = {"list_asked_at": later(START, last_asked), "list_read_at": later(START, read)}
        await database.write(lambda c: c.execute(update(account_table).values(**values)), "test")
    assert at == await list_at(database, 5)
