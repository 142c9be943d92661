"""Calls of the API: the job is asked about sooner, and nothing else happens."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import select, update

from tests.conftest import open_database
from tests.parts import RUN_SETTINGS, add, later
from tests.store.test_job_search import LIVES, PLACES, live
from tests.web.conftest import serve
from worker import wiring
from worker.core.callback import token
from worker.core.following import BEFORE_ALL
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.db.schema import account, jobs
from worker.settings import Key
from worker.store import relocation, shared_state
from worker.store.jobs import hasten
from worker.web.callbacks import LONGEST, MOST_CALLS, Inbox
from worker.web.server import serving


async def at_once(_: float) -> None:
    """Let no time pass."""


async def planned(database: Database) -> dict[str, object]:
    """Return when each job is asked about next."""
    rows = await database.read(
        lambda c: c.execute(select(jobs.c.job_id, jobs.c.next_poll_at)).all()
    )
    return {job.removeprefix("job-"): at for job, at in rows}


async def call(database: Database, *tokens: str) -> None:
    """Let calls come, and look at them."""
    inbox = Inbox(database, at_once)
    for each in tokens:
        inbox.take(each)
    assert inbox.looking is not None
    await inbox.looking


async def secret_of(database: Database) -> str:
    """Return the secret of a queue."""
    return await database.read(shared_state.callback_secret) or ""


async def test_a_call_lets_its_open_job_be_asked_about_now(database: Database) -> None:
    """A call moves the question about an open job before all others, and none of an ended one."""
    await live(database, LIVES)
    far = later(database.now(), 1_000)
    plan = update(jobs).where(jobs.c.job_id != "job-unasked").values(next_poll_at=far)
    await database.write(lambda c: c.execute(plan), "test")
    secret = await secret_of(database)
    meant = ("finished", "queued", "unasked")

    await call(database, *(token(secret, PLACES[name]) for name in meant), "no", token(secret, 99))

    found = await planned(database)
    assert [BEFORE_ALL] * 2 == [found.pop(name) for name in ("queued", "unasked")]
    assert {far} == set(found.values())


@pytest.mark.parametrize(
    ("asked", "errors", "planned_in", "then"),
    [
        (31, 0, 1_000, None),
        (29, 0, 1_000, 30),
        (29, 0, 5, 5),
        (1_000, 1, 1_000, 30),
    ],
)
async def test_a_call_that_is_repeated_takes_no_question_of_others(
    database: Database, asked: float, errors: int, planned_in: float, then: float | None
) -> None:
    """A job that was asked about lately, or whose question failed, is asked about soon at most."""
    await live(database, {"queued": LIVES["queued"]})
    now = database.now()
    known = {"polled_at": later(now, -asked), "poll_errors": errors}
    plan = update(jobs).values(next_poll_at=later(now, planned_in), **known)
    await database.write(lambda c: c.execute(plan), "test")

    await database.write(lambda c: hasten(c, [1], now), "test")

    expected = BEFORE_ALL if then is None else later(now, then)
    assert {"queued": expected} == await planned(database)


async def test_a_call_during_a_look_is_looked_at_next(database: Database) -> None:
    """A call that comes while others are looked at is not lost."""
    await live(database, {"queued": LIVES["queued"]})
    right = token(await secret_of(database), 1)
    rests = 0

    async def rest(_: float) -> None:
        nonlocal rests
        rests += 1
        assert await planned(database)  # as the look's own questions let calls come
        if rests == 1:
            asyncio.get_running_loop().call_soon(inbox.take, right)

    inbox = Inbox(database, rest)
    inbox.take("1-x")
    assert inbox.looking is not None
    await inbox.looking
    assert (2, {"queued": BEFORE_ALL}) == (rests, await planned(database))


async def test_a_look_has_ended_when_its_page_has(database: Database) -> None:
    """A page that stops waits for the look under way, which is broken off."""
    inbox = Inbox(database)
    await inbox.stop()
    inbox.take("a call")
    await inbox.stop()
    assert inbox.looking is not None
    assert inbox.looking.cancelled()


@pytest.mark.parametrize("secret", [None, "another"])
async def test_a_wrong_token_does_nothing(database: Database, secret: str | None) -> None:
    """A token that is not signed with the secret of the queue moves no job."""
    await live(database, LIVES)
    before = await planned(database)
    tokens = [token(secret or "", video) for video in PLACES.values()]
    await database.write(
        lambda c: c.execute(update(account).values(callback_secret=secret)), "test"
    )
    await call(database, *([] if secret else tokens), "1-", *tokens[: 0 if secret else 9], "x")
    if secret:
        await database.write(
            lambda c: c.execute(update(account).values(callback_secret="mine")), "test"
        )
        await call(database, *tokens)
    assert before == await planned(database)


async def test_calls_are_limited(database: Database) -> None:
    """Beyond a number of calls, and of characters, a call is dropped until the next look."""
    await live(database, {"queued": LIVES["queued"]})
    right = token(await secret_of(database), 1)
    far = later(database.now(), 1_000)
    await database.write(lambda c: c.execute(update(jobs).values(next_poll_at=far)), "test")
    await call(database, *(f"{n}-x" for n in range(MOST_CALLS)), right)
    assert far == (await planned(database))["queued"]
    await call(database, "x" * (LONGEST + 1), *(f"{n}-x" for n in range(MOST_CALLS - 1)), right)
    assert far != (await planned(database))["queued"]


async def test_a_moved_queue_notes_no_call(database: Database) -> None:
    """A queue that has moved is left as it is."""
    await live(database, {"queued": LIVES["queued"]})
    right, before = token(await secret_of(database), 1), await planned(database)
    await database.write(lambda c: relocation.mark(c, "sqlite:///new.db"), "test")
    await call(database, right)
    assert before == await planned(database)


async def test_a_page_that_closes_looks_at_no_more_calls(url: str) -> None:
    """A call whose look has not begun is dropped with the page."""
    async with AsyncExitStack() as stack:
        page = await serve(url, stack, callback_base_url="https://hooks.example")
        before = asyncio.all_tasks()
        assert 204 == (await page.post("/callback/1-x"))[0]
    assert not [task for task in asyncio.all_tasks() - before if "_look" in repr(task)]


async def test_a_call_is_taken_before_its_body_has_come(url: str) -> None:
    """A call is looked at whatever becomes of its body, which may be cut."""
    asked = "Host: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    async with AsyncExitStack() as stack:
        page = await serve(url, stack, callback_base_url="https://hooks.example")
        port = int(page.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stack.callback(writer.close)
        writer.write(f"POST /callback/1-x HTTP/1.1\r\n{asked}".encode())
        assert b"HTTP/1.1 100 Continue\r\n" == await reader.readline()
        assert [task for task in asyncio.all_tasks() if "_look" in repr(task)]


@pytest.mark.parametrize(
    ("own", "default", "told"),
    [
        (None, None, "https://hooks.example/v/callback/"),
        ("https://own.example/done", None, "https://own.example/done"),
        (None, "https://default.example", "https://default.example"),
    ],
)
async def test_a_request_names_the_address_that_reads_back(
    url: str, own: str | None, default: str | None, told: str
) -> None:
    """A row that names no callback is sent with a signed address of the page; a run asks for it."""
    asked: list[dict[str, Any]] = []

    async def new_job(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response({"job_id": "job-1"})

    app = web.Application()
    app.router.add_post("/new_job", new_job)
    async with serving(app, "127.0.0.1", 0) as port, open_database(url) as database:
        settings = replace(
            RUN_SETTINGS,
            database_url=url,
            api_url=f"http://127.0.0.1:{port}",
            follow="status",
            callback_base_url="https://hooks.example/v",
            default_callback_url=default,
        )
        await add(database, "https://v.example/1.mp4", callback_url=own)
        key = Key("demo-key", "a test")
        async with wiring.runner(settings, key, database, RunOptions(drain=True)) as runner:
            await runner.run()
        secret = await secret_of(database)
    (body,) = asked
    expected = f"{told}{token(secret, 1)}" if told.endswith("callback/") else told
    assert {"url": expected} == body["callback"]
