"""Videos that may be pruned, and all that is still known of them."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from tests.conftest import START
from tests.parts import add, later, row, take
from worker.core.evidence import Doubt
from worker.core.model import Cap, State, Twin
from worker.db.database import Database
from worker.db.schema import account, history, jobs, pruned, results, videos
from worker.store import caps, changes, doubts, imports, pruning, queue, statistics

NOW = START
OLD, YOUNG = later(NOW, -100 * 86_400), later(NOW, -40 * 86_400)
QUARTER = timedelta(days=90)
TOTAL = Cap(name="max_total", most=100, window=None)


async def put(database: Database, url: str, at: datetime = OLD, **columns: Any) -> int:  # noqa: ANN401 - as the columns
    """Insert a video that last changed then, and return its id."""
    values = {"url": url, "state": "submitted", "claims": 1, "attempts": 1, "updated_at": at}
    if columns.get("job_id"):
        values["submitted_at"] = at
    new = insert(videos).values(**{**values, **columns}).returning(videos.c.id)
    video = int(await database.write(lambda c: c.execute(new).scalar_one(), "test"))
    end = update(jobs).values(ended_as="finished", ended_at=at)
    await database.write(lambda c: c.execute(end), "test")
    return video


async def tell(
    database: Database, video: int, fact: str, at: datetime = OLD, attempt: int = 1, **more: object
) -> None:
    """Record a fact of a video."""
    values = {"video_id": video, "attempt": attempt, "at": at, "who": "w", "fact": fact, **more}
    await database.write(lambda c: c.execute(insert(history).values(values)), "test")


async def bought(database: Database, url: str, at: datetime = OLD, **columns: Any) -> int:  # noqa: ANN401 - as the columns
    """Insert a video that was accepted then, with its history."""
    job = f"job-{url}"
    video = await put(database, url, at, job_id=job, **columns)
    await tell(database, video, "accepted", at, started_at=at, job_id=job)
    return video


async def prune(database: Database, older_than: timedelta = QUARTER) -> list[str]:
    """Prune as a command does, and return the addresses that are left."""
    before = await database.read(lambda c: pruning.boundary(c, NOW, NOW - older_than))
    ids, _ = await database.read(lambda c: pruning.look(c, 0, before, "status"))
    assert len(ids) == await database.read(lambda c: pruning.count(c, before, "status"))
    assert len(ids) == await database.write(
        lambda c: pruning.prune(c, ids, before, "status", NOW), "test"
    )
    return await database.read(lambda c: list(c.scalars(select(videos.c.url).order_by("id"))))


async def test_what_is_finished_for_long_is_pruned_with_its_history(database: Database) -> None:
    """Old rows that are submitted, failed or cancelled go with their history; those bought leave
    their address and job.
    """
    await bought(database, "a", media_id="m", unsigned_url="u")
    failed = await put(database, "b", state="failed")
    await tell(database, failed, "refused")
    await put(database, "c", state="cancelled")
    await bought(database, "young", YOUNG)
    assert ["young"] == await prune(database)
    facts = await database.read(lambda c: c.scalars(select(history.c.video_id)).all())
    assert [4] == facts
    kept = await database.read(lambda c: c.execute(select(pruned)).all())
    assert [(1, "a", "u", "m", "job-a", NOW)] == [tuple(each) for each in kept]


@pytest.mark.parametrize("follow", ["status", "results", "off"])
async def test_an_open_job_is_never_pruned_while_it_is_followed(
    database: Database, follow: str
) -> None:
    """A video whose job has not ended stays, however old; without following no job ever ends."""
    video = await bought(database, "a")
    await database.write(
        lambda c: c.execute(update(jobs).values(ended_as=None, ended_at=None)), "test"
    )
    number = await database.read(lambda c: pruning.count(c, YOUNG, follow))
    done = await database.write(lambda c: pruning.prune(c, [video], YOUNG, follow, NOW), "test")
    assert (follow == "off") == bool(number) == bool(done)


@pytest.mark.parametrize("follow", ["status", "results", "off"])
@pytest.mark.parametrize("state", ["wanted", "stored", "failed"])
async def test_a_result_that_is_to_be_fetched_keeps_its_video(
    database: Database, follow: str, state: str
) -> None:
    """A video stays while a result of its job is wanted, whatever the settings of who prunes."""
    video = await bought(database, "a")
    await bought(database, "b")
    wanted = [{"job_id": "job-a", "type": "core", "state": state}]
    await database.write(lambda c: c.execute(insert(results), wanted), "test")
    number = await database.read(lambda c: pruning.count(c, YOUNG, follow))
    done = await database.write(lambda c: pruning.prune(c, [video], YOUNG, follow, NOW), "test")
    stays = state == "wanted"
    assert (1 if stays else 2, 0 if stays else 1) == (number, done)


async def test_jobs_and_results_are_pruned_with_their_video(database: Database) -> None:
    """The rows of the jobs and results of a pruned video go with it, and no others."""
    await bought(database, "a")
    await bought(database, "young", YOUNG)
    rows = [{"job_id": f"job-{url}", "type": "core", "state": "stored"} for url in ("a", "young")]
    await database.write(lambda c: c.execute(insert(results), rows), "test")
    assert ["young"] == await prune(database)
    for table in (jobs, results):
        left = await database.read(lambda c, t=table: c.scalars(select(t.c.job_id)).all())  # type: ignore[misc]
        assert ["job-young"] == left


@pytest.mark.parametrize("state", ["pending", "submitting", "in_doubt"])
async def test_law_5_what_is_not_finished_is_never_pruned(database: Database, state: str) -> None:
    """Law 5: a video that waits, is in flight or in doubt stays, however old it is."""
    claim: dict[str, Any] = {"claim_token": "t", "claimed_by": "w", "lease_until": OLD}
    await put(database, "a", state=state, **claim)
    assert ["a"] == await prune(database)


@pytest.mark.parametrize("state", ["failed", "cancelled", "submitted"])
async def test_law_5_an_open_doubt_is_never_pruned(database: Database, state: str) -> None:
    """Law 5: a video of which an attempt is still in doubt stays, also given up or cancelled."""
    job = "job-1" if state == "submitted" else None
    video = await put(database, "a", state=state, job_id=job)
    await tell(database, video, "in_doubt", started_at=OLD)
    assert ["a"] == await prune(database)
    await tell(database, video, "absent")
    assert [] == await prune(database)


async def test_law_6_a_job_that_the_row_does_not_name_is_never_forgotten(
    database: Database,
) -> None:
    """Law 6: a video whose history has another job than its row stays."""
    video = await bought(database, "a")
    await tell(database, video, "late_answer", job_id="another")
    await tell(database, await put(database, "b", state="failed"), "found", job_id="lost")
    assert ["a", "b"] == await prune(database)


async def test_a_video_of_which_something_happened_lately_stays(database: Database) -> None:
    """A fact, a change or a submission of late keeps a video."""
    await tell(database, await bought(database, "a"), "cancel", YOUNG)
    await put(database, "b", YOUNG, state="failed")
    await put(database, "c", job_id="job-c", submitted_at=YOUNG)
    await tell(database, await put(database, "d", state="failed"), "refused", at=YOUNG)
    assert ["a", "b", "c", "d"] == await prune(database)


async def test_what_a_cap_or_this_month_counts_is_never_pruned(database: Database) -> None:
    """A cap by the day and the numbers of this month count the same after the youngest prune."""
    day = Cap(name="max_per_day", most=5, window=timedelta(hours=24))
    for number in range(4):
        await bought(database, f"{number}", later(NOW, -number * 8 * 3600))
    levels = [await database.read(lambda c: caps.level(c, day, NOW))]
    months = [(await database.read(lambda c: statistics.overview(c, NOW))).accepted_this_month]
    await prune(database, timedelta(0))
    levels += [await database.read(lambda c: caps.level(c, day, NOW))]
    months += [(await database.read(lambda c: statistics.overview(c, NOW))).accepted_this_month]
    assert levels[0] == levels[1]
    assert months[0] == months[1]


async def test_a_cap_for_all_time_counts_what_was_pruned(database: Database) -> None:
    """max_total and the jobs accepted in all stay the same."""
    await bought(database, "a")
    found = await put(database, "b", job_id="job-b")
    await tell(database, found, "in_doubt", started_at=OLD)
    await tell(database, found, "found", job_id="job-b")
    late = await put(database, "c", job_id="job-c")
    await tell(database, late, "try_later")
    await tell(database, late, "found", job_id="job-c")
    absent = await put(database, "d", state="failed")
    await tell(database, absent, "in_doubt")
    await tell(database, absent, "absent")
    await bought(database, "young", YOUNG)

    async def numbers() -> tuple[int, int]:
        level = await database.read(lambda c: caps.level(c, TOTAL, NOW))
        return level.used, (await database.read(lambda c: statistics.overview(c, NOW))).accepted

    before = await numbers()
    assert ["young"] == await prune(database)
    assert (4, 4) == before == await numbers()


async def test_what_may_be_bought_twice_is_counted_as_before(database: Database) -> None:
    """A second job of an address counts beside a pruned one, whichever came before the prune."""
    await bought(database, "a")
    await put(database, "a", job_id="second")
    assert 1 == (await database.read(lambda c: statistics.overview(c, NOW))).possibly_twice
    assert [] == await prune(database)
    assert 1 == (await database.read(lambda c: statistics.overview(c, NOW))).possibly_twice
    await put(database, "a", NOW, job_id="third")
    assert 2 == (await database.read(lambda c: statistics.overview(c, NOW))).possibly_twice


async def test_an_open_doubt_of_a_pruned_address_may_be_a_second_job(database: Database) -> None:
    """A doubt counts as possibly bought twice where the other job of its address is pruned."""
    await bought(database, "a")
    assert [] == await prune(database)
    video = await put(database, "a", NOW, state="failed")
    await tell(database, video, "in_doubt", NOW)
    assert 1 == (await database.read(lambda c: statistics.overview(c, NOW))).possibly_twice


async def test_law_17_no_claim_buys_a_pruned_address(database: Database) -> None:
    """Law 17: a claim finds the pruned video of its address; a person's word still allows it."""
    await bought(database, "a")
    assert [] == await prune(database)
    await add(database, "a", due_at=OLD)
    await add(database, "a", due_at=OLD, may_buy_twice=1)
    claims = await take(database, NOW, 2)
    assert [Twin(1, State.SUBMITTED, "job-a"), None] == [each.twin for each in claims]
    twins = await database.read(lambda c: queue.twins_of(c, [2]))
    assert Twin(1, State.SUBMITTED, "job-a") == twins[2]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"url": "a"}, "same url"),
        ({"url": "b", "media_id": "m"}, "same media_id"),
        ({"url": "b", "job_id": "job-a"}, "same job_id"),
        ({"url": "a?sig=2", "unsigned_url": "u"}, "looks like"),
        ({"url": "u"}, "looks like"),
    ],
)
async def test_law_17_no_import_takes_a_pruned_video_again(
    database: Database, values: dict[str, object], reason: str
) -> None:
    """Law 17: a row with a pruned video's address, media id or job is skipped, and says why."""
    await bought(database, "a", media_id="m", unsigned_url="u")
    assert [] == await prune(database)
    options = await database.read(lambda c: imports.options(c, "me", NOW, allow_duplicates=False))
    done = await database.write(lambda c: imports.add(c, [values], NOW, options), "test")
    ((_, kind, told),) = done.passed
    assert (0, "skipped", reason) == (done.inserted, kind, told[: len(reason)])
    assert told.endswith(": video 1, which was pruned")


