"""``drain`` and ``run``: a runner with signals, a progress display and an exit code."""

import argparse
import asyncio
import gc
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Self

from sqlalchemy import Connection

from worker import log, opening, wiring
from worker.cli import exits, output
from worker.cli.commands import migrate_check
from worker.cli.commands.run_exit import Left, advice, of_run
from worker.core.model import State, Stop, StopReason
from worker.core.run_state import Counts
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database, DatabaseProblem, Unreachable
from worker.runner.loop import Runner
from worker.runner.model import RunReport
from worker.settings import Key, Settings
from worker.settings_sources import Loaded, SettingsError, read_key
from worker.store import leases, search, statistics

Watch = Callable[[Counts], None]

AGAIN_SECONDS = 1.0
"""Between a daemon's tries to reach its database when it starts."""

NOTHING_LEFT = Left(due=0, waiting=0, for_people=0)


def drain(args: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Submit until nothing is due."""
    options = RunOptions(
        drain=True,
        wait=args.wait,
        limit=args.limit,
        max_seconds=args.max_seconds,
    )
    return _work(loaded, environment, options, as_json=args.json)


def run(_: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Submit for ever."""
    options = RunOptions(drain=False)
    return _work(loaded, environment, options, as_json=False)


def _work(
    loaded: Loaded, environment: Mapping[str, str], options: RunOptions, *, as_json: bool
) -> int:
    settings = loaded.settings
    progress = options.drain and sys.stderr.isatty() and loaded.sources["log_level"] == "default"
    log.configure("error" if progress else settings.log_level, settings.log_format)
    try:
        key = _key_if_all_is_set(loaded, environment)
        done = asyncio.run(perform(settings, key, options, progress=progress))
    except SettingsError:
        return exits.complain(asyncio.run(migrate_check.unready(loaded, environment)))
    except DatabaseProblem as problem:
        return exits.no_database(problem, loaded)
    address, database = migrate_check.address_of(loaded), _same_database(loaded)
    _tell(done, advice(done.report, address, key.source, database), as_json=as_json)
    return of_run(done.report, done.left or NOTHING_LEFT, done.signal)


def _same_database(loaded: Loaded) -> str:
    """What a command that is proposed has to be given, so that it works on the same database."""
    if loaded.sources["database_url"] != exits.FLAG:
        return ""
    return f" {exits.FLAG} {shlex.quote(opening.shown(loaded.settings.database_url))}"


def _key_if_all_is_set(loaded: Loaded, environment: Mapping[str, str]) -> Key:
    """The key. Raises SettingsError where any setting is wrong."""
    if loaded.problems:
        raise SettingsError(list(loaded.problems))
    return read_key(environment)


@dataclass(frozen=True, slots=True)
class Performed:
    """A run that is over: its report, what it left (None where the database cannot tell), the
    signal that stopped it.
    """

    report: RunReport
    left: Left | None
    signal: int | None


async def perform(
    settings: Settings, key: Key, options: RunOptions, *, progress: bool
) -> Performed:
    """Run once on the database of ``settings``, listening to signals. Raises DatabaseProblem."""
    async with AsyncExitStack() as stack:
        database = await _reached(settings, options, stack)
        began = database.now()
        display = await _display(database, began) if progress else nullcontext(_unwatched)
        with display as watch:
            async with wiring.runner(settings, key, database, options, watch) as runner:
                with _Signals(runner) as signals:
                    _spare_the_collector()
                    report = await runner.run()
        try:
            left = await _left(database, settings, report, began)
        except DatabaseProblem as problem:
            lost = replace(report, stop=Stop(reason=StopReason.DATABASE, message=str(problem)))
            return Performed(lost, None, signals.first)
        return Performed(report, left, signals.first)


async def _reached(settings: Settings, options: RunOptions, stack: AsyncExitStack) -> Database:
    """The database, open until the end of ``stack``. A daemon that is there before its server waits
    for it: after a reboot nobody else would start it again. Raises DatabaseProblem.
    """
    told = False
    while True:
        try:
            return await stack.enter_async_context(opening.existing_database(settings))
        except Unreachable as problem:
            if options.drain:
                raise
            if not told:
                log.logger().error(log.Event.DATABASE_TROUBLE, problem=str(problem))
            told = True
            await asyncio.sleep(AGAIN_SECONDS)


def _spare_the_collector() -> None:
    """What has been loaded stays, and what a run makes is freed without the collector, which by
    default looks through all of it again and again (tests/benchmarks/test_overhead.py).
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class _Signals:
    """SIGTERM and SIGINT, while a runner runs: the first stops it, the next hurries it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._loop = asyncio.get_running_loop()
        self.first: int | None = None

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._received, number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)

    def _received(self, number: int) -> None:
        if self.first is None:
            self.first = number
            self._runner.stop()
        else:
            self._runner.hurry()


async def _display(database: Database, began: datetime) -> AbstractContextManager[Watch]:
    """A bar of what was due when the run began."""
    from worker.cli import terminal  # noqa: PLC0415 - rich is slow to load, and for terminals only

    return terminal.bar(await database.read(lambda c: _due(c, began)))


def _due(connection: Connection, now: datetime) -> int:
    """How many videos are due."""
    return statistics.due(connection, statistics.in_state(connection, State.PENDING), now)


def _unwatched(_: Counts) -> None:
    """Off a terminal, the log says how it goes."""


async def _left(database: Database, settings: Settings, report: RunReport, began: datetime) -> Left:
    """What remains in the queue when a run is over."""
    return await database.read(lambda c: _counted(c, settings, report, began, database.now()))


def _counted(
    connection: Connection, settings: Settings, report: RunReport, began: datetime, now: datetime
) -> Left:
    pending = statistics.in_state(connection, State.PENDING)
    due = statistics.due(connection, pending, now)
    doubts = search.count(connection, search.Filter(states=(State.IN_DOUBT,), since=began)).total()
    hopeful = {
        "retry": leases.count_repeatable(connection, settings.max_attempts),
        "reconcile": max(0, doubts - len(report.needs_person)),
        "hold": 0,
    }[settings.on_doubt]
    return Left(
        due=due,
        waiting=pending - due + statistics.in_state(connection, State.SUBMITTING) + hopeful,
        for_people=max(0, doubts - hopeful),
    )


def _tell(done: Performed, advised: list[str], *, as_json: bool) -> None:
    """What this run did and what is left, then what to do about it."""
    report, left = done.report, done.left or NOTHING_LEFT
    told = {**asdict(report.counts), "due": left.due, "waiting": left.waiting}
    if done.left is None:
        told |= {"due": None, "waiting": None}
    if as_json:
        output.document({**told, "end": report.stop.reason})
    else:
        output.pairs({name.replace("_", " "): number for name, number in told.items()})
    for line in advised:
        print(f"valossa-ingest: {line}", file=sys.stderr)
    if report.counts.failed or left.for_people:
        print("valossa-ingest: see valossa-ingest why, then show ID", file=sys.stderr)
