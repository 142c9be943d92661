"""Share a page that is served on a free loopback port, and a browser's or a script's requests."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import open_database
from worker.db.database import Database
from worker.settings import Key, Settings
from worker.settings_sources import Loaded, load
from worker.web import app
from worker.web.metrics import Metrics

TOKEN = "a-token-for-scripts"
OWN = {"Sec-Fetch-Site": "same-origin"}


@dataclass(kw_only=True)
class Served:
    """A page, and what it has announced."""

    client: aiohttp.ClientSession
    database: Database
    announced: list[str] = field(default_factory=list)
    metrics: Metrics = field(default_factory=lambda: Metrics("queue"))

    @property
    def url(self) -> str:
        """Return its address."""
        return self.announced[0].partition("/ ")[0]

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Return the status and the text of a page."""
        async with self.client.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.text()

    async def json(self, path: str) -> dict[str, object]:
        """Return a page's document."""
        async with self.client.get(self.url + path) as answer:
            document: dict[str, object] = await answer.json()
            return document

    async def post(
        self, path: str, headers: dict[str, str] | None = None, **fields: str
    ) -> tuple[int, str]:
        """Return the status and the text of the answer to a form of our own page."""
        asked = self.client.post(
            self.url + path,
            data=fields,
            headers=OWN if headers is None else headers,
            allow_redirects=False,
        )
        async with asked as answer:
            return answer.status, await answer.text()

    async def sign_in(self, name: str = "Ada") -> int:
        """Sign in by the last link, as a person does; return the status."""
        found = re.search(r"code=([\w-]+)", self.announced[-1])
        assert found is not None
        return (await self.post("/sign-in", code=found[1], name=name))[0]

    async def act(self, action: str, **fields: str) -> tuple[int, str]:
        """Preview an action and confirm it at once."""
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        seen = await self.json(f"/act/{action}.json?{query}")
        return await self.post(f"/act/{action}", None, mark=str(seen["mark"]), **fields)


@pytest.fixture
async def seat(path: Path) -> AsyncIterator[Served]:
    """Yield the page of a migrated, empty SQLite file."""
    async with AsyncExitStack() as stack:
        yield await serve(str(path), stack)


@pytest.fixture
async def page(url: str) -> AsyncIterator[Served]:
    """Yield the page of a migrated, empty database of each kind."""
    async with AsyncExitStack() as stack:
        yield await serve(url, stack)


async def serve(
    url: str,
    stack: AsyncExitStack,
    key: Key | None = None,
    token: str | None = TOKEN,
    **settings: object,
) -> Served:
    """Return a page that is served until the end of ``stack``."""
    database = await stack.enter_async_context(open_database(url))
    jar = aiohttp.CookieJar(unsafe=True)  # which keeps the cookies of an address without a name
    client = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar))
    page = Served(client=client, database=database)
    opened = app.opened(
        of_queue(url, **settings),
        "127.0.0.1:0",
        database,
        key,
        Key(token, "a test") if token else None,
        page.metrics,
        page.announced.append,
    )
    await stack.enter_async_context(opened)
    return page


def of_queue(url: str, **settings: object) -> Loaded:
    """Return the settings of a queue."""
    loaded = load({}, {}, None)
    named: Settings = replace(loaded.settings, database_url=url, **settings)  # type: ignore[arg-type]
    return replace(loaded, settings=named)