async def test_what_bought_nothing_is_no_obstacle_after_it_is_pruned(database: Database) -> None:
    """A failed video that was pruned blocks no import of its address."""
    await put(database, "a", state="failed", media_id="m")
    assert [] == await prune(database)
    options = await database.read(lambda c: imports.options(c, "me", NOW, allow_duplicates=False))
    rows = [{"url": "a", "media_id": "m"}]
    done = await database.write(lambda c: imports.add(c, rows, NOW, options), "test")
    assert 1 == done.inserted


async def test_what_a_last_500_may_have_bought_is_never_pruned(database: Database) -> None:
    """A video that failed by a documented 500 keeps its row: an import would buy it again."""
    await put(database, "a", state="failed", http_status=500)
    assert ["a"] == await prune(database)


async def test_the_earlier_job_of_a_cancelled_video_is_not_forgotten(database: Database) -> None:
    """A job that no fact names, as of an import, keeps the row that was to be bought again."""
    video = await put(database, "a", state="cancelled")
    of = {"job_id": "theirs", "video_id": video, "attempt": 0, "accepted_at": OLD}
    earlier = insert(jobs).values(**of, ended_as="error", ended_at=OLD)
    await database.write(lambda c: c.execute(earlier), "test")
    assert ["a"] == await prune(database)


