"""Hold what the pages show, in HTML and in JSON, on both databases."""

import re
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import insert

from tests.conftest import HOUR, Hands
from tests.parts import add
from tests.web.conftest import TOKEN, Served, of_queue, serve
from worker.core.model import Fact
from worker.db.schema import history
from worker.store import shared_state, timeline
from worker.web import pages
from worker.web.board import Minutes
from worker.web.metrics import TURNED
from worker.wiring import CLOCK

SIGNED = "https://user:password@v.example/a.mp4?X-Amz-Signature=secretsecret&Expires=9"
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202egnp.exe"


async def test_an_empty_queue_says_so(page: Served) -> None:
    """The first screen of an empty queue has the verdict, and words where nothing is."""
    status, body = await page.get("/")

    assert 200 == status
    assert "Idle: nothing is due" in body
    assert "Nothing is pending." in body
    assert "None is alive." in body


async def test_a_way_out_is_written_as_it_is_typed(page: Served) -> None:
    """A command in the verdict's way out stands there as a shell takes it."""
    await add(page.database, "https://v.example/1")

    _, body = await page.get("/")

    assert "What helps: valossa-ingest run, or valossa-ingest drain." in body


async def test_the_numbers_lead_to_their_rows(page: Served) -> None:
    """Failures and doubts are counted, with the way to each."""
    await add(page.database, "https://v.example/1", "https://v.example/2")
    await add(page.database, "https://v.example/3", state="failed", error="title: is too long")
    await add(page.database, "https://v.example/4", state="in_doubt", error="reset")

    _, body = await page.get("/")

    assert re.search(r'href="/videos\?state=pending">2</a>', body)
    assert 'href="/videos?state=failed"' in body
    assert 'href="/doubts"' in body
    assert "title: is too long" in body
    assert "correct what the message names" in body
    found = await page.json("/status.json")
    assert ["failed", "in_doubt"] == sorted(each["state"] for each in found["reasons"])  # type: ignore[attr-defined]


async def test_texts_are_text_and_hold_no_secret(page: Served) -> None:
    """No page shows markup, control or direction characters of a row, nor the query or the password
    of a URL, nor the token.
    """
    texts = {"title": HOSTILE, "callback_url": SIGNED, "error": f"refused {SIGNED} {HOSTILE}"}
    for state in ("failed", "in_doubt"):
        await add(page.database, f"{SIGNED}{state}", state=state, **texts)
    await page.sign_in(HOSTILE)

    for path in ("/", "/videos", "/videos/1", "/doubts", "/act/retry?state=failed"):
        document = "/status.json" if path == "/" else re.sub(r"(?=\?|$)", ".json", path, count=1)
        html, json = await page.get(path), await page.get(document)
        assert 200 == html[0] == json[0]
        assert "<script>" not in html[1]
        for body in (html[1], json[1]):
            assert not re.search(r"[\x1b\u202e]|secretsecret|password@|Expires", body)
            assert TOKEN not in body
    _, body = await page.get("/videos/1")
    assert "&lt;script&gt;" in body
    assert r"\x1b[2J\u202egnp.exe" in body


async def test_an_unchanged_page_is_not_sent_again(page: Served) -> None:
    """The tag of a page holds until something has changed."""
    async with page.client.get(page.url + "/videos") as first:
        tag = first.headers["ETag"]

    assert (304, "") == await page.get("/videos", **{"If-None-Match": tag})
    await add(page.database, "https://v.example/1")
    assert 200 == (await page.get("/videos", **{"If-None-Match": tag}))[0]


@pytest.mark.parametrize("last", [-3, 0])
async def test_videos_counted_from_0_or_below_are_shown(page: Served, last: int) -> None:
    """Every video is on a page, whichever number another program gave it."""
    for number in range(last - 49, last + 2):
        await add(page.database, f"https://v.example/{number}", id=number)
    _, body = await page.get("/videos")
    following = re.search(r'href="(/videos\?[^"]*after=(-?\d+))"', body)
    assert following is not None
    assert str(last) == following[2]
    assert "1 shown" in (await page.get(following[1]))[1]


