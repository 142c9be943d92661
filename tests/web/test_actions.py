"""Hold what a person does on the page: previewed, confirmed once, recorded, refused if changed."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import pytest
from multidict import MultiDict
from sqlalchemy import Connection, func, select, update

from tests.parts import add, facts, row
from tests.runner.test_refused_rows import SAID, refuse
from tests.web.conftest import TOKEN, Served, serve
from worker.core.model import Fact
from worker.db.schema import account, history, videos
from worker.settings import Key
from worker.simulator import Simulator
from worker.store import shared_state
from worker.web import actions

URLS = tuple(f"https://v.example/{n}" for n in range(3))


async def test_a_retry_is_previewed_and_done(page: Served) -> None:
    """A preview counts, shows three, and says what it leaves; confirmed, all are due, by name."""
    await add(page.database, *URLS, "https://v.example/4", state="failed", error="E")
    await add(page.database, "https://v.example/5", state="in_doubt", error="E")
    await page.sign_in("Ada L.")

    seen = await page.json("/act/retry.json?error_like=E")
    assert (4, {"in_doubt": 1}) == (seen["number"], seen["cannot"])
    assert 3 == len(seen["examples"])  # type: ignore[arg-type]
    assert "pending" != (await row(page.database, 1))["state"]

    assert 303 == (await page.act("retry", error_like="E"))[0]
    assert "pending" == (await row(page.database, 4))["state"]
    assert "in_doubt" == (await row(page.database, 5))["state"]
    assert [(0, "retry")] == await facts(page.database, 4)
    who = await page.database.read(lambda c: c.scalar(select(history.c.who).limit(1)))
    assert "page:Ada L." == who
    assert (
        "retry: 4 videos changed in all, by page:Ada L."
        == (await page.json("/status.json"))["told"]
    )


async def test_a_selection_that_has_changed_is_refused(page: Served) -> None:
    """If other videos match by then, nothing is done, and the new preview is shown."""
    await add(page.database, *URLS, state="failed", error="E")
    await page.sign_in()
    mark = str((await page.json("/act/cancel.json?state=failed"))["mark"])
    await add(page.database, "https://v.example/9", state="failed", error="E")

    status, body = await page.post("/act/cancel", mark=mark, state="failed")

    assert 409 == status
    assert "it has changed meanwhile" in body
    assert "4 videos would be taken out" in body
    assert "failed" == (await row(page.database, 1))["state"]


async def test_one_exchanged_for_another_is_a_change(page: Served) -> None:
    """The same number of other videos is another selection."""
    await add(page.database, *URLS, state="failed", error="E")
    await page.sign_in()
    mark = str((await page.json("/act/cancel.json?state=failed"))["mark"])
    await add(page.database, "https://v.example/9", state="failed", error="E")
    back = update(videos).where(videos.c.id == 1).values(state="pending")
    await page.database.write(lambda c: c.execute(back), "test")

    assert 409 == (await page.post("/act/cancel", mark=mark, state="failed"))[0]


async def test_a_doubt_that_is_lost_again_is_a_change(page: Served) -> None:
    """A preview of a doubt that was retried elsewhere and is in doubt once more buys nothing."""
    await add(page.database, URLS[0], state="in_doubt", claims=1)
    await page.sign_in()
    mark = str((await page.json("/act/retry.json?state=in_doubt&may_buy_twice=1"))["mark"])
    lost = update(videos).values(claims=2, updated_at=page.database.now())
    await page.database.write(lambda c: c.execute(lost), "test")

    fields = {"mark": mark, "state": "in_doubt", "may_buy_twice": "1"}
    assert 409 == (await page.post("/act/retry", None, **fields))[0]
    assert "in_doubt" == (await row(page.database, 1))["state"]


async def test_many_are_changed_in_small_transactions(page: Served) -> None:
    """A change of more videos than a transaction takes reaches all of them, each once."""
    number = 2 * actions.BATCH + 7
    await add(page.database, *(f"https://v.example/{n}" for n in range(number)))
    await page.sign_in()

    assert 303 == (await page.act("cancel", state="pending"))[0]

    while "in all" not in str((await page.json("/status.json"))["told"]):
        pass
    cancelled = select(func.count()).select_from(history).where(history.c.fact == Fact.CANCEL)
    assert number == await page.database.read(lambda c: c.scalar(cancelled))


async def test_a_retry_of_doubts_says_its_cost(page: Served) -> None:
    """Doubts are retried only where the preview says what that may cost."""
    await add(page.database, URLS[0], state="in_doubt", error="E")
    await page.sign_in()
    assert 409 == (await page.act("retry", id="1"))[0]

    _, body = await page.get("/act/retry?id=1&may_buy_twice=1")
    assert "Up to 1 videos may be bought a second time." in body
    assert 303 == (await page.act("retry", id="1", may_buy_twice="1"))[0]
    assert 1 == (await row(page.database, 1))["may_buy_twice"]


async def test_a_doubt_is_resolved_by_its_job(page: Served) -> None:
    """A person's job id makes the video submitted; a job of another video is refused."""
    await add(page.database, URLS[0], state="in_doubt", claims=1)
    await add(page.database, URLS[1], state="submitted", job_id="taken")
    await add(page.database, URLS[2], state="in_doubt", claims=1)
    await page.sign_in()

    assert 409 == (await page.act("resolve", id="1", job_id="taken"))[0]
    assert 303 == (await page.act("resolve", id="1", job_id=" mine "))[0]
    found = await row(page.database, 1)
    assert ("submitted", "mine") == (found["state"], found["job_id"])
    assert 303 == (await page.act("resolve", id="3", give_up="1"))[0]
    assert "failed" == (await row(page.database, 3))["state"]
    assert 409 == (await page.act("resolve", id="3", give_up="1"))[0]
    assert 404 == (await page.get("/act/resolve?id=9&give_up=1"))[0]
    assert 400 == (await page.get("/act/resolve?id=1"))[0]


