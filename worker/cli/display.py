"""Show a run on stderr while it lasts: a live block, lines, JSON Lines, or its troubles alone."""

import asyncio
import select
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from typing import Any

from worker.cli import exits, output, streams
from worker.core import pace, progress
from worker.core.progress import Progress
from worker.core.reasons import Stop
from worker.core.redact import without_query
from worker.core.verdict import Verdict, VerdictState
from worker.db.address import DatabaseProblem
from worker.runner.loop import Runner
from worker.snapshot import Snapshot, take

LIVE_SECONDS, LINES_SECONDS = 0.25, 1.0
"""Between looks at the run."""

FIRST_SECONDS = 0.5
"""A run that is over before it draws no block."""

READ_SECONDS, READ_SHARE = 2.0, 50
"""Between looks at the queue: so many seconds, or so many times what the last look took."""

SILENCE_SECONDS = 2
"""Without a clear answer, from which on a person is told why."""

YOUNG_SECONDS, USED_SECONDS = 5.0, 60.0
"""The shortest and the longest time over which the starts are counted."""


def mode(wanted: str, environment: Mapping[str, str]) -> str:
    """Return the display for what is wanted, and for stderr: a block needs a terminal whose cursor
    can be moved. By itself it goes to no CI, and lines go to no file.
    """
    if wanted not in {"auto", "live"}:
        return wanted
    is_terminal = is_interactive = False
    if sys.stderr.isatty() or {"TTY_COMPATIBLE", "FORCE_COLOR"} & environment.keys():
        from rich.console import Console  # noqa: PLC0415 - slow to load, and for terminals only

        console = Console(stderr=True)
        is_terminal, is_interactive = console.is_terminal, console.is_interactive
    if is_interactive and (wanted == "live" or not environment.get("CI")):
        return "live"
    return "lines" if is_terminal or wanted == "live" else "none"


class Display:
    """The display of one run in one mode."""

    def __init__(self, runner: Runner, mode: str) -> None:
        self._runner, self._mode, self._run = runner, mode, runner.state
        self._clock, self._settings = runner.transaction.clock, runner.transaction.settings
        self._tick = LIVE_SECONDS if mode == "live" else LINES_SECONDS
        self._starts = deque([(self._run.began_at, 0)], maxlen=int(USED_SECONDS / self._tick))
        self._seen: Snapshot | None = None
        self._total = 0  # of this run's videos, when the queue was last seen
        self._silent_seconds = 0
        self._no_answer = f"no clear answer from {without_query(self._settings.api_url)}"
        self._said: Progress | None = None
        self._answering: asyncio.Task[None] | None = None
        self._block: AbstractContextManager[Any] = nullcontext(lambda _: None)
        if mode == "live":
            from worker.cli import terminal  # noqa: PLC0415 - now, since it would hold up the run

            self._block = terminal.block()

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Show the run inside. The terminal is given back at the end, however it comes."""
        works = [self._follow_run(), self._tell_of_silence()]
        works += [self._follow_queue()] if self._mode != "none" else []
        tasks = [asyncio.create_task(each) for each in works]
        with self._block as self._draw:
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def ask(self) -> None:
        """Say how the run gets on."""
        self._answering = asyncio.create_task(self._say("status"))

    async def end(self, stop: Stop) -> None:
        """Show the end of the run."""
        if self._mode == "none":
            return
        if self._run.silence and self._silent_seconds < SILENCE_SECONDS:
            exits.complain([f"{self._no_answer}: {self._run.silence}"])
        if self._mode != "live":
            await self._say("summary", end=stop.reason)
        else:
            await self._look()
            self._show_block()

    async def _follow_run(self) -> None:
        while True:
            await asyncio.sleep(self._tick)
            self._starts.append((self._clock.monotonic(), self._run.spent))
            if self._mode == "live":
                self._show_block()
            elif self._mode != "none" and progress.is_due(self._progress(), self._said):
                await self._say("status")

    async def _follow_queue(self) -> None:
        await asyncio.sleep(FIRST_SECONDS)  # until this run is among the workers
        while True:
            began = self._clock.monotonic()
            await self._look()
            await asyncio.sleep(max(READ_SECONDS, READ_SHARE * (self._clock.monotonic() - began)))

    async def _tell_of_silence(self) -> None:
        """Tell once a trouble why no clear answer comes."""
        while True:
            await asyncio.sleep(1)
            self._silent_seconds = self._silent_seconds + 1 if self._run.silence else 0
            if self._silent_seconds == SILENCE_SECONDS:
                exits.complain([f"{self._no_answer}: {self._run.silence}; trying on"])

    async def _look(self) -> None:
        run, limit = self._run, self._runner.options.limit
        with suppress(DatabaseProblem):  # of which the run itself tells
            self._seen = await self._runner.database.read(
                lambda c: take(c, self._settings, self._clock.now())
            )
            transfer = self._seen.transfer
            due = self._seen.overview.due + transfer.files - transfer.homeless
            more = due if limit is None else min(due, limit - run.spent)
            self._total = run.counts.ended + run.in_flight + more

    def _show_block(self) -> None:
        # A terminal that a person has stopped takes nothing, and must not stop the run.
        shown, takes = self._progress(), select.select([], [streams.ERROR], [], 0)[1]
        if shown is not None and shown.seconds >= FIRST_SECONDS and takes:
            self._draw(shown)

    async def _say(self, kind: str, **more: object) -> None:
        await self._look()
        self._said = shown = self._progress()
        if shown is None:
            exits.complain(["the queue cannot be read now"])
        elif self._mode == "json":
            facts = {"kind": kind, **more, **asdict(shown), "eta_seconds": shown.eta}
            output.document(facts, sys.stderr, None)
        else:
            exits.complain(["; ".join((*map(str, more.values()), *progress.sentences(shown)))])

    def _progress(self) -> Progress | None:
        run, at, now = self._run, self._clock.now(), self._clock.monotonic()
        if (seen := self._seen) is None:
            return None
        (began, spent), period = self._starts[0], seen.period_seconds
        used = max(0, run.spent - spent) * period / max(now - began, YOUNG_SECONDS)
        brake = seen.shared.brake if seen.rate < seen.settings_rate else None
        uploading, verdict = seen.transfer.left, seen.verdict
        if run.database_problem is not None:  # which the queue shows a minute later, if at all
            told = f"{VerdictState.STALLED}: {run.database_problem}"
            verdict = Verdict(state=VerdictState.STALLED, sentence=told)
        caps = (f"{each.cap.name} {each.used} of {each.cap.most}" for each in seen.levels)
        return Progress(
            at=at,
            seconds=now - run.began_at,
            counts=replace(run.counts),
            in_flight=run.in_flight,
            left=max(run.in_flight, self._total - run.counts.ended),
            rate=seen.settings_rate,
            allowed=seen.rate,
            used=used if now - began >= YOUNG_SECONDS else None,
            period_seconds=period,
            full_pace_at=pace.full_at(seen.settings_rate, brake) if brake else None,
            money=(f"{seen.overview.accepted_today} today", *caps),
            last=progress.story(*run.last) if run.last else {},
            held=seen.facts.held,
            verdict=verdict,
            uploads=seen.transfer.sentence,
            upload_seconds=None if uploading is None else uploading.total_seconds(),
        )
