"""Serve the imitation over HTTP and record its requests and jobs.

A new_job request gets its number, then limit and kind of trouble are decided. Its body is read,
the request recorded and, if it buys, the job booked, with no await between reading and booking.
Latency and answer come last, so a job that the client may learn of is always in the book.
"""

import asyncio
import json
import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random, SystemRandom
from typing import Final, Self

from aiohttp import web

from worker.simulator import answers, faults, fields
from worker.simulator.book import Book, End, Job
from worker.simulator.jobs import Jobs
from worker.simulator.limit import Window, limit_at
from worker.simulator.lives import QUEUED
from worker.simulator.options import Options
from worker.simulator.questions import Question, Questions
from worker.simulator.uploads import Uploads

LIMITED: Final = "limit"
"""The kind recorded for a request beyond `Options.limit`."""

_UNASKED_AFTER_SECONDS = 0.05
_STOP_SECONDS = 0.1
_BACKLOG = 1024

Body = Mapping[str, object]


@dataclass(frozen=True)
class Request:
    """A new_job request that arrived.

    `number` counts from 1 in the order of arrival; `arrived_at` is time.monotonic() at its head.
    `kind` is a kind of `faults.KINDS`, LIMITED, or None; `wait_seconds` is 0 except for LIMITED.
    `body` is its JSON without api_key, None if unreadable or not read yet; `request_id` and `url`
    are taken from it.
    """

    number: int
    arrived_at: float
    kind: str | None = None
    wait_seconds: float = 0.0
    request_id: str | None = None
    url: str | None = None
    body: Body | None = None


