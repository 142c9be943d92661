"""Jobs on the page: their numbers, their lives, the filter, and hosts that are held."""

import pytest
from sqlalchemy import insert, select, update

from tests.parts import add, row
from tests.store.test_job_search import LIVES, PLACES, live
from tests.web.conftest import Served
from worker.db.database import Database
from worker.db.schema import account, hosts, jobs, results, videos

DEAD = "https://dead.example/"


async def hold(database: Database, number: int = 2) -> None:
    """Hold a host with so many videos."""
    now = database.now()
    await add(database, *(f"{DEAD}{n}.mp4" for n in range(number)))
    values = {"held_since": now, "probe_at": now, "why": "3 of the last 4 jobs <b>failed</b>"}
    held = insert(hosts).values(host="dead.example", **values)
    theirs = update(videos).where(videos.c.url.startswith(DEAD)).values(held_host="dead.example")
    for statement in (held, theirs, update(account).values(held_hosts=1)):
        await database.write(lambda c, s=statement: c.execute(s), "test")  # type: ignore[misc]


async def test_the_first_screen_has_the_jobs_in_numbers(page: Served) -> None:
    """Jobs in progress and ended are on the first screen, and as JSON."""
    await live(page.database, LIVES)
    ended = update(jobs).where(jobs.c.ended_as.is_not(None)).values(ended_at=page.database.now())
    await page.database.write(lambda c: c.execute(ended), "test")
    status, body = await page.get("/")
    assert 200 == status
    for words in ("Jobs at the API", "in error: paid for nothing", "overdue", "not asked yet"):
        assert words in body
    assert "In error within a day: 1, the first: no video." in body
    told = (await page.json("/status.json"))["snapshot"]["jobs"]  # type: ignore[index]
    assert ({"finished": 1, "error": 1, "gone": 1}, 1) == (told["ended"], told["overdue"])


async def test_the_table_of_videos_has_the_status_of_each_job(page: Served) -> None:
    """A column says what became of each job, and a filter finds those of one status."""
    await live(page.database, LIVES)
    await add(page.database, "https://v.example/none")
    found = await page.json("/videos.json?job_status=error")
    assert [PLACES["error"]] == [each["id"] for each in found["videos"]]  # type: ignore[attr-defined]
    body = (await page.get("/videos?job_status=error"))[1]
    assert '<span class="state error">error</span>' in body
    assert "<td>no video</td>" in body
    assert '<option value="error" selected>' in body
    every = await page.json("/videos.json")
    assert ["finished", "error", "gone", "queued", "dancing", "processing", None, None] == [
        each["job_status"]
        for each in every["videos"]  # type: ignore[attr-defined]
    ]


async def test_a_video_shows_the_life_of_its_job(page: Served) -> None:
    """A video's page has each job with its status, end, reason and files, without any query."""
    await live(page.database, {"error": LIVES["error"]})
    said = "no video at https://v.example/a.mp4?X-Amz-Signature=abcdefgh"
    told = update(jobs).values(details=said, polls=3, polled_at=page.database.now())
    stored = {"job_id": "job-error", "type": "core", "state": "failed", "error": "HTTP 404"}
    for statement in (told, insert(results).values(stored)):
        await page.database.write(lambda c, s=statement: c.execute(s), "test")  # type: ignore[misc]
    body = (await page.get("/videos/1"))[1]
    assert "job job-error of attempt 1, error" in body
    assert "asked about 3 times" in body
    assert "core failed: HTTP 404" in body
    assert "retry id=1 --job-status error --may-buy-again" in body
    assert "abcdefgh" not in body + (await page.get("/videos/1.json"))[1]


async def test_a_held_host_is_shown_with_its_evidence_and_released(page: Served) -> None:
    """A held host stands on the first screen with why; released, its videos are due, once."""
    await hold(page.database)
    body = (await page.get("/"))[1]
    assert "Held hosts" in body
    assert "3 of the last 4 jobs &lt;b&gt;failed&lt;/b&gt;" in body
    seen = await page.json("/act/release.json?host=dead.example")
    assert (2, True) == (seen["number"], seen["possible"])
    assert 403 == (await page.act("release", host="dead.example"))[0]
    await page.sign_in("Ada")
    mark = str(seen["mark"])
    await add(page.database, "https://dead.example/more.mp4", held_host="dead.example")
    assert 409 == (await page.post("/act/release", host="dead.example", mark=mark))[0]

    assert 303 == (await page.act("release", host="dead.example"))[0]

    assert (await row(page.database, 1))["held_host"] is None
    assert (
        "release: 3 videos changed in all, by page:Ada" == (await page.json("/status.json"))["told"]
    )
    status, body = await page.act("release", host="dead.example")
    assert (409, True) == (status, "dead.example is not held" in body)


async def test_a_queue_without_jobs_says_nothing_of_them(page: Served) -> None:
    """A queue without a job or a held host has no section of them, but the regions in which an open
    page puts them when they come.
    """
    await add(page.database, "https://v.example/none")
    body = (await page.get("/"))[1]
    assert ("Jobs at the API" in body, "Held hosts" in body) == (False, False)
    assert '<div id="jobs" data-live>' in body
    assert '<div id="hosts" data-live>' in body


@pytest.mark.parametrize("host", ["", "other.example"])
async def test_a_host_that_is_not_held_is_not_released(page: Served, host: str) -> None:
    """The release of any other host is not possible."""
    await hold(page.database)
    await page.sign_in()
    assert 409 == (await page.act("release", host=host))[0]
    held = select(hosts.c.held_since)
    assert await page.database.read(lambda c: c.scalar(held)) is not None


@pytest.mark.parametrize("field", ["job_status", "batch", "error_like", "id"])
async def test_a_filter_that_no_database_takes_finds_nothing(page: Served, field: str) -> None:
    """A NUL in a filter matches no video, and breaks nothing."""
    await add(page.database, "https://v.example/none")
    found = await page.json(f"/videos.json?{field}=%00")
    assert [] == found["videos"]
