"""Hold the page in a real browser: by keyboard and screen reader, with and without JavaScript."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright, expect
from sqlalchemy import update

from tests.parts import add, row
from tests.store.test_job_search import LIVES, live
from tests.web.conftest import Served, of_queue, serve
from tests.web.test_jobs import hold
from worker.db.schema import jobs
from worker.store import shared_state
from worker.web import pages

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of playwright's own pipes
]

PATIENCE = 30_000.0
"""Milliseconds for what the page asks for by itself every two seconds."""

CHROMIUM = "/usr/bin/chromium"
NAME = "queue.test"
"""A name without TLS that is not this machine's: a browser trusts it less, and says less of it."""

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
PATHS = (
    "/",
    "/videos?state=failed",
    "/videos/1",
    "/videos/11?",
    "/videos?job_status=error",
    "/doubts",
    "/act/release?host=dead.example",
    "/act/retry?state=failed",
    "/sign-in",
)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Yield Debian's Chromium, for which every name means this machine."""
    if shutil.which(CHROMIUM) is None:
        pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"],
        )
        yield chromium
        await chromium.close()


@pytest.fixture
async def busy(path: Path) -> AsyncIterator[Served]:
    """Yield the page of a queue that has something of everything."""
    async with AsyncExitStack() as stack:
        page = await serve(str(path), stack, listen_hosts=NAME)
        error = "HTTP 400: language: en is no language"
        await add(page.database, "https://v.example/1", state="failed", error=error, title="One")
        await add(
            page.database, "https://v.example/2", state="in_doubt", error="reset", title="Two"
        )
        await add(page.database, *(f"https://v.example/{n}" for n in range(3, 9)))
        now = page.database.now()
        await page.database.write(lambda c: shared_state.pause(c, now, "wrong list"), "test")
        await live(page.database, LIVES)
        ended = update(jobs).where(jobs.c.ended_as.is_not(None)).values(ended_at=now)
        await page.database.write(lambda c: c.execute(ended), "test")
        await hold(page.database)
        yield page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
async def test_nobody_is_shut_out(busy: Served, browser: Browser, scheme: str, width: int) -> None:
    """No rule of axe is broken on any page, in light and dark, wide and on a phone, which needs no
    sideways scrolling; the browser reports no error.
    """
    page = await browser.new_page(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 800},
    )
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    for path in PATHS:
        await page.goto(busy.url + path)
        found = (await Axe().run(page, options=RULES)).response["violations"]
        assert [] == [(each["id"], path) for each in found]
        assert width >= await page.evaluate("document.documentElement.scrollWidth")
    assert [] == told


async def test_the_page_follows_the_queue(busy: Served, browser: Browser) -> None:
    """Within some seconds the page shows what has changed, also in its title, without a reload. It
    says so when no answer comes any more.
    """
    page = await browser.new_page()
    await page.goto(busy.url)
    assert "paused since" in await page.inner_text("h1")
    await page.evaluate("window.same = true")

    await busy.database.write(shared_state.resume, "test")

    await expect(page.locator("h1")).not_to_contain_text("paused", timeout=PATIENCE)
    await expect(page.locator("#acts")).to_have_text("Pause…")
    assert await page.evaluate("window.same")
    assert "not running" in await page.inner_text("#spoken")
    await expect(page).to_have_title(re.compile("^not running"))
    await page.route("**/*", lambda route: route.abort())
    await page.wait_for_selector("#made.late[role=alert]", timeout=PATIENCE)


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("name", ["127.0.0.1", NAME])
async def test_a_person_acts(busy: Served, browser: Browser, *, scripts: bool, name: str) -> None:
    """Sign in by the link, look at a preview, confirm it: with and without JavaScript, on this
    machine's own name and on one for which a browser sends no Sec-Fetch-Site.
    """
    context = await browser.new_context(java_script_enabled=scripts)
    page = await context.new_page()
    await page.goto(busy.announced[0].partition("once: ")[2].rstrip(")").replace("127.0.0.1", name))
    await page.fill("[name=name]", "Ada")
    await page.click("button:has-text('Sign in')")
    await page.wait_for_selector("text=signed in as Ada")

    await page.click("a:has-text('The 1 failed')")
    await page.click("button:has-text('Retry…')")
    assert "failed" == (await row(busy.database, 1))["state"]
    await page.click("button:has-text('Retry 1')")

    await page.wait_for_selector("text=retry: 1 video changed in all, by page:Ada")
    assert "pending" == (await row(busy.database, 1))["state"]


