import re
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import case, select, update

from tests.conftest import START
from tests.parts import add, facts, later, row
from worker.core.model import Fact, State
from worker.db.database import Database
from worker.db.schema import history, jobs, videos
from worker.store import changes, imports, search, statistics
from worker.store.history import open_doubts

ONE = search.Filter(ids=(1,))


async def cancel(database: Database) -> int:
    """Cancel video 1."""
    return await database.write(lambda c: changes.cancel(c, ONE, START, "person:me"), "test")


async def resolve(database: Database, job_id: str | None) -> bool:
    """Settle the doubt about video 1."""
    return await database.write(lambda c: changes.resolve(c, 1, job_id, START, "person:me"), "test")


async def doubt(database: Database, **columns: object) -> None:
    """Add a video 1 that is in doubt after its first attempt."""
    await add(
        database,
        "https://a.example/1.mp4",
        state="in_doubt",
        attempts=1,
        claims=1,
        media_id="m",
        **columns,
    )
    await database.write(
        lambda c: c.exec_driver_sql(
            "INSERT INTO history (video_id, attempt, at, who, fact)"
            " VALUES (1, 1, '2026-01-01 00:00:00', 'w', 'in_doubt')"
        ),
        "test",
    )


@pytest.mark.parametrize("state", ["pending", "failed"])
async def test_pending_and_failed_videos_can_be_cancelled(database: Database, state: str) -> None:
    """A pending or failed video is cancelled, and its history says so."""
    await add(database, "https://a.example/1.mp4", state=state)
    assert 1 == await cancel(database)
    assert State.CANCELLED == (await row(database, 1))["state"]
    assert [(0, Fact.CANCEL)] == await facts(database, 1)


@pytest.mark.parametrize(("held", "due_at"), [("file:", START), (None, later(START, 9))])
async def test_a_video_that_is_let_go_is_due(
    database: Database, held: str | None, due_at: datetime
) -> None:
    """A moment far ahead by a hold is over with it; one that a person wrote stays."""
    for _ in range(2):
        await add(database, "https://a.example/1.mp4", held_host=held, due_at=later(START, 9))
    assert 1 == await cancel(database)
    assert 1 == await database.write(lambda c: changes.refuse(c, 2, "no", START, "w"), "test")
    assert [due_at, due_at] == [(await row(database, number))["due_at"] for number in (1, 2)]


async def test_what_may_have_been_bought_is_not_cancelled(database: Database) -> None:
    """A video in doubt is not cancelled."""
    await doubt(database)
    assert 0 == await cancel(database)
    assert State.IN_DOUBT == (await row(database, 1))["state"]


async def test_a_doubt_that_a_person_found_is_submitted_and_settled(database: Database) -> None:
    """A job that a person names settles the doubt, and is not possibly bought twice."""
    await doubt(database)
    assert await resolve(database, "job-1")
    settled = await row(database, 1)
    assert (State.SUBMITTED, "job-1", START) == (
        settled["state"],
        settled["job_id"],
        settled["submitted_at"],
    )
    found = await database.read(lambda c: statistics.overview(c, START + timedelta(days=1)))
    assert 0 == found.possibly_twice


async def test_a_doubt_that_is_submitted_waits_for_no_host(database: Database) -> None:
    """A video that gets its job from a person is held for nothing."""
    await doubt(database, held_host="a.example")
    assert await resolve(database, "job-1")
    assert None is (await row(database, 1))["held_host"]


async def test_law_6_a_job_is_not_forgotten_with_a_doubt_that_is_given_up(
    database: Database,
) -> None:
    """Law 6: a job that plain SQL wrote on a video in doubt stays there."""
    await doubt(database, job_id="job-1")
    assert await resolve(database, None)
    given_up = await row(database, 1)
    assert (State.FAILED, "job-1") == (given_up["state"], given_up["job_id"])