async def test_videos_are_shown_by_the_filters_of_list(page: Served) -> None:
    """Filters stand in the address; a long list has a next page with the same filters."""
    await add(
        page.database, *(f"https://v.example/{n}" for n in range(60)), state="failed", error="E"
    )
    await add(page.database, "https://v.example/x", media_id="mine")

    found = await page.json("/videos.json?state=failed&error_like=e")
    assert 50 == len(found["videos"])  # type: ignore[arg-type]
    _, body = await page.get("/videos?state=failed&error_like=e")
    following = re.search(r'href="(/videos\?[^"]*after=50)"', body)
    assert following is not None
    found = await page.json(following[1].replace("&amp;", "&").replace("/videos", "/videos.json"))
    assert 10 == len(found["videos"])  # type: ignore[arg-type]
    found = await page.json("/videos.json?id=mine")
    assert [61] == [each["id"] for each in found["videos"]]  # type: ignore[attr-defined]
    assert [] == (await page.json("/videos.json?since=2h&until=1h"))["videos"]


async def test_a_wrong_filter_is_a_sentence(page: Served) -> None:
    """A value that no filter takes is refused with the remedy; a missing video is not found."""
    assert (400, "'x' is no moment; write 2026-01-31") == (
        (found := await page.get("/videos?since=x"))[0],
        found[1].partition(" or '2026")[0],
    )
    assert 400 == (await page.get("/videos?state=lost"))[0]
    assert (404, "no video has id 9") == await page.get("/videos/9")


async def test_a_doubt_has_its_evidence_and_choices(page: Served) -> None:
    """The page of doubts says what was sent, how far it came, what the list showed, and costs."""
    error = "sent, but no answer was read; evidence: the list has no video accepted after it"
    await add(page.database, "https://v.example/1", state="in_doubt", error=error, claims=1)
    now = page.database.now()
    fact = {"video_id": 1, "attempt": 1, "at": now, "started_at": now, "who": "w"}
    await page.database.write(
        lambda c: c.execute(insert(history).values(**fact, fact=Fact.IN_DOUBT)), "test"
    )

    _, body = await page.get("/doubts")

    assert "sent, but no answer was read</dd>" in body
    assert "the list has no video accepted after it" in body
    assert "attempt 1 began" in body
    assert "it is bought and paid a second time" in body
    assert 'name="job_id"' in body


async def test_what_holds_all_is_a_reason_for_the_pace(page: Served) -> None:
    """A pause and a cool-down are named with their reasons, and can be ended."""
    now = page.database.now()
    await page.database.write(lambda c: shared_state.pause(c, now, "wrong list"), "test")
    until = now + timedelta(hours=1)
    await page.database.write(lambda c: shared_state.cool_down(c, until, "HTTP 429", now), "test")

    _, body = await page.get("/")

    assert re.search(r"Paused since .*: wrong list\.", body)
    assert "Held by a cool-down until" in body
    assert "Resume…" in body
    assert "End the cool-down…" in body


async def test_facts_are_counted_by_minute(page: Served, hands: Hands) -> None:
    """Each fact counts in the minute in which it came, with and without a job."""
    facts = [
        {"at": hands.wall + timedelta(seconds=at), "fact": fact, "job_id": job}
        for at, fact, job in ((0, "accepted", "a"), (59, "in_doubt", None), (60, "accepted", "b"))
    ]
    same = {"video_id": 1, "attempt": 1, "who": "w"}
    rows = [{**same, **each} for each in facts]
    await page.database.write(lambda c: c.execute(insert(history), rows), "test")

    minute = timedelta(minutes=1)
    found = await page.database.read(
        lambda c: timeline.minutes(c, hands.wall, hands.wall + 2 * minute)
    )

    assert {
        hands.wall: {Fact.ACCEPTED: 1, Fact.IN_DOUBT: 1},
        hands.wall + minute: {Fact.ACCEPTED: 1},
    } == found


async def test_the_bars_are_of_the_last_hour_and_day(page: Served) -> None:
    """An answer of now is in the last bar of the hour, one of two hours ago in those of the day."""
    now = page.database.now()
    await page.database.write(
        lambda c: c.execute(insert(history), [refused(at) for at in (now, now - 2 * HOUR)]), "test"
    )
    loaded = of_queue(str(page.database.address))

    text = await page.database.read(lambda c: pages.file(c, loaded, "queue", now))

    assert "<b>Last hour</b>: 0 accepted, 1 failed; a bar is a minute, the highest 1" in text
    assert "<b>Last day</b>: 0 accepted, 2 failed; a bar is half an hour, the highest 1" in text
    assert "so far" not in text


