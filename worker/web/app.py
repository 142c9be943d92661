"""Answer the requests of a queue's page: reading for all, acting for who has signed in."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import MultiDict
from sqlalchemy import Connection
from sqlalchemy.exc import StatementError

from worker import opening, wiring
from worker.core.plain_text import one_line
from worker.db.address import DatabaseProblem
from worker.db.database import BAD_VALUE, Database, refusal
from worker.settings import LOOPBACK, Key, Settings
from worker.settings_sources import Loaded, SettingsError
from worker.snapshot import Snapshots
from worker.store.bulk import BELOW_ALL
from worker.web import actions, pages
from worker.web.asking import Fields, kept
from worker.web.board import Boards
from worker.web.callbacks import Inbox
from worker.web.metrics import CONTENT_TYPE, TURNED, Metrics
from worker.web.rendering import as_json, prepare, public, render, static
from worker.web.safety import HEADERS, Doors, names_in
from worker.web.server import serving

MOST_BYTES = 16 * 1024
"""Of the body of a request."""

MOST_CALLED_BYTES = 4 * 1024
"""Of a call of the API, which are read and thrown away."""

BODY_SECONDS = 10.0

SOON_SECONDS = 1.0
"""For an action to end before its answer says that it goes on."""

TURNS = timedelta(seconds=60)
"""The greatest age of the last turn of a loop that is alive."""

TYPES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}

VISITOR = web.RequestKey("visitor", str)
"""The name of who has signed in; empty for all others."""

Read = Callable[[Connection, Fields, Settings, datetime], dict[str, Any]]


@dataclass(slots=True, kw_only=True)
class Page:
    """The parts of one page.

    Attributes:
        key: The API key, to reconcile with; None where this process has none.
        metrics: Of this process and the queue.
        told: The sentence on the last action.
    """

    loaded: Loaded
    database: Database
    boards: Boards
    doors: Doors
    key: Key | None
    metrics: Metrics
    told: str = ""
    inbox: Inbox = field(init=False)
    acting: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.inbox = Inbox(self.database)

    def application(self) -> web.Application:
        """Return the application with all its routes."""
        app = web.Application(middlewares=[self._guard], client_max_size=MOST_BYTES)
        app.on_response_prepare.append(_set_headers)
        reads: dict[str, Handler] = {
            "/": self._home,
            "/videos": partial(self._show, "videos.html", pages.videos),
            "/videos/{video:[0-9]{1,18}}": partial(self._show, "video.html", pages.video),
            "/doubts": partial(self._show, "doubts.html", pages.doubts),
            "/act/{action:[a-z]+}": self._preview,
        }
        for path, read in reads.items():
            app.router.add_get(path, read)
            app.router.add_get(f"{'/status' if path == '/' else path}.json", read)
        app.router.add_get("/sign-in", self._door)
        app.router.add_get("/static/{name}", _static)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/act/{action:[a-z]+}", self._act)
        app.router.add_post("/sign-in", self._sign_in)
        app.router.add_post("/sign-out", self._sign_out)
        if self.loaded.settings.callback_base_url:
            app.router.add_post("/callback/{token:.*}", self._called)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a visitor in, and turn the problems of a request into sentences."""
        if request.match_info.handler == self._called:  # its token is all that it needs
            return await handler(request)
        visitor = self.doors.admit(request.method, request.headers, request.cookies)
        request[VISITOR] = visitor or ""
        try:
            return await handler(request)
        except DatabaseProblem as problem:
            raise web.HTTPServiceUnavailable(text=one_line(str(problem))) from None
        except StatementError as problem:
            raise web.HTTPConflict(text=one_line(refusal(problem))) from None
        except LookupError as problem:
            raise web.HTTPNotFound(text=one_line(str(problem.args[0]))) from None
        except ValueError as problem:
            raise web.HTTPBadRequest(text=one_line(str(problem))) from None

    async def _called(self, request: web.Request) -> web.StreamResponse:
        """Take a call of the API. It learns nothing, whatever it says."""
        self.inbox.take(request.match_info["token"])
        with suppress(TimeoutError):
            async with asyncio.timeout(BODY_SECONDS):
                await request.content.read(MOST_CALLED_BYTES)
        answer = web.Response(status=204)
        answer.force_close()
        return answer

    async def _home(self, request: web.Request) -> web.StreamResponse:
        board = await self.boards.get()
        return self._answer(request, "home.html", pages.home(board, self.loaded))

    async def _show(self, template: str, read: Read, request: web.Request) -> web.StreamResponse:
        fields = MultiDict(request.query)
        fields.update(request.match_info)
        settings, now = self.loaded.settings, self.database.now
        found = await self.database.read(lambda c: read(c, fields, settings, now()))
        return self._answer(request, template, found)

    async def _preview(
        self, request: web.Request, posted: Fields | None = None, problem: str = ""
    ) -> web.StreamResponse:
        fields, action = posted or request.query, request.match_info["action"]
        now = self.database.now
        seen = await self.database.read(lambda c: actions.preview(c, action, fields, now()))
        seen["examples"] = [public(row) for row in seen["examples"]]
        seen["possible"] = seen["possible"] and (action != "reconcile" or self.key is not None)
        asked = {"action": action, "fields": kept(fields, *actions.OPTIONS[action])}
        values = {**seen, **asked, "problem": problem, "has_key": self.key is not None}
        return self._answer(request, "preview.html", values, status=409 if problem else 200)

    async def _act(self, request: web.Request) -> web.StreamResponse:
        """Do what a preview has shown, if it would show the same now."""
        if not request[VISITOR]:
            raise web.HTTPForbidden(text="sign in first: without that this page is for reading")
        action, fields = request.match_info["action"], await _form(request)
        who = f"page:{request[VISITOR]}"
        in_one = action not in {"retry", "cancel", "release", "reconcile"}

        def work(connection: Connection, now: datetime) -> str | actions.ChangeOfMany | None:
            seen = actions.preview(connection, action, fields, now)
            if not seen["possible"] or seen["mark"] != fields.get("mark"):
                return None
            if in_one:
                return actions.do(connection, action, fields, now, who)
            return actions.begun(connection, action, fields, now)

        done = await opening.change(self.database, work, f"to {action}")
        if not in_one and self.acting and not self.acting.done():
            return await self._preview(request, fields, f"{self.told}; wait for its end")
        if done is None:
            changed = "nothing was done: it has changed meanwhile. This is how it is now"
            return await self._preview(request, fields, changed)
        if isinstance(done, actions.ChangeOfMany):
            self.acting = asyncio.create_task(self._carry_out(done, who))
            await asyncio.wait({self.acting}, timeout=SOON_SECONDS)
        else:
            self.told = f"{done}, by {who}"
        self.boards.outdate()
        raise web.HTTPSeeOther("/")

    async def _carry_out(self, change: actions.ChangeOfMany, who: str) -> None:
        """Do an action of many transactions, and tell how far it is."""
        self.told, done, after = f"{change.action} by {who} is under way", 0, BELOW_ALL
        try:
            if change.action == "reconcile":
                self.told = f"{await self._reconcile(who)}, by {who}"
                return
            while not self.stopping.is_set():
                work = partial(change.go_on, after=after, who=who)
                number, last = await opening.change(self.database, work, f"to {change.action}")
                done, after = done + number, after if last is None else last
                state = "in all" if last is None else "so far, it goes on"
                changed = "1 video" if done == 1 else f"{done:,} videos"
                self.told = f"{change.action}: {changed} changed {state}, by {who}"
                if last is None:
                    return
        except (DatabaseProblem, *BAD_VALUE) as problem:
            why = refusal(problem) if isinstance(problem, BAD_VALUE) else problem
            self.told = f"{self.told}; then it ended: {why}"

    async def _reconcile(self, who: str) -> str:
        if self.key is None:
            return "reconcile: this process has no API key"
        settings = self.loaded.settings
        async with wiring.reconciler(settings, self.key, self.database, who) as reconciler:
            await reconciler.expire()
            done = await reconciler.settle()
        judged = done.judged if done else ()
        settled = sum(each.resolvable is None for each in judged)
        return f"reconcile: {settled} of {len(judged)} doubts settled by the API's list"

    async def stop(self) -> None:
        """End the action under way after its transaction."""
        self.stopping.set()
        await self.inbox.stop()
        if self.acting and not self.acting.done():
            await asyncio.wait({self.acting}, timeout=SOON_SECONDS)
            self.acting.cancel()

    async def _door(self, request: web.Request, refused: str = "") -> web.StreamResponse:
        token = self.doors.token is not None
        values = {"code": request.query.get("code", ""), "refused": refused, "token": token}
        return self._answer(request, "sign_in.html", values, status=403 if refused else 200)

    async def _sign_in(self, request: web.Request) -> web.StreamResponse:
        fields, answer = await _form(request), web.HTTPSeeOther("/")
        code, token = fields.get("code", ""), fields.get("token", "")
        cookie = self.doors.sign_in(one_line(fields.get("name", "")) or "visitor", code, token)
        if cookie is None:
            return await self._door(request, "the code was used already, or the token is wrong")
        answer.set_cookie(self.doors.cookie, cookie, httponly=True, samesite="Strict")
        raise answer

    async def _sign_out(self, request: web.Request) -> web.StreamResponse:
        answer = web.HTTPSeeOther("/")
        self.doors.sign_out(request.cookies)
        answer.del_cookie(self.doors.cookie)
        raise answer

    async def _health(self, _: web.Request) -> web.StreamResponse:
        """Answer from memory alone, and 503 if the loop has not turned lately."""
        turned, last, now = self.metrics.gauges.get(TURNED), self.boards.last, self.database.now()
        turned_at = now if turned is None else datetime.fromtimestamp(turned, UTC)
        if abs(now - turned_at) > TURNS:
            line = f"the loop has made no turn since {turned_at:%Y-%m-%d %H:%M:%S} UTC"
            raise web.HTTPServiceUnavailable(text=f"{line}\n")
        known = last is not None and now - last.snapshot.now <= TURNS
        line = last.snapshot.verdict.sentence if last is not None and known else "alive"
        return web.Response(text=f"{one_line(line)}\n")

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        """Answer 503 too while the API refuses the key or the address, or without a database."""
        seen = (await self.boards.get()).snapshot
        answer = await self._health(request)
        answer.set_status(503 if seen.facts.refusal else 200)
        return answer

    async def _metrics(self, _: web.Request) -> web.StreamResponse:
        """Answer to a Prometheus server, also where the database cannot be read."""
        seen = None
        with suppress(DatabaseProblem):
            seen = await self.boards.snapshots.get()
        body, kind = self.metrics.exposition(seen), {"Content-Type": CONTENT_TYPE}
        return web.Response(body=body, headers=kind)

    def _answer(
        self, request: web.Request, template: str, values: Mapping[str, Any], *, status: int = 200
    ) -> web.Response:
        """Return a page, or its values as JSON; 304 where the asker has it already."""
        made_at = values["snapshot"].now if "snapshot" in values else self.database.now()
        if request.path.endswith(".json"):
            told = as_json({"now": made_at, "told": self.told, **values})
            return web.Response(text=told, content_type="application/json", status=status)
        around = {"queue": str(self.database.address), "visitor": request[VISITOR]}
        body = render(template, {**around, "told": self.told, "standalone": False, **values})
        tag = {"ETag": f'"{hashlib.sha256(body.encode()).hexdigest()[:16]}"'}
        if request.headers.get("If-None-Match") == tag["ETag"]:
            return web.Response(status=304, headers=tag)
        body = body.replace("<!--made-->", f"{made_at:%H:%M:%S}")
        return web.Response(text=body, content_type="text/html", headers=tag, status=status)