async def test_only_a_doubt_can_be_resolved(database: Database) -> None:
    """A video that is not in doubt any more is not changed."""
    await add(database, "https://a.example/1.mp4")
    assert not await resolve(database, "job-1")
    assert State.PENDING == (await row(database, 1))["state"]


async def test_a_job_that_a_person_named_wrongly_is_corrected(database: Database) -> None:
    """A job that the API has never shown makes way for the one that a person names then: that is
    asked about, the doubt stays settled, and the wrong one is bought nowhere, but in the history.
    """
    await doubt(database)
    assert await resolve(database, "job-x")
    gone = update(jobs).values(missing_since=START, ended_at=START, ended_as="gone")
    await database.write(lambda c: c.execute(gone), "test")
    assert await resolve(database, "job-1")
    corrected = await row(database, 1)
    assert (State.SUBMITTED, "job-1", 1) == tuple(
        corrected[name] for name in ("state", "job_id", "claims")
    )
    seen = await database.read(lambda c: statistics.overview(c, START + timedelta(days=1)))
    assert (0, 1) == (seen.possibly_twice, seen.accepted)
    assert {} == await database.read(lambda c: open_doubts(c, [1]))
    (known,) = await database.read(lambda c: search.jobs_of(c, 1))
    assert ("job-1", None) == (known["job_id"], known["ended_as"])
    told = await database.read(
        lambda c: c.execute(select(history.c.job_id, history.c.message).offset(1)).all()
    )
    words = "a person named job job-x, and has corrected that since"
    assert [(None, words), ("job-1", "found by a person")] == told


@pytest.mark.parametrize("spoilt", ["seen", "accepted", "another", "failed", "given up"])
async def test_no_other_job_makes_way(database: Database, spoilt: str) -> None:
    """A job that the API has shown, one that no person named or of an earlier word, one of a video
    that is not submitted, and one for which none is named, stay.
    """
    await doubt(database)
    assert await resolve(database, "job-1")
    change = {
        "seen": update(jobs).values(status="queued"),
        "accepted": update(history).where(history.c.id == 2).values(fact="late_answer"),
        "another": update(history).values(job_id="job-0"),
        "failed": update(videos).values(state="failed"),
        "given up": update(jobs).values(ended_at=START, ended_as="gone"),
    }[spoilt]
    await database.write(lambda c: c.execute(change), "test")
    before = await row(database, 1)
    assert not await resolve(database, None if spoilt == "given up" else "job-2")
    assert before == await row(database, 1)
    assert ["job-1"] == [
        job["job_id"] for job in await database.read(lambda c: search.jobs_of(c, 1))
    ]


async def test_a_doubt_that_was_given_up_is_not_retried_unasked(database: Database) -> None:
    """A retry takes a video given up in doubt only if doubts are included."""
    await doubt(database)
    assert await resolve(database, None)
    assert State.FAILED == (await row(database, 1))["state"]
    assert 0 == await database.write(
        lambda c: changes.retry(c, ONE, doubts=False, now=START, who="person:me"), "test"
    )
    assert 1 == await database.write(
        lambda c: changes.retry(c, ONE, doubts=True, now=START, who="person:me"), "test"
    )


async def test_fresh_columns_do_not_revive_a_doubt_that_was_given_up(database: Database) -> None:
    """An import --update leaves a video given up in doubt as it is."""
    await doubt(database)
    await resolve(database, None)
    done = await database.write(
        lambda c: imports.add_or_update(
            c,
            [{"url": "https://a.example/2.mp4", "media_id": "m"}],
            START,
            imports.options(c, "person:me", START, allow_duplicates=False),
        ),
        "test",
    )
    assert {"media_id is there already, given up in doubt": 1} == dict(done.left)
    assert State.FAILED == (await row(database, 1))["state"]


async def mark_of_failed(database: Database, ids: Sequence[int], at: datetime) -> str:
    """Let these videos alone be failed, changed at a moment; return the mark of a preview."""
    is_one = videos.c.id.in_(ids)
    failed = update(videos).values(state=case((is_one, "failed"), else_="pending"), updated_at=at)
    await database.write(lambda c: c.execute(failed), "test")
    accepted = changes.cancelled(search.Filter(states=(State.FAILED,)))
    return (await database.read(lambda c: changes.selection(c, accepted))).mark