def refused(at: datetime) -> dict[str, object]:
    """Return the fact of a refusal."""
    return {"video_id": 1, "attempt": 1, "who": "w", "fact": "refused", "at": at}


@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_a_day_is_counted_piece_by_piece(page: Served, hands: Hands, seconds: float) -> None:
    """However slow counting is, each try goes further back until the day is whole; a minute that
    was counted once counts once, and one that has gone by leaves.
    """
    half = timedelta(seconds=30)
    rows = [
        refused(hands.wall - hour * HOUR + each * half) for hour in range(26) for each in (0, 1)
    ]
    await page.database.write(lambda c: c.execute(insert(history), rows), "test")
    minutes, now = Minutes(), hands.wall

    def monotonic() -> float:
        hands.pass_seconds(seconds)
        return hands.seconds

    tries = 0
    while minutes.since > now + timedelta(minutes=1) - 24 * HOUR:
        tries += 1
        await page.database.read(lambda c: minutes.count(c, now, monotonic))

    assert (tries == 1) == (seconds == 0)
    for later in range(0, 90, 7):
        moment = now + timedelta(seconds=later)
        await page.database.read(partial(minutes.count, now=moment, monotonic=monotonic))
        assert 48 == sum(each.total() for each in minutes.facts.values())
    await page.database.read(lambda c: minutes.count(c, now + HOUR / 2, monotonic))
    assert 48 == sum(each.total() for each in minutes.facts.values())
    await page.database.read(lambda c: minutes.count(c, now + 3 * HOUR, monotonic))
    assert 48 > sum(each.total() for each in minutes.facts.values())


async def test_health_is_the_turn_of_the_loop(page: Served) -> None:
    """A loop that has turned within a minute is alive; the answer is a line with the verdict."""
    now = CLOCK.now()
    page.metrics.gauges[TURNED] = (now - timedelta(seconds=50)).timestamp()
    assert (200, "alive\n") == await page.get("/healthz")
    await page.get("/")
    status, line = await page.get("/healthz")
    assert 200 == status
    assert "idle: nothing is due\n" == line
    page.metrics.gauges[TURNED] = (now - timedelta(minutes=5)).timestamp()
    for path in ("/healthz", "/readyz"):
        status, line = await page.get(path)
        assert 503 == status
        assert line.startswith("the loop has made no turn since ")


async def test_a_refused_key_is_not_ready(page: Served) -> None:
    """While the last answer refuses the key, the process is alive and not ready."""
    await add(page.database, "https://v.example/1")
    refused = {"video_id": 1, "attempt": 1, "who": "w", "fact": "account_refused"}
    now = page.database.now()
    await page.database.write(
        lambda c: c.execute(insert(history).values(**refused, at=now, message="no credit")), "test"
    )
    await page.get("/")

    assert 200 == (await page.get("/healthz"))[0]
    status, line = await page.get("/readyz")
    assert 503 == status
    assert "refuses the key" in line


async def test_the_metrics_are_those_of_the_snapshot(page: Served) -> None:
    """A Prometheus server gets the verdict and the numbers of the queue."""
    await add(page.database, "https://v.example/1", state="failed", error="reset")
    status, text = await page.get("/metrics")
    assert 200 == status
    assert 'valossa_ingest_verdict{queue="queue",state="needs a person"} 1.0' in text
    assert 'valossa_ingest_videos{queue="queue",state="failed"} 1.0' in text


async def test_a_batch_leads_to_its_videos(page: Served) -> None:
    """The first screen counts each batch by state, and its name leads to its videos alone."""
    await add(page.database, "https://v.example/1", batch="talks & more")
    await add(page.database, "https://v.example/2", batch="talks & more", state="failed")
    await add(page.database, "https://v.example/3")
    _, body = await page.get("/")
    link = "/videos?batch=talks+%26+more"
    assert f'<a href="{link}">talks &amp; more</a></th><td>1</td><td>0</td>' in body
    _, body = await page.get(link)
    assert [True, True, False] == [f"v.example/{number}" in body for number in (1, 2, 3)]


async def test_a_setting_that_may_hold_a_secret_is_only_named(url: str) -> None:
    """The page of the settings says that a command or an address is set, and not which one."""
    async with AsyncExitStack() as stack:
        page = await serve(url, stack, notify_url="https://hooks.example/T0/secret")
        _, body = await page.get("/")
    assert ("secret" in body, True) == (False, "notify_url" in body)