async def test_all_of_it_by_keyboard(busy: Served, browser: Browser) -> None:
    """Tab reaches the content first, then every link and button, and Enter presses them."""
    page = await browser.new_page()
    await page.goto(busy.url)
    reached = [await _focused(page)]
    for _ in range(12):
        await page.keyboard.press("Tab")
        reached.append(await _focused(page))

    assert "Skip to the content" == reached[1]
    assert {"Queue", "Videos", "Doubts", "sign in", "Resume…", "The 1 failed"} <= set(reached)
    await page.focus("text=Resume…")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("h1:has-text('Resume: a preview')")


async def _focused(page: Page) -> str:
    return str(await page.evaluate("document.activeElement.textContent.trim()"))


async def test_what_is_read_or_typed_is_not_swapped(busy: Served, browser: Browser) -> None:
    """A region that has the focus stays as it is while the others follow."""
    page = await browser.new_page()
    await page.goto(busy.url)
    await page.focus("text=The 1 failed")

    await add(busy.database, "https://v.example/9", state="failed", error="E")

    await expect(page.locator("#left")).to_contain_text(re.compile(r"failed\s*2"), timeout=PATIENCE)
    assert "The 1 failed" == await _focused(page)
    older = "What you are reading or typing in is older"
    await expect(page.locator("#made")).to_contain_text(older)
    await page.evaluate("document.activeElement.blur()")
    await expect(page.locator("#needs")).to_contain_text("The 2 failed", timeout=PATIENCE)
    await expect(page.locator("#made")).not_to_contain_text(older)


async def test_a_page_that_follows_nothing_says_when_it_was_read(
    busy: Served, browser: Browser
) -> None:
    """A page without live regions asks for nothing when it is seen again, and keeps its time."""
    page = await browser.new_page()
    await page.goto(f"{busy.url}/videos")
    said, asked = await page.inner_text("#made"), list[str]()
    page.on("request", lambda request: asked.append(request.url))

    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await page.evaluate("fetch('/healthz')")  # comes after what the page asks for

    assert [f"{busy.url}/healthz"] == asked
    assert said == await page.inner_text("#made")


async def test_a_selection_holds_its_own_region_and_only_as_long(
    busy: Served, browser: Browser
) -> None:
    """While text is selected its region stays and the others follow; then it follows as well."""
    page = await browser.new_page()
    await page.goto(busy.url)
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('#needs h2'))")

    await add(busy.database, "https://v.example/9", state="failed", error="E")

    await expect(page.locator("#left")).to_contain_text(re.compile(r"failed\s*2"), timeout=PATIENCE)
    assert "The 1 failed" in await page.inner_text("#needs")
    async with page.expect_request(f"{busy.url}/", timeout=PATIENCE) as asked:
        await page.evaluate("getSelection().removeAllRanges()")
    assert "if-none-match" not in (await asked.value).headers  # for what it does not show yet
    await expect(page.locator("#needs")).to_contain_text("The 2 failed", timeout=PATIENCE)


async def test_another_site_cannot_act(busy: Served, browser: Browser) -> None:
    """A form of another site is sent without the cookie, and is refused."""
    page = await browser.new_page()
    await page.goto(busy.announced[0].partition("once: ")[2].rstrip(")"))
    await page.fill("[name=name]", "Ada")
    await page.click("button:has-text('Sign in')")
    await page.wait_for_selector("text=signed in as Ada")
    mark = (await busy.json("/act/resume.json"))["mark"]
    port = busy.url.rpartition(":")[2]
    form = f"<form method=post action='{busy.url}/act/resume'><input name=mark value='{mark}'>"
    await page.route(
        f"http://{NAME}:{port}/",
        lambda route: route.fulfill(
            body=f"{form}<button>Win</button></form>", content_type="text/html"
        ),
    )
    await page.goto(f"http://{NAME}:{port}/")

    await page.click("button")

    await page.wait_for_selector("text=this came from another site")
    assert (await busy.database.read(shared_state.read)).paused_at is not None


async def test_the_file_needs_nothing_else(busy: Served, browser: Browser, tmp_path: Path) -> None:
    """The page as one file shows the same, asks for nothing, and axe finds nothing on it."""
    file = tmp_path / "queue.html"
    loaded, now = of_queue(str(busy.database.address)), busy.database.now()
    text = await busy.database.read(lambda c: pages.file(c, loaded, "videos.db", now))
    file.write_text(text, encoding="utf-8")
    page = await browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    await page.goto(file.as_uri())

    assert [file.as_uri()] == asked
    assert "paused since" in await page.inner_text("h1")
    assert "Ada" not in text
    assert 0 == await page.locator("a:not(.skip), form, script").count()
    assert [] == (await Axe().run(page, options=RULES)).response["violations"]
