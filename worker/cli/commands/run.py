"""Run ``drain`` and ``run``: a runner with signals, a progress bar and an exit code."""

import asyncio
import gc
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from worker import log, opening, wiring
from worker.cli import exits, output
from worker.cli.commands import check
from worker.cli.commands.run_exit import Left, advice, of_run
from worker.cli.invocation import Invocation
from worker.core.model import State
from worker.core.reasons import Stop, StopReason
from worker.core.run_state import Counts
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database, DatabaseProblem, Unreachable
from worker.runner.loop import Runner
from worker.runner.model import RunReport
from worker.settings import Key, Settings
from worker.settings_sources import SettingsError, unused_proxy
from worker.store import leases, search, statistics

Watch = Callable[[Counts], None]

AGAIN_SECONDS = 1.0
"""Between a daemon's tries to reach its database when it starts."""


def drain(call: Invocation) -> int:
    """Submit until nothing is due."""
    args = call.args
    options = RunOptions(drain=True, wait=args.wait, limit=args.limit, max_seconds=args.max_seconds)
    return _work(call, options, as_json=args.json)


def run(call: Invocation) -> int:
    """Submit until a signal comes."""
    return _work(call, RunOptions(drain=False), as_json=False)


def _work(call: Invocation, options: RunOptions, *, as_json: bool) -> int:
    loaded, settings = call.loaded, call.settings
    progress = options.drain and sys.stderr.isatty() and loaded.sources["log_level"] == "default"
    log.configure("error" if progress else settings.log_level, settings.log_format)
    if note := unused_proxy(settings, call.environment):
        exits.complain([note])
    try:
        key = call.key()
        done = asyncio.run(perform(settings, key, options, bar=progress))
    except SettingsError:
        return exits.complain(asyncio.run(check.find_problems(call, {}, network=False)))
    flag = ""  # what a proposed command needs to work on the same database
    if loaded.sources["database_url"] == exits.FLAG:
        flag = f" {exits.FLAG} {shlex.quote(opening.shown(settings.database_url))}"
    _print(done, advice(done.report, check.address_of(loaded), key.source, flag), as_json=as_json)
    return of_run(done.report, done.left or Left(), done.signal)


@dataclass(frozen=True, slots=True)
class Performed:
    """A run that has ended. ``left`` is None if the database cannot be read any more; ``signal`` is
    the one that stopped the run, if one did.
    """

    report: RunReport
    left: Left | None
    signal: int | None


async def perform(settings: Settings, key: Key, options: RunOptions, *, bar: bool) -> Performed:
    """Run once on the database of ``settings``, and stop at a signal. Raises DatabaseProblem."""
    async with AsyncExitStack() as stack:
        database = await _reached(settings, options, stack)
        began = database.now()
        display: AbstractContextManager[Watch] = nullcontext(lambda _: None)
        if bar:
            display = await _display(database, began)
        with display as watch:
            async with wiring.runner(settings, key, database, options, watch) as runner:
                with _signals_to(runner) as received:
                    # By default the collector walks all loaded objects again and again, although
                    # a run makes almost no cycles (tests/benchmarks/test_overhead.py).
                    gc.freeze()
                    gc.set_threshold(20_000, 20, 20)
                    report = await runner.run()
        first = received[0] if received else None
        try:
            left = await database.read(lambda c: _left(c, settings, report, began, database.now()))
        except DatabaseProblem as problem:
            lost = replace(report, stop=Stop(reason=StopReason.DATABASE, message=str(problem)))
            return Performed(lost, None, first)
        return Performed(report, left, first)


async def _reached(settings: Settings, options: RunOptions, stack: AsyncExitStack) -> Database:
    """Return the database, open until the end of ``stack``. Raises DatabaseProblem. A daemon waits
    for its server, which may start after it when the machine boots.
    """
    logged = False
    while True:
        try:
            return await stack.enter_async_context(opening.existing_database(settings))
        except Unreachable as problem:
            if options.drain:
                raise
            if not logged:
                log.logger().error(log.Event.DATABASE_TROUBLE, problem=str(problem))
            logged = True
            await asyncio.sleep(AGAIN_SECONDS)


@contextmanager
def _signals_to(runner: Runner) -> Iterator[list[int]]:
    """Stop the runner at the first SIGTERM or SIGINT, hurry it at the next; yield all received."""
    received: list[int] = []
    loop = asyncio.get_running_loop()

    def receive(number: int) -> None:
        end = runner.hurry if received else runner.stop
        received.append(number)
        end()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, receive, number)
    try:
        yield received
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _display(database: Database, began: datetime) -> AbstractContextManager[Watch]:
    from worker.cli import terminal  # noqa: PLC0415 - rich is slow to load, and for terminals only

    due = await database.read(
        lambda c: statistics.due(c, statistics.in_state(c, State.PENDING), began)
    )
    return terminal.bar(due)


def _left(
    connection: Connection, settings: Settings, report: RunReport, began: datetime, now: datetime
) -> Left:
    """Count the videos left; doubts that will be settled without a person count as waiting."""
    pending = statistics.in_state(connection, State.PENDING)
    due = statistics.due(connection, pending, now)
    doubts = search.count(connection, search.Filter(states=(State.IN_DOUBT,), since=began)).total()
    resolvable = {
        "retry": leases.count_repeatable(connection, settings.max_attempts),
        "reconcile": max(0, doubts - len(report.needs_person)),
        "hold": 0,
    }[settings.on_doubt]
    waiting = pending - due + statistics.in_state(connection, State.SUBMITTING) + resolvable
    return Left(due=due, waiting=waiting, for_people=max(0, doubts - resolvable))


def _print(done: Performed, advised: list[str], *, as_json: bool) -> None:
    report, left = done.report, done.left
    numbers = {**asdict(report.counts), "due": left and left.due, "waiting": left and left.waiting}
    if as_json:
        output.document({**numbers, "end": report.stop.reason})
    else:
        output.pairs({name.replace("_", " "): number for name, number in numbers.items()})
    if report.counts.failed or (left and left.for_people):
        advised = [*advised, "see valossa-ingest why, then show ID"]
    for line in advised:
        print(f"valossa-ingest: {line}", file=sys.stderr)