async def test_other_videos_have_another_mark(database: Database) -> None:
    """As many others, whose ids have the same sum, are seen; a form takes each mark as it is."""
    await add(database, *(f"https://a.example/{n}.mp4" for n in range(4)))
    first = await mark_of_failed(database, (1, 4), START)
    assert first == await mark_of_failed(database, (1, 4), START)
    other = await mark_of_failed(database, (2, 3), later(START, 0.000001))
    assert first != other
    for mark in (first, other, await mark_of_failed(database, (), START)):
        assert re.fullmatch(r"[\w.-]+", mark)


async def test_a_job_has_one_holder(database: Database) -> None:
    """The holder of a job is found, and a job without one has none."""
    await doubt(database)
    await resolve(database, "job-1")
    assert 1 == await database.read(lambda c: changes.holder_of(c, "job-1"))
    assert None is await database.read(lambda c: changes.holder_of(c, "job-2"))


TURNED_AWAY = {"attempts": 8, "claims": 8, "http_status": 500, "error": "HTTP 500"}


@pytest.mark.parametrize("state", ["failed", "cancelled"])
async def test_a_list_is_read_after_a_500_whatever_a_person_does(
    database: Database, state: str
) -> None:
    """A 500 may have made a job: neither a retry nor an import lets its video go unchecked."""
    await add(database, "https://a.example/1.mp4", state=state, **TURNED_AWAY)
    await add(database, "https://a.example/2.mp4", state=state, **TURNED_AWAY)
    await database.write(
        lambda c: changes.retry(c, ONE, doubts=False, now=START, who="person:me"), "test"
    )
    options = await database.read(lambda c: imports.options(c, "me", START, allow_duplicates=False))
    rows = [{"url": "https://a.example/2.mp4"}]
    take = imports.add if state == "cancelled" else imports.add_or_update
    await database.write(lambda c: take(c, rows, START, options), "test")
    found = [await row(database, number) for number in (1, 2)]
    assert [(State.PENDING, 500, 0)] * 2 == [
        (each["state"], each["http_status"], each["attempts"]) for each in found
    ]


@pytest.mark.parametrize("media_id", ["talk-1", None])
async def test_a_link_that_is_corrected_after_a_500_is_another_video(
    database: Database, media_id: str | None
) -> None:
    """A job that the 500 has made is of the old link: it is not taken for that of the new one."""
    wrong = {**TURNED_AWAY, "request_id": media_id or "made", "media_id": media_id}
    wrong["updated_at"] = later(START, -60)
    await add(database, "https://a.example/1.mp4", state="failed", **wrong)
    options = await database.read(lambda c: imports.options(c, "me", START, allow_duplicates=False))
    mended = {"url": "https://a.example/2.mp4", "request_id": "made", "media_id": media_id}
    await database.write(lambda c: imports.add_or_update(c, [mended], START, options), "test")
    found = await row(database, 1)
    assert (State.PENDING, None, mended["url"]) == (
        found["state"],
        found["http_status"],
        found["url"],
    )
    assert (found["request_id"] == "talk-1") if media_id else (found["request_id"] != "made")


async def test_a_word_to_buy_twice_waits_for_no_list(database: Database) -> None:
    """A person who says --may-buy-twice has decided; so has an answer that is no 500."""
    for place, (status, doubts) in enumerate([(500, True), (400, False)], start=1):
        url, wrong = f"https://a.example/{place}.mp4", {**TURNED_AWAY, "http_status": status}
        await add(database, url, state="failed", **wrong)
        which = search.Filter(ids=(place,))
        await database.write(
            lambda c, w=which, d=doubts: changes.retry(c, w, doubts=d, now=START, who="person:me"),  # type: ignore[misc]
            "test",
        )
        assert (await row(database, place))["http_status"] is None