async def test_a_pruned_job_is_known(database: Database) -> None:
    """A job of a pruned video is held: no list gives it to another video, nor does a person."""
    await bought(database, "a")
    assert [] == await prune(database)
    assert {"job-a"} == await database.read(lambda c: doubts.held(c, ["job-a", "job-b"]))
    assert 1 == await database.read(lambda c: changes.holder_of(c, "job-a"))


async def doubt(database: Database, began: datetime) -> int:
    """Insert a video in doubt since then."""
    video = await put(database, "doubt", began, state="in_doubt")
    await tell(database, video, "in_doubt", began, started_at=began)
    return video


async def judged(database: Database) -> Doubt:
    """Return the doubt as a verdict sees it."""
    (found,) = await database.read(lambda c: doubts.doubts(c, NOW))
    return found


async def test_law_3_the_acceptances_around_a_doubt_are_kept(database: Database) -> None:
    """Law 3: the proof that a doubtful job is absent rests on the same jobs after a prune."""
    for number in range(3):
        await bought(database, f"{number}", later(OLD, number * 60))
    await doubt(database, later(OLD, 150))
    for number in range(3, 6):
        await bought(database, f"{number}", later(OLD, number * 60))
    before = await judged(database)
    assert (True, True, 2) == (before.before, before.after, len(before.neighbours))
    assert ["2", "doubt", "3", "4", "5"] == await prune(database)
    assert before == await judged(database)