class Simulator:
    """The API on a local port.

    `requests` holds the new_job requests in the order of reading, `followed` those after a
    redirect, `unasked` the made-up job ids of unrequested answers. They and the jobs survive a stop
    and start. `now` is the wall clock (seconds since the epoch) by which jobs live.
    """

    def __init__(
        self,
        options: Options,
        now: Callable[[], float] = time.time,  # noqa: TID251 - not the worker's clock
    ) -> None:
        self.options = options
        self.url = ""
        self.requests: list[Request] = []
        self.followed: list[Request] = []
        self.unasked: list[str] = []
        self._now = now
        self._book = Book(options.book)
        self._jobs = Jobs(self._book, lambda: self.options, now)
        self._questions = Questions(self._jobs, lambda: self.options)
        self._ids = SystemRandom() if options.book else Random(options.seed)
        self._window = Window()
        self._arrived = 0
        self._first_at: float | None = None
        self._changed = asyncio.Event()
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.uploads = Uploads(options, self._notify, lambda: self._released.wait())  # noqa: PLW0108 - it changes

    @property
    def accepted(self) -> list[Job]:
        """Return the accepted jobs, oldest first, those read from the book before all others."""
        return self._book.jobs

    @property
    def ends(self) -> Mapping[str, End]:
        """Return how the jobs have ended by now, by their ids."""
        self._jobs.pass_time()
        return self._book.ends

    @property
    def questions(self) -> list[Question]:
        """Return the questions that came with a key, oldest first."""
        return self._questions.asked

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Open the book, listen on host (IPv4) and port (0: any free one), return the base URL.
        Raises OSError if book or port cannot be opened, ValueError if the file is not a book.
        """
        self._released = asyncio.Event()
        self._runner = web.AppRunner(
            self._application(), access_log=None, shutdown_timeout=_STOP_SECONDS
        )
        try:
            self._book.open()
            self._jobs.pass_time()
            await self._runner.setup()
            await web.TCPSite(self._runner, host, port, backlog=_BACKLOG).start()
        except Exception:
            await self.stop()
            raise
        self.url = f"http://{host}:{self._runner.addresses[0][1]}{answers.BASE}"
        return self.url

    async def stop(self) -> None:
        """Release held requests, close connections and book. A second call does nothing."""
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self._jobs.pass_time()
        self._book.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def release(self) -> None:
        """Release all requests that `stall` holds now; later ones are held again."""
        self._released.set()
        self._released = asyncio.Event()

    async def wait_for_requests(self, count: int) -> None:
        """Return as soon as `count` new_job requests have been recorded."""
        await self.wait_until(lambda: len(self.requests) >= count)

    async def wait_for_accepted(self, count: int) -> None:
        """Return as soon as `count` jobs have been accepted, those read back included."""
        await self.wait_until(lambda: len(self.accepted) >= count)

    async def wait_until(self, reached: Callable[[], bool]) -> None:
        """Return as soon as `reached` is true; it is called after each new record."""
        while not reached():
            await self._changed.wait()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=0)
        app.router.add_post(f"{answers.BASE}/new_job", self._new_job)
        app.router.add_routes(self._questions.routes())
        app.router.add_post(f"{answers.BASE}/cancel_job", self._cancel_job)
        app.router.add_post(answers.MOVED, self._moved)
        self.uploads.serve_on(app)
        app.router.add_route("*", "/{path:.*}", self._elsewhere)
        return app

    async def _new_job(self, request: web.Request) -> web.StreamResponse:
        arrival = self._arrive()
        body = None if arrival.kind == faults.RESET_EARLY else await _read_object(request)
        kind, answer = self._decide(arrival, body)
        if self.options.latency_seconds:
            await asyncio.sleep(self.options.latency_seconds)
        if kind == faults.STALL:
            await self._released.wait()
        if kind == faults.UNASKED:
            loop = asyncio.get_running_loop()
            loop.call_later(_UNASKED_AFTER_SECONDS, self._send_unasked, request.transport)
        return answer

    def _arrive(self) -> Request:
        options, now = self.options, time.monotonic()
        self._arrived += 1
        self._first_at = now if self._first_at is None else self._first_at
        limit = limit_at(options.limit, options.limit_changes, now - self._first_at)
        wait_seconds = self._window.wait_seconds(limit, now) if limit else 0.0
        if wait_seconds:
            return Request(self._arrived, now, LIMITED, wait_seconds)
        kind = faults.kind_of(
            self._arrived, script=options.script, failures=options.failures, seed=options.seed
        )
        if limit and not faults.throttles(kind):
            self._window.count(now)
        return Request(self._arrived, now, kind)

    def _decide(self, arrival: Request, body: Body | None) -> tuple[str | None, web.StreamResponse]:
        """Record the request, book its job if it buys, and return its kind and answer."""
        # 1. Over the limit: 429. 2. A kind that makes no job: its answer. 3. Invalid: refused.
        # 4. Anything else buys.
        kind = arrival.kind
        refusal = self._refusal(body, fields.NEW_JOB, fields.NEW_JOB_REQUIRED)
        if refusal is not None and kind in faults.BOUGHT:
            kind = None
        self.requests.append(_with_body(replace(arrival, kind=kind), body))
        if kind == LIMITED:
            whole_seconds = math.ceil(arrival.wait_seconds)
            answer = answers.refusal(429, "Too many requests", retry_after_seconds=whole_seconds)
        elif kind is not None and kind not in faults.BOUGHT:
            answer = answers.turned_away(kind, fields.dig(body, "api_key"))
        elif refusal is not None:
            answer = refusal
        else:
            answer = self._buy(kind, body)
        self._notify()
        return kind, answer

    def _buy(self, kind: str | None, body: Body | None) -> web.StreamResponse:
        job = Job(
            self._fresh_id(),
            _text(body, "media.customer_media_info.id"),
            str(fields.dig(body, "media.video.url")),
            self._now(),
        )
        named = self.accepted[-1] if kind == faults.SAME_ID and self.accepted else job
        self._book.enter(job, str(fields.dig(body, "api_key")))
        self._jobs.pass_time()
        return answers.bought(kind, named.job_id)

    def _send_unasked(self, transport: asyncio.Transport | None) -> None:
        if transport is None or transport.is_closing():
            return
        self.unasked.append(self._fresh_id())
        transport.write(answers.raw_job(self.unasked[-1]))
        self._notify()

    async def _cancel_job(self, request: web.Request) -> web.StreamResponse:
        body = await _read_object(request)
        refusal = self._refusal(body, fields.CANCEL_JOB, fields.CANCEL_JOB_REQUIRED)
        if refusal is not None:
            return refusal
        job = self._book.find(str(fields.dig(body, "job_id")), str(fields.dig(body, "api_key")))
        if job is None:
            return answers.refusal(404, "Job not found")
        if self._jobs.shown(job).status != QUEUED:
            return answers.refusal(400, "Job is not waiting in the queue")
        self._book.cancelled.add(job.job_id)
        return answers.success({})

    async def _moved(self, request: web.Request) -> web.StreamResponse:
        body = await _read_object(request)
        arrival = Request(len(self.followed) + 1, time.monotonic())
        self.followed.append(_with_body(arrival, body))
        self._notify()
        return answers.refusal(404, "Not found")

    async def _elsewhere(self, _: web.Request) -> web.StreamResponse:
        return answers.refusal(404, "Not found")

    def _refusal(
        self, body: Body | None, known: fields.Fields, required: tuple[str, ...]
    ) -> web.StreamResponse | None:
        if body is None:
            return answers.refusal(400, "Malformed request body")
        if _text(body, "api_key") not in self.options.keys:
            return _invalid_key()
        problems = fields.problems(body, known, required)
        return answers.refusal(400, *problems) if problems else None

    def _fresh_id(self) -> str:
        return str(uuid.UUID(int=self._ids.getrandbits(128), version=4))

    def _notify(self) -> None:
        # Not an asyncio.Condition: its lock needs an await, and booking must have none.
        self._changed.set()
        self._changed = asyncio.Event()


def _invalid_key() -> web.StreamResponse:
    return answers.refusal(401, "Invalid API key")


def _with_body(request: Request, body: Body | None) -> Request:
    return replace(
        request,
        request_id=_text(body, "media.customer_media_info.id"),
        url=_text(body, "media.video.url"),
        body=body and {name: value for name, value in body.items() if name != "api_key"},
    )


def _text(body: Body | None, path: str) -> str | None:
    value = fields.dig(body, path)
    return value if isinstance(value, str) else None


async def _read_object(request: web.Request) -> dict[str, object] | None:
    try:
        body = json.loads(await request.read())
    except (OSError, web.RequestPayloadError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and request.content_type == answers.JSON else None