async def test_a_pause_and_its_end(page: Served) -> None:
    """A pause has the reason that is given at the confirmation; its end is another action."""
    await page.sign_in("Ada")
    mark = str((await page.json("/act/pause.json"))["mark"])
    assert 303 == (await page.post("/act/pause", mark=mark, reason="wrong list"))[0]
    known = await page.database.read(shared_state.read)
    assert "wrong list" == known.pause_reason
    assert 409 == (await page.post("/act/pause", mark=mark))[0]

    assert 303 == (await page.act("resume"))[0]
    assert (await page.database.read(shared_state.read)).paused_at is None
    assert 409 == (await page.act("resume"))[0]


async def test_a_script_acts_with_the_token(page: Served) -> None:
    """A script previews, then confirms, with the token alone."""
    seen = await page.json("/act/pause.json")
    bearer = {"Authorization": f"Bearer {TOKEN}"}

    assert 303 == (await page.post("/act/pause", bearer, mark=str(seen["mark"])))[0]
    assert "paused, by page:token" == (await page.json("/status.json"))["told"]


async def test_an_unknown_action_is_none(page: Served) -> None:
    """An address of no action of the page is not found."""
    await page.sign_in()

    assert 404 == (await page.get("/act/import"))[0]
    assert 404 == (await page.post("/act/import", mark=""))[0]


async def test_doubts_are_asked_for(page: Served, url: str, simulator: Simulator) -> None:
    """Without a key nothing can be asked; with one, the API's list settles what it proves."""
    await add(page.database, URLS[0], state="in_doubt", claims=1, attempts=1, error="reset")
    await page.sign_in()
    assert not (await page.json("/act/reconcile.json"))["possible"]
    async with AsyncExitStack() as stack:
        key = Key(min(simulator.options.keys), "a test")
        asks = await serve(url, stack, key, api_url=simulator.url, rate=1_000)
        await asks.sign_in()

        assert 303 == (await asks.act("reconcile"))[0]
        while "under way" in (told := str((await asks.json("/status.json"))["told"])):
            pass
        assert told.startswith("reconcile: 0 of 1 doubts settled by the API's list, by page:Ada")


