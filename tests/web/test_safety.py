"""Hold every route against every kind of visitor, on a real server."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.parts import add
from tests.web.conftest import OWN, TOKEN, Served, of_queue, serve
from worker.settings import Key
from worker.snapshot import Snapshots
from worker.store import shared_state
from worker.web import app
from worker.web.board import Boards
from worker.web.metrics import Metrics
from worker.web.safety import HEADERS, Doors

READS = (
    "/",
    "/status.json",
    "/videos",
    "/videos.json",
    "/videos/1",
    "/videos/1.json",
    "/doubts",
    "/doubts.json",
    "/act/pause",
    "/act/pause.json",
    "/sign-in",
    "/static/page.css",
    "/healthz",
    "/readyz",
    "/metrics",
)
WRITES = ("/act/pause", "/sign-in", "/sign-out")
CALLS = ("/callback/1-0123", "/callback/", f"/callback/{'x' * 5_000}")
"""Of the API, which has nothing but the address; a wrong token is answered as a right one."""
SIGNED = "https://c.example/?token=secretsecret"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BASIC = {"Authorization": f"Basic {TOKEN}"}
"""The password of a proxy, which browsers send by themselves: it is never our token."""
FOREIGN = {"Sec-Fetch-Site": "cross-site"}

READING = {
    "nobody": ({}, 200),
    "the token": (BEARER, 200),
    "a wrong token": ({"Authorization": "Bearer no"}, 401),
    "a proxy's password": (BASIC, 200),
    "a foreign name": ({"Host": "evil.example"}, 421),
    "a foreign name with the token": ({"Host": "evil.example", **BEARER}, 421),
    "no name": ({"Host": ""}, 421),
    "localhost": ({"Host": "localhost:9000"}, 200),
    "a link on another site": (FOREIGN, 200),
}
WRITING = {
    # headers, signed in, status of /act/pause, of /sign-in, of /sign-out
    "nobody": (OWN, False, 403, 403, 303),
    "a visitor who has signed in": (OWN, True, 303, 403, 303),
    "typed by hand": ({"Sec-Fetch-Site": "none"}, True, 303, 403, 303),
    "another site": (FOREIGN, True, 403, 403, 403),
    "a sibling of the site": ({"Sec-Fetch-Site": "same-site"}, True, 403, 403, 403),
    "our own origin alone": ({"Origin": "ours"}, True, 303, 403, 303),
    "another origin alone": ({"Origin": "http://evil.example"}, True, 403, 403, 403),
    "no origin": ({"Origin": "null"}, True, 403, 403, 403),
    "neither header": ({}, True, 403, 403, 403),
    "a script": (BEARER, False, 303, 403, 303),
    "a foreign page with the token": ({**BEARER, **FOREIGN}, False, 403, 403, 403),
    "a wrong token": ({"Authorization": "Bearer no", **OWN}, True, 401, 401, 401),
    "a proxy's password": ({**BASIC, **OWN}, False, 403, 403, 303),
    "who has signed in behind a proxy": ({**BASIC, **OWN}, True, 303, 403, 303),
    "another site behind a proxy": ({**BASIC, **FOREIGN}, True, 403, 403, 403),
    "neither header behind a proxy": (BASIC, True, 403, 403, 403),
    "a foreign name": ({"Host": "evil.example", **OWN}, True, 421, 421, 421),
}


@pytest.mark.parametrize("who", READING)
async def test_reading(seat: Served, who: str) -> None:
    """Everybody may read by our name; a wrong token and a foreign name get nothing. No answer may
    be kept, framed, or read by another site.
    """
    headers, status = READING[who]
    await add(seat.database, "https://v.example/1")

    for path in READS:
        async with seat.client.get(seat.url + path, headers=headers) as answer:
            assert (status, path) == (answer.status, path)
            assert HEADERS.items() <= dict(answer.headers).items()
            assert not [name for name in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("who", WRITING)
async def test_writing(seat: Served, who: str) -> None:
    """Only a POST of our own page by a visitor who has signed in, or of a script with the token,
    changes anything.
    """
    headers, signs_in, *statuses = WRITING[who]
    if "ours" in headers.values():
        headers = {"Origin": seat.url}
    if signs_in:
        assert 303 == await seat.sign_in()
    seen = await seat.json("/act/pause.json")

    found = [(await seat.post(path, headers, mark=str(seen["mark"])))[0] for path in WRITES]

    assert statuses == found
    paused = await seat.database.read(shared_state.read)
    assert (statuses[0] == 303) == (paused.paused_at is not None)


@pytest.mark.parametrize("who", WRITING)
async def test_calling(path: Path, who: str) -> None:
    """A call of the API is answered in one way, whoever it comes from and whatever it says."""
    headers = WRITING[who][0]
    async with AsyncExitStack() as stack:
        seat = await serve(str(path), stack, callback_base_url="https://hooks.example")
        for call in CALLS:
            for body in (b"", b"x" * 100_000):
                sent = seat.client.post(seat.url + call, data=body, headers=headers)
                async with sent as answer:
                    assert (204, b"") == (answer.status, await answer.read())
                    assert HEADERS.items() <= dict(answer.headers).items()
        assert {} == {c.key: c.value for c in seat.client.cookie_jar}
        assert 405 == (await seat.get(CALLS[0]))[0]


async def test_no_call_is_taken_where_none_is_wanted(seat: Served) -> None:
    """Without callback_base_url there is no such route."""
    assert 404 == (await seat.post(CALLS[0]))[0]


async def test_get_changes_nothing(seat: Served) -> None:
    """A GET with every right changes nothing, and a route without pages has none."""
    await seat.sign_in()
    before = await seat.json("/status.json")

    assert 405 == (await seat.get("/sign-out"))[0]
    for path in READS:
        await seat.get(path, **BEARER)

    after = await seat.json("/status.json")
    assert before["told"] == after["told"] == ""
    assert (await seat.database.read(shared_state.read)).paused_at is None


async def test_the_table_has_every_route(path: Path) -> None:
    """No route is left out of the tables above."""
    async with AsyncExitStack() as stack:
        page = await serve(str(path), stack)
        doors = Doors(token=None, hosts=set(), announce=lambda _: None)
        loaded = of_queue(str(path), callback_base_url="https://hooks.example")
        made = app.Page(
            loaded=loaded,
            database=page.database,
            boards=Boards(page.database, Snapshots(page.database, loaded.settings)),
            doors=doors,
            key=None,
            metrics=Metrics("q"),
        ).application()
        for route in made.router.routes():
            assert route.resource is not None
            asked = (*WRITES, *CALLS) if route.method == "POST" else READS
            assert [each for each in asked if _fits(route.resource.canonical, each)]


def _fits(canonical: str, path: str) -> bool:
    whole = canonical.replace("{video}", "1").replace("{action}", "pause")
    return whole.replace("{name}", "page.css").replace("{token}", "1-0123") == path


async def test_a_link_signs_in_once(seat: Served) -> None:
    """A code signs in once, and the next link is announced; the token signs in too, and a wrong one
    does not.
    """
    first = seat.announced[0].partition("code=")[2].rstrip(")")
    assert 303 == await seat.sign_in()

    assert 403 == (await seat.post("/sign-in", code=first, name="Eve"))[0]
    assert 2 == len(seat.announced)
    assert first not in seat.announced[1]
    assert 303 == (await seat.post("/sign-in", token=TOKEN, name="Bo"))[0]
    assert 403 == (await seat.post("/sign-in", token="no", name="Eve"))[0]
    assert 403 == (await seat.post("/sign-in", code="", token="", name="Eve"))[0]


async def test_a_token_where_none_is_set_is_wrong(path: Path) -> None:
    """Without WORKER_PAGE_TOKEN no token is right, not even an empty one; reading needs none."""
    async with AsyncExitStack() as stack:
        page = await serve(str(path), stack, token=None)

        for token in (TOKEN, "", "None"):
            status, told = await page.get("/", Authorization=f"Bearer {token}")
            assert (401, True) == (status, told.endswith("or none: reading needs none"))
        assert 200 == (await page.get("/", **BASIC))[0]


async def test_who_signs_out_reads_only(seat: Served) -> None:
    """After signing out nothing can be done."""
    await seat.sign_in()
    cookies = {each.key: each.value for each in seat.client.cookie_jar}
    assert 303 == (await seat.post("/sign-out"))[0]

    seat.client.cookie_jar.update_cookies(cookies)
    assert 403 == (await seat.act("pause"))[0]


async def test_a_large_body_is_refused(seat: Served) -> None:
    """A body beyond 16 KiB is refused."""
    assert 413 == (await seat.post("/sign-in", code="x" * 20_000))[0]


async def test_a_name_of_listen_hosts_is_served(path: Path) -> None:
    """A name behind a proxy is seat if the settings name it, in any case."""
    async with AsyncExitStack() as stack:
        names = "https://a.example, Queue.example:8443, [::2]"
        page = await serve(str(path), stack, listen_hosts=names)

        for name in ("queue.EXAMPLE", "a.example", "[::2]:80"):
            assert 200 == (await page.get("/", Host=name))[0]
        assert 421 == (await page.get("/", Host="b.example"))[0]


async def test_no_page_shows_a_secret_of_the_settings(path: Path) -> None:
    """Neither the key, nor the token, nor a password in an address is on any page."""
    async with AsyncExitStack() as stack:
        key = Key("the-key-of-the-api", "a test")
        named = {"proxy": "http://me:pa55word@proxy.example:1", "default_callback_url": SIGNED}
        page = await serve(str(path), stack, key, **named)
        await add(page.database, "https://v.example/1", callback_url=SIGNED)
        await page.sign_in()

        shown = "".join([(await page.get(each))[1] for each in READS])

        assert "proxy.example" in shown
        for secret in (key.value, TOKEN, "pa55word", "secretsecret"):
            assert secret not in shown


async def test_nothing_but_its_own_files_is_served(seat: Served) -> None:
    """A file that is not the page's own is not found."""
    for name in ("none.css", "..%2fapp.py", "../templates/base.html"):
        assert 404 == (await seat.get(f"/static/{name}"))[0]


async def test_a_lost_database_is_a_sentence(path: Path) -> None:
    """Without its database the page says so, is not ready, and is alive."""
    async with AsyncExitStack() as stack:
        page = await serve(str(path), stack)
        path.unlink()  # noqa: ASYNC240 - takes no time

        status, told = await page.get("/videos")
        assert (503, True) == (status, f"database {path}" in told)
        assert 503 == (await page.get("/readyz"))[0]
        assert (200, "alive\n") == await page.get("/healthz")
