"""Show a run on stderr while it lasts: a live block, lines, JSON Lines, or its troubles alone."""

import asyncio
import select
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial

from worker.cli import exits, output, streams
from worker.core import pace, progress
from worker.core.progress import Progress
from worker.core.reasons import Stop
from worker.core.redact import without_query
from worker.db.address import DatabaseProblem
from worker.runner.loop import Runner
from worker.snapshot import Snapshot, take

LIVE_SECONDS, LINES_SECONDS = 0.25, 1.0
"""Between looks at the run."""

FIRST_SECONDS = 0.5
"""A run that is over before it draws no block."""

READ_SECONDS, READ_SHARE = 2.0, 200
"""Between looks at the queue: so many seconds, or so many times what the last look took if that is
longer, so that looks take under 1 % of a run.
"""

SILENCE_SECONDS = 2
"""Without a clear answer, from which on a person is told why."""

YOUNG_SECONDS, USED_SECONDS, USED_STARTS = 5.0, 20.0, 5
"""The pace is measured over 5 s at least, and over 20 s or 5 starts at most."""


def mode(wanted: str, environment: Mapping[str, str]) -> str:
    """Return the display for what is wanted, and for stderr: a block needs a terminal whose cursor
    can be moved. By itself it goes to no CI, and lines go to no file.
    """
    if wanted not in {"auto", "live"}:
        return wanted
    is_terminal = is_interactive = False
    if sys.stderr.isatty() or {"TTY_COMPATIBLE", "FORCE_COLOR"} & environment.keys():
        from worker.cli import terminal  # noqa: PLC0415 - rich is slow to load

        is_terminal, is_interactive = terminal.abilities()
    if is_interactive and (wanted == "live" or not environment.get("CI")):
        return "live"
    return "lines" if is_terminal or wanted == "live" else "none"


class Display:
    """The display of one run in one mode."""

    def __init__(self, runner: Runner, mode: str) -> None:
        self._runner, self._mode, self._run = runner, mode, runner.state
        self._clock, self._settings = runner.transaction.clock, runner.transaction.settings
        self._tick = LIVE_SECONDS if mode == "live" else LINES_SECONDS
        spacing = self._settings.period_seconds / self._settings.rate
        measured = max(USED_SECONDS, USED_STARTS * spacing)
        self._starts = deque([(self._run.began_at, 0)], maxlen=int(measured / self._tick))
        self._seen: Snapshot | None = None
        self._total = 0  # of this run's videos, when the queue was last seen
        self._silent_seconds = 0
        self._said: Progress | None = None
        self._answering: asyncio.Task[None] | None = None
        self._stack = ExitStack()
        self._draw: Callable[[Callable[[int], list[str]]], None] | None = None
        if mode == "live":
            from worker.cli import terminal  # noqa: PLC0415 - now, since it would hold up the run

            self._block = terminal.block

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Show the run inside. The terminal is given back at the end, however it comes."""
        works = [self._follow_run(), self._tell_of_silence()]
        works += [self._follow_queue()] if self._mode != "none" else []
        tasks = [asyncio.create_task(each) for each in works]
        with self._stack:
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def ask(self) -> None:
        """Say how the run gets on, after a look at the queue."""
        self._answering = asyncio.create_task(self._look_and_say("status"))

    async def end(self, stop: Stop) -> None:
        """Show the end of the run."""
        if self._mode == "none":
            return
        if self._runner.silence and self._silent_seconds < SILENCE_SECONDS:
            self._tell("")
        if self._mode != "live":
            await self._look_and_say("summary", end=stop.reason)
        elif self._draw:
            await self._look()
            self._show_block()

    async def _follow_run(self) -> None:
        while True:
            await asyncio.sleep(self._tick)
            now = self._clock.monotonic()
            self._starts.append((now, self._run.spent))
            if self._mode == "live" and now >= self._run.began_at + FIRST_SECONDS:
                self._show_block()
            elif self._mode in {"lines", "json"} and progress.is_due(self._progress(), self._said):
                self._say("status")

    async def _follow_queue(self) -> None:
        while True:
            began = self._clock.monotonic()
            await self._look()
            took = self._clock.monotonic() - began
            await asyncio.sleep(max(READ_SECONDS, READ_SHARE * took))

    async def _tell_of_silence(self) -> None:
        """Tell once a trouble why no clear answer comes."""
        while True:
            await asyncio.sleep(1)
            self._silent_seconds = self._silent_seconds + 1 if self._runner.silence else 0
            if self._silent_seconds == SILENCE_SECONDS:
                self._tell("; trying on")

    def _tell(self, more: str) -> None:
        trouble = f"no clear answer from {without_query(self._settings.api_url)}"
        trouble += f": {self._runner.silence}{more}"
        if self._mode == "json":
            self._say("status", trouble=trouble)
        else:
            exits.complain([trouble])

    async def _look(self) -> None:
        run, limit = self._run, self._runner.options.limit
        with suppress(DatabaseProblem):  # of which the run itself tells
            self._seen = await self._runner.database.read(
                lambda c: take(c, self._settings, self._clock.now())
            )
            due = self._seen.overview.due
            more = due if limit is None else min(due, limit - run.spent)
            self._total = run.counts.ended + run.in_flight + more

    async def _look_and_say(self, kind: str, **more: object) -> None:
        await self._look()
        self._say(kind, **more)

    def _show_block(self) -> None:
        if select.select([], [streams.ERROR], [], 0)[1]:  # a stopped terminal stops no run
            self._draw = self._draw or self._stack.enter_context(self._block())
            self._draw(partial(progress.block, self._progress()))

    def _say(self, kind: str, **more: object) -> None:
        self._said = shown = self._progress()
        if self._mode == "json":
            facts = {"kind": kind, **more, **asdict(shown), "eta_seconds": shown.eta}
            output.json_line(facts, sys.stderr)
        else:
            exits.complain(["; ".join((*map(str, more.values()), progress.sentence(shown)))])

    def _progress(self) -> Progress:
        run, at, now = self._run, self._clock.now(), self._clock.monotonic()
        reason, until, why = progress.waits(run, at, now)
        if not reason and self._silent_seconds >= SILENCE_SECONDS:
            reason, why = "a clear answer", self._runner.silence or ""
        shown = Progress(
            at=at,
            seconds=now - run.began_at,
            counts=replace(run.counts),
            in_flight=run.in_flight,
            rate=self._settings.rate,
            period_seconds=self._settings.period_seconds,
            allowed=self._settings.rate,
            used=self._used(now),
            waits_for=reason,
            waits_until=until,
            why=why,
            last=run.last and progress.story(*run.last[:2]),
            last_at=run.last and at - timedelta(seconds=now - run.last[2]),
        )
        if (seen := self._seen) is None:
            return shown
        brake = seen.shared.brake if seen.rate < seen.settings_rate else None
        caps = (f"{each.cap.name} {each.used} of {each.cap.most}" for each in seen.levels)
        return replace(
            shown,
            rate=seen.settings_rate,
            period_seconds=seen.period_seconds,
            allowed=seen.rate,
            full_pace_at=pace.full_at(seen.settings_rate, brake) if brake else None,
            left=max(run.in_flight, self._total - run.counts.ended),
            money=(f"{seen.overview.accepted_today} today", *caps),
            needs=seen.verdict.needs,
        )

    def _used(self, now: float) -> float | None:
        began, spent = self._starts[0]
        if now - began < YOUNG_SECONDS:
            return None
        return max(0, self._run.spent - spent) * self._settings.period_seconds / (now - began)