async def test_a_doubt_without_an_acceptance_before_it_keeps_what_came_after(
    database: Database,
) -> None:
    """Where nothing was accepted before a doubt, all that came later stays."""
    await doubt(database, OLD)
    await bought(database, "a", later(OLD, 1))
    assert ["doubt", "a"] == await prune(database)


async def test_nothing_is_pruned_of_a_queue_that_has_moved(database: Database) -> None:
    """A queue that has moved is left as it is."""
    video = await bought(database, "a")
    await database.write(lambda c: c.execute(update(account).values(moved_to="there")), "test")
    assert 0 == await database.write(
        lambda c: pruning.prune(c, [video], NOW, "status", NOW), "test"
    )


async def test_what_has_changed_since_the_look_stays(database: Database) -> None:
    """A video that a person retries between look and prune is not pruned."""
    video = await put(database, "a", state="failed")
    before = later(NOW, -86_400)
    assert ([video], video) == await database.read(lambda c: pruning.look(c, 0, before, "status"))
    await database.write(
        lambda c: c.execute(update(videos).values(state="pending", updated_at=NOW)), "test"
    )
    assert 0 == await database.write(
        lambda c: pruning.prune(c, [video], before, "status", NOW), "test"
    )
    assert "pending" == (await row(database, video))["state"]


async def test_a_look_ends_where_the_table_does(database: Database) -> None:
    """A look goes on after the last id that was looked at, whether it is to be pruned or not."""
    first = await put(database, "a", YOUNG, state="failed")
    last = await put(database, "b", state="failed")
    before = later(NOW, -86_400 * 90)
    looks = [
        await database.read(partial(pruning.look, after=n, before=before, follow="status"))
        for n in (0, first)
    ]
    assert [([last], last), ([last], last)] == looks
    assert ([], None) == await database.read(lambda c: pruning.look(c, last, before, "status"))