async def test_a_lease_that_ran_out_is_asked_for(
    page: Served, url: str, simulator: Simulator
) -> None:
    """A claim of a dead worker is a doubt to be settled (law 4)."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": page.database.now()}
    await add(page.database, URLS[0], state="submitting", claims=1, **claim)
    async with AsyncExitStack() as stack:
        key = Key(min(simulator.options.keys), "a test")
        asks = await serve(url, stack, key, api_url=simulator.url, rate=1_000)
        await asks.sign_in()
        assert 1 == (await asks.json("/act/reconcile.json"))["number"]
        assert 303 == (await asks.act("reconcile"))[0]
        while "under way" in (told := str((await asks.json("/status.json"))["told"])):
            pass
        assert told.startswith("reconcile: 0 of 1 doubts settled by the API's list, by page:Ada")
    assert "in_doubt" == (await row(page.database, 1))["state"]


async def test_an_action_of_all_videos_is_refused(page: Served) -> None:
    """A retry or a cancellation without any filter names the filters."""
    assert (400, "which videos? give a state, ids, an error or a time") == await page.get(
        "/act/cancel"
    )


async def test_a_cool_down_is_ended_knowingly(page: Served) -> None:
    """The preview says that the API asked for it; a resume alone leaves it."""
    now = page.database.now()
    until = now + timedelta(hours=1)
    await page.database.write(lambda c: shared_state.cool_down(c, until, "HTTP 429", now), "test")
    await page.sign_in()

    assert 409 == (await page.act("resume"))[0]
    _, body = await page.get("/act/resume?cool_down=1")
    assert "it may answer 429 again" in body
    assert 303 == (await page.act("resume", cool_down="1"))[0]
    assert (await page.database.read(shared_state.read)).cool_down_until is None


async def test_one_action_goes_on_at_a_time(page: Served) -> None:
    """While an action of many transactions goes on, another is not begun."""
    await add(page.database, *(f"https://v.example/{n}" for n in range(3 * actions.BATCH)))
    await page.sign_in()
    await add(page.database, "https://v.example/failed", state="failed")
    seen = [await page.json(f"/act/cancel.json?state={each}") for each in ("pending", "failed")]
    many, other = (str(each["mark"]) for each in seen)

    answers = await asyncio.gather(
        page.post("/act/cancel", mark=many, state="pending"),
        *(page.post("/act/cancel", mark=other, state="failed") for _ in range(20)),
    )

    statuses = [status for status, _ in answers[1:]]
    assert 303 == answers[0][0]
    assert statuses.count(303) <= 1
    assert {303, 409} >= set(statuses)


async def test_a_pause_waits_for_no_other_action(
    page: Served, url: str, simulator: Simulator
) -> None:
    """An action of one transaction is done beside a question that the pace lets wait."""
    await add(page.database, URLS[0], state="in_doubt", claims=1, attempts=1, error="reset")
    taken = update(account).values(next_start_at=page.database.now() + timedelta(hours=1))
    await page.database.write(lambda c: c.execute(taken), "test")
    async with AsyncExitStack() as stack:
        key = Key(min(simulator.options.keys), "a test")
        asks = await serve(url, stack, key, api_url=simulator.url, rate=1, period_seconds=3_600)
        await asks.sign_in()
        assert 303 == (await asks.act("reconcile"))[0]
        assert "under way" in str((await asks.json("/status.json"))["told"])

        assert 409 == (await asks.act("reconcile"))[0]
        assert 303 == (await asks.act("pause"))[0]
        assert (await page.database.read(shared_state.read)).paused_at is not None
        assert 303 == (await asks.act("resume"))[0]
        assert (await page.database.read(shared_state.read)).paused_at is None


async def test_no_question_waits_for_the_end_of_a_cool_down(
    page: Served, url: str, simulator: Simulator
) -> None:
    """A question that would wait for an hour is refused, and holds up no other action."""
    await add(page.database, URLS[0], state="in_doubt", claims=1, attempts=1, error="reset")
    await add(page.database, URLS[1], state="failed")
    now = page.database.now()
    until = now + timedelta(hours=1)
    await page.database.write(lambda c: shared_state.cool_down(c, until, "HTTP 429", now), "test")
    async with AsyncExitStack() as stack:
        key = Key(min(simulator.options.keys), "a test")
        asks = await serve(url, stack, key, api_url=simulator.url, rate=1_000)
        await asks.sign_in()

        status, body = await asks.act("reconcile")

        assert (409, True) == (
            status,
            '<a href="/act/resume?cool_down=1">End the cool-down</a>' in body,
        )
        assert f"a cool-down until {until:%Y-%m-%d %H:%M:%S} UTC (HTTP 429)" in body
        assert 303 == (await asks.act("cancel", state="failed"))[0]
        assert 303 == (await asks.act("resume", cool_down="1"))[0]
        assert 303 == (await asks.act("reconcile"))[0]


async def test_the_page_after_an_action_shows_its_effect(page: Served) -> None:
    """The board that was read before an action is not shown after it."""
    await add(page.database, *URLS)
    await page.sign_in()
    assert "paused" not in (await page.get("/"))[1]
    assert 303 == (await page.act("pause", reason="wrong list"))[0]
    assert "wrong list" in (await page.get("/"))[1]


@pytest.mark.usefixtures("remade")
async def test_an_action_that_the_database_refuses_has_ended(page: Served) -> None:
    """An action on many videos of which a trigger of another program refuses one says so."""
    await add(page.database, *URLS, state="failed")
    await refuse(page.database, 0, "NEW.state = 'cancelled'")
    await page.sign_in()

    assert 303 == (await page.act("cancel", state="failed"))[0]

    told = str((await page.json("/status.json"))["told"])
    assert f"then it ended: the database refuses to write this row: {SAID}" in told
    assert "failed" == (await row(page.database, 1))["state"]


@pytest.mark.usefixtures("remade")
async def test_a_verdict_that_the_database_refuses_is_a_sentence(page: Served) -> None:
    """A doubt that a trigger of another program keeps is left, and the visitor gets its words."""
    await add(page.database, *URLS, state="in_doubt", claims=1, attempts=1, error="reset")
    await refuse(page.database, 0, "NEW.state = 'submitted'")
    await page.sign_in()

    answer = await page.act("resolve", id="3", job_id="job-1")

    assert (409, f"the database refuses to write this row: {SAID}") == answer
    assert "in_doubt" == (await row(page.database, 3))["state"]


async def test_a_video_of_another_clock_is_changed_as_previewed(page: Served) -> None:
    """Videos whose last change lies ahead are changed; those that change or come later are left,
    and so is a page of such alone.
    """
    now = page.database.now()
    before = now - timedelta(seconds=1)  # as no server's clock is to the millisecond ours
    await add(page.database, *URLS, state="failed", updated_at=before)
    begin = partial(actions.begun, action="cancel", fields=MultiDict(state="failed"), now=now)
    change = await page.database.read(begin)
    await add(page.database, "https://v.example/new", state="failed")
    ahead = (
        update(videos).where(videos.c.id.in_([2, 4])).values(updated_at=now + timedelta(hours=2))
    )
    since = update(videos).where(videos.c.id == 3).values(updated_at=now + timedelta(seconds=1))
    await page.database.write(lambda c: (c.execute(ahead), c.execute(since)), "test")
    at = now + timedelta(seconds=2)

    def go_on(connection: Connection) -> list[tuple[int, int | None]]:
        work = partial(change.go_on, connection, at, who="Ada")
        return [work(after=0), work(after=2), work(after=4)]

    assert [(2, 4), (0, 4), (0, None)] == await page.database.write(go_on, "test")
    states = [(await row(page.database, place))["state"] for place in (1, 2, 3, 4)]
    assert ["cancelled", "cancelled", "failed", "failed"] == states
