"""A proxy between a worker and `simulate`: each video meets the trouble that its address names.

Video ``https://videos.example/KIND/7.mp4`` meets ``troubles[KIND]``: its first request the first
trouble, and so on; the last one stays. Every other video is served as if nothing stood between.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Self
from urllib.parse import urlsplit

from tests.wire import Line, Wire, answer

Forward = Callable[[], Awaitable[bytes]]
"""Hands the request to the API; its whole answer, when the job is on the book."""

Trouble = Callable[[Line, Forward], Awaitable[None]]


class Between:
    """Listens while it is entered. ``met``: how many requests came for each address."""

    def __init__(self, api: str, troubles: Mapping[str, Sequence[Trouble]]) -> None:
        self._api = urlsplit(api)
        self._troubles = troubles
        self._stack = AsyncExitStack()
        self.met: Counter[str] = Counter()
        self.wire = Wire(self._serve)

    @property
    def url(self) -> str:
        """Return what the worker takes for the API."""
        return self.wire.url

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.wire)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _serve(self, line: Line) -> None:
        while True:
            request = await line.request()
            if request.startswith(b"GET "):  # a question about jobs
                line.say(await self._forward(request))
                continue
            url = _address(request)
            self.met[url] += 1
            await self._trouble(url)(line, lambda: self._forward(request))  # noqa: B023 - at once

    def _trouble(self, url: str) -> Trouble:
        planned = self._troubles.get(url.split("/")[3], (serve,))
        return planned[min(self.met[url], len(planned)) - 1]

    async def _forward(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._api.hostname, self._api.port)
        api = Line(reader, writer)
        api.say(request)
        whole = await api.request()  # an answer has a head and a length as a request has
        api.end()
        return whole


def _address(request: bytes) -> str:
    body = json.loads(request.split(b"\r\n\r\n", 1)[1])
    return str(body["media"]["video"]["url"])


async def serve(line: Line, forward: Forward) -> None:
    """Meet no trouble."""
    line.say(await forward())


async def reset_after(line: Line, forward: Forward) -> None:
    """Accept the request and reset the connection before the answer."""
    await forward()
    line.reset()


async def end_after(line: Line, forward: Forward) -> None:
    """Accept the request and close the connection in order before the answer."""
    await forward()
    line.end()


async def stall_after(line: Line, forward: Forward) -> None:
    """Accept the request, then stay silent until the worker gives up."""
    await forward()
    await line.rest()


async def halve(line: Line, forward: Forward) -> None:
    """Accept the request and break off within the body of the answer."""
    line.say((await forward())[:-20])
    line.end()


async def end_before(line: Line, _: Forward) -> None:
    """Close the connection as the request arrives, without accepting it."""
    line.end()


def accept_but_say(said: bytes) -> Trouble:
    """Accept the request and send the worker another answer."""

    async def say(line: Line, forward: Forward) -> None:
        await forward()
        line.say(said)

    return say


def only_say(said: bytes) -> Trouble:
    """Return the API never hears of it."""

    async def say(line: Line, _: Forward) -> None:
        line.say(said)

    return say


def page(status: str) -> bytes:
    """Return what a proxy says in the API's place."""
    return answer(b"<html><body>" + status.encode() + b"</body></html>", status)


def refusal(status: str) -> bytes:
    """Return the documented answer to a request that made no job."""
    return answer(b'{"errors": [{"message": "Invalid value: language"}]}', status)
