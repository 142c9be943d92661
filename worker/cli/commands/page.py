"""``page``: the page of a queue, served by a process of its own, or beside a daemon."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from worker import log, opening
from worker.cli import exits, signals
from worker.cli.invocation import Invocation
from worker.notify.lookout import Lookout
from worker.settings import Key
from worker.settings_sources import KEY, KEY_FILE, read_page_token

if TYPE_CHECKING:
    from worker.web.metrics import Metrics

LISTEN = "127.0.0.1:8787"
"""The address of a page that names none."""


def page(call: Invocation) -> int:
    """Serve until a signal comes."""
    asyncio.run(_serve(call))
    return exits.OK


async def _serve(call: Invocation) -> None:
    stopped, has_key = asyncio.Event(), {KEY, KEY_FILE} & call.environment.keys()
    for number in signals.stops():
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    key = call.key() if has_key else None
    async with _opened(call, key, None, partial(print, flush=True)):
        await stopped.wait()


def beside(call: Invocation, key: Key, lookout: Lookout) -> AbstractAsyncContextManager[None]:
    """Serve the page of a daemon while it runs. Raises SettingsError."""

    def announce(words: str) -> None:
        # Whoever reads a terminal may not see the log, and a log of less than this says nothing.
        if sys.stderr.isatty() or not log.logger().is_enabled_for(logging.INFO):
            exits.complain([f"page: {words}"])
        else:
            log.logger().info(log.Event.PAGE_OPENED, page=words)

    return _opened(call, key, lookout.metrics, announce)


@asynccontextmanager
async def _opened(
    call: Invocation,
    key: Key | None,
    metrics: "Metrics | None",
    announce: Callable[[str], None],
) -> AsyncIterator[None]:
    from worker.web import app  # noqa: PLC0415 - jinja2 is slow to load, and for the page alone

    listen = call.settings.listen or LISTEN
    token = read_page_token(call.environment, listen)
    async with (
        opening.readable_database(call.settings) as database,
        app.opened(call.loaded, listen, database, key, token, metrics, announce),
    ):
        yield
