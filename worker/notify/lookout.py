"""Look at a queue beside its run; tell the verdict to systemd, a person and a metrics file."""

import asyncio
import json
import os
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker import snapshot, wiring
from worker.clock import sleep_or_event
from worker.core.notices import Notice, Told, spent, tell, troubles
from worker.core.redact import presentable, visible
from worker.core.stop_conditions import RunOptions
from worker.core.verdict import Verdict, VerdictState
from worker.db.address import DatabaseProblem
from worker.db.database import Database
from worker.log import Event, logger
from worker.notify import senders, systemd
from worker.settings import Key, Settings
from worker.settings_sources import KEY, KEY_FILE
from worker.store import shared_state
from worker.store.job_numbers import JobNumbers

if TYPE_CHECKING:
    from worker.web.metrics import Metrics

LOOK_SECONDS = 10.0
LAST_SECONDS = 5.0
"""For what is on its way when the run has ended."""

LOST_LOOKS = 12
"""Looks in a row at a database that cannot be read, until a person is notified."""

FINE = {0, 75}
"""Exit codes that need no person."""


@dataclass(eq=False)
class Lookout:
    """The lookout beside one run. ``file``: of its metrics, None for none."""

    settings: Settings
    key: Key
    database: Database
    environment: Mapping[str, str]
    options: RunOptions
    file: Path | None = None
    last_seconds: float = LAST_SECONDS
    metrics: "Metrics | None" = None
    _told: Told = field(default_factory=Told)
    _unrecorded: Told | None = None
    _recording: asyncio.Task[None] | None = None
    _pinging: asyncio.Lock = field(default_factory=asyncio.Lock)
    _lost: int = 0
    _failed: bool = False
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.systemd = systemd.of(self.environment, os.getpid(), wiring.CLOCK.monotonic)
        if self.file or self.settings.listen:
            from worker.web.metrics import Metrics  # noqa: PLC0415 - slow to load

            self.metrics = Metrics(str(self.database.address))

    def observe(self, kind: str, number: float) -> None:
        """Take what the run observes."""
        if kind == "turn":
            self.systemd.turned()
        if self.metrics:
            self.metrics.observe(kind, number)

    def begin(self) -> None:
        """Look from now on, if the verdict is wanted anywhere."""
        self._ping_with("/start")
        wanted = self.settings.notify_command or self.settings.notify_url or self.file
        if wanted or self.systemd.address:
            self._start(self._run())

    async def end(self, failed: int, code: int) -> None:
        """Tell the end of the run. What is on its way gets a short time."""
        if self.metrics:
            at = self.database.now().timestamp()
            self.metrics.gauges = {"drain_ended_timestamp_seconds": at, "drain_exit_code": code}
        self._failed = self.options.drain and failed > 0
        self._ended.set()
        self._ping_with("" if code in FINE else f"/{code}")
        end = wiring.CLOCK.monotonic() + self.last_seconds
        while self._under_way and (left := end - wiring.CLOCK.monotonic()) > 0:
            await asyncio.wait(self._under_way, timeout=left)
        for task in self._under_way:  # a write that waits for a lock has done nothing yet
            task.cancel()

    async def never_began(self, code: int, seen: snapshot.Snapshot | None) -> None:
        """Tell the end of a drain that lacked a setting or its database."""
        await self.end(0, code)
        self._write(seen)

    async def _run(self) -> None:
        while not self._ended.is_set():
            await self.look()
            await sleep_or_event(self._ended, LOOK_SECONDS)
        await self.look(drain_failed=self._failed)

    def _ping_with(self, suffix: str) -> None:
        if self.options.drain and (url := self.settings.ping_url):
            self._start(_send("ping_url", self._ping(url.rstrip("/") + suffix)))

    async def _ping(self, url: str) -> str | None:
        async with self._pinging:  # who hears the start after the end waits for an end
            return await senders.request("GET", url)

    async def look(self, *, drain_failed: bool = False) -> None:
        """Look once, and tell what is new."""
        now, seen = self.database.now(), None
        try:
            seen = await self.database.read(lambda c: snapshot.take(c, self.settings, now))
            self._told, verdict = await self.database.read(shared_state.told), seen.verdict
        except DatabaseProblem as problem:
            verdict = Verdict(state=VerdictState.STALLED, sentence=f"stalled: {problem}")
        self.systemd.send(f"STATUS={visible(self._shown(verdict.sentence))}")
        self._write(seen)
        self._lost = 0 if seen else self._lost + 1
        if seen or self._lost >= LOST_LOOKS:
            told = self._unrecorded or self._told
            found = troubles(verdict.state, seen.facts if seen else None, told.open)
            wasted_at = seen.jobs.wasted_at if seen else None
            record, reasons = tell(told, found, now, drain_failed=drain_failed, wasted_at=wasted_at)
            if record != told:
                self._unrecorded = record
            if self._unrecorded and (self._recording is None or self._recording.done()):
                self._recording = self._start(self._record())  # also of one that has failed
            if reasons:
                self._notify(verdict, reasons, seen.jobs if seen else None)

    def _shown(self, text: str) -> str:
        """Return a text on one line, without the key and the query of any link."""
        return " ".join(presentable(text, self.key.value).split())

    def _write(self, seen: snapshot.Snapshot | None) -> None:
        if self.metrics and self.file:
            try:
                self.metrics.write(self.file, seen)
            except OSError as error:
                reason = error.strerror
                logger().warning(Event.NOTICE_FAILED, sink=str(self.file), reason=reason)

    async def _record(self) -> None:
        with suppress(DatabaseProblem):
            while told := self._unrecorded:
                work = partial(shared_state.tell, record=told)
                await self.database.write(work, "to record a notice")
                self._told = told
                if self._unrecorded is told:
                    self._unrecorded = None

    def _notify(self, verdict: Verdict, reasons: list[Notice], jobs: JobNumbers | None) -> None:
        said: dict[str, Any] = {"reasons": reasons, "queue": str(self.database.address)}
        said |= {"host": wiring.host(), **asdict(verdict)}
        if jobs and Notice.SPENT in reasons:
            said["spent"] = spent(jobs.wasted, jobs.wasted_host, jobs.wasted_details)
        said |= {name: self._shown(text) for name, text in said.items() if isinstance(text, str)}
        said["needs"] = [self._shown(need) for need in verdict.needs]
        said["text"] = ": ".join(
            filter(None, (said["sentence"], said["remedy"], said.get("spent")))
        )
        body = json.dumps(said, default=datetime.isoformat).encode()
        if command := self.settings.notify_command:
            environment = {n: v for n, v in self.environment.items() if n not in {KEY, KEY_FILE}}
            self._start(_send("notify_command", senders.run(command, body, environment)))
        if url := self.settings.notify_url:
            self._start(_send("notify_url", senders.request("POST", url, body)))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task


async def _send(sink: str, sending: Coroutine[Any, Any, str | None]) -> None:
    try:
        problem = await sending
    except asyncio.CancelledError:
        logger().warning(Event.NOTICE_FAILED, sink=sink, reason="cut off by the end of the run")
        raise
    if problem:
        logger().warning(Event.NOTICE_FAILED, sink=sink, reason=problem)
    else:
        logger().info(Event.NOTICE_SENT, sink=sink)