async def _set_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


async def _static(request: web.Request) -> web.Response:
    if (name := request.match_info["name"]) not in TYPES:
        raise web.HTTPNotFound
    return web.Response(text=static(name), content_type=TYPES[name])


async def _form(request: web.Request) -> Fields:
    try:
        async with asyncio.timeout(BODY_SECONDS):
            posted = await request.post()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    return MultiDict((name, each) for name, each in posted.items() if isinstance(each, str))


@asynccontextmanager
async def opened(
    loaded: Loaded,
    listen: str,
    database: Database,
    key: Key | None,
    token: Key | None,
    metrics: Metrics | None,
    announce: Callable[[str], None],
) -> AsyncIterator[None]:
    """Serve a page until the end of the block; ``announce`` gets each link to sign in with. Raises
    SettingsError if the address cannot be used.
    """
    host, _, port = listen.rpartition(":")
    hosts = LOOPBACK | {host.strip("[]").lower()} | names_in(loaded.settings.listen_hosts or "")
    doors = Doors(token=token.value if token else None, hosts=hosts, announce=announce)
    page = Page(
        loaded=loaded,
        database=database,
        boards=Boards(database, Snapshots(database, loaded.settings)),
        doors=doors,
        key=key,
        metrics=metrics or Metrics(str(database.address)),
    )
    warming = asyncio.create_task(page.boards.warm())
    prepare()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(page.stop)
        # Not cancelled: a read goes on in its thread, which needs the loop.
        stack.push_async_callback(asyncio.wait, [warming], timeout=BODY_SECONDS)
        served = serving(page.application(), host.strip("[]"), int(port))
        try:
            free = await stack.enter_async_context(served)
        except (OSError, OverflowError, UnicodeError) as error:
            known = "it is no host name" if isinstance(error, UnicodeError) else None
            why = known or getattr(error, "strerror", None) or error
            problem = f"listen = {listen} cannot be used: {why}: name another with --listen"
            raise SettingsError([problem]) from None
        near = host if host.strip("[]") in LOOPBACK else "localhost"
        doors.open(f"http://{near}:{free}")
        yield
