"""Run ``drain`` and ``run``: a runner with signals, a progress bar and an exit code."""

import asyncio
import gc
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from worker import log, opening, wiring
from worker.cli import exits, output, signals
from worker.cli.commands import before, check, page
from worker.cli.commands.run_exit import Left, advice, of_run, stopping
from worker.cli.display import Display, mode
from worker.cli.invocation import Invocation
from worker.core.file_address import address_of
from worker.core.model import Fact, State
from worker.core.progress import story
from worker.core.reasons import Stop, StopReason
from worker.core.stop_conditions import RunOptions
from worker.db.address import DatabaseProblem, Unreachable
from worker.db.database import Database
from worker.notify.lookout import Lookout
from worker.notify.systemd import Systemd
from worker.runner.loop import Runner
from worker.runner.model import RunReport
from worker.settings import Key, Settings
from worker.settings_sources import SettingsError, unused_proxy
from worker.snapshot import doubts_for_person, take
from worker.store import hosts, shared_state, statistics, transfers, workers
from worker.store.doubts import count_unlisted

Beside = Callable[[Lookout], AbstractAsyncContextManager[None]]

SWITCH_SECONDS = 0.0001
"""For which a thread keeps the interpreter from another one that waits."""

AGAIN_SECONDS = 1.0
"""Between a daemon's tries to reach its database when it starts."""


def drain(call: Invocation) -> int:
    """Submit until nothing is due, unless a person does not want to buy that."""
    args = call.args
    if args.dry_run:
        if call.loaded.problems:
            raise SettingsError([*call.loaded.problems])
        return before.dry_run(call)
    options = RunOptions(drain=True, wait=args.wait, limit=args.limit, max_seconds=args.max_seconds)
    return _work(call, options, as_json=args.json)


def run(call: Invocation) -> int:
    """Submit until a signal comes."""
    return _work(call, RunOptions(drain=False), as_json=False)


def _work(call: Invocation, options: RunOptions, *, as_json: bool) -> int:
    loaded, settings = call.loaded, call.settings
    display = mode(settings.progress, call.environment)
    hushed = display != "none" and loaded.sources["log_level"] == "default"
    log.configure("error" if hushed else settings.log_level, settings.log_format)
    if note := unused_proxy(settings, call.environment):
        exits.complain([note])
    try:
        key = call.key()
        if options.drain and not before.may_begin(call, key):
            why = "nothing was claimed; preflight names what is wasted, --limit N buys fewer"
            return exits.complain([why], exits.PROBLEMS)
        options = replace(options, rate_source=loaded.rate_source)
        file = getattr(call.args, "metrics_file", None)
        serves = settings.listen is not None and not options.drain
        beside = partial(page.beside, call, key) if serves else alone
        done = asyncio.run(perform(settings, key, options, display, file, beside))
    except (SettingsError, DatabaseProblem) as error:
        if options.drain and not loaded.problems:
            with suppress(DatabaseProblem):  # of an address: it is told with all else
                asyncio.run(_tell_of_no_run(call, options))
        if isinstance(error, DatabaseProblem):
            raise
        found = asyncio.run(check.find_problems(call, {}, network=False))
        return exits.complain(found or error.problems)
    flag = ""  # what a proposed command needs to work on the same database
    if loaded.sources["database_url"] == exits.FLAG:
        flag = f" {exits.FLAG} {shlex.quote(opening.shown(settings.database_url))}"
    left = done.left or Left()
    advised = advice(done.report, left, check.address_of(loaded), key.source, flag)
    sole = done.report.last if options.limit == 1 else None
    _print(done, story(*sole) if sole else {}, advised, as_json=as_json)
    return of_run(done.report, left, done.signal)


@dataclass(frozen=True, slots=True)
class Performed:
    """A run that has ended. ``left`` is None if the database cannot be read any more; ``signal`` is
    the one that stopped the run, if one did.
    """

    report: RunReport
    left: Left | None
    signal: int | None


def alone(_: Lookout) -> AbstractAsyncContextManager[None]:
    """Serve no page beside a run."""
    return nullcontext()


async def perform(
    settings: Settings,
    key: Key,
    options: RunOptions,
    mode: str,
    metrics_file: Path | None,
    beside: Beside = alone,
) -> Performed:
    """Run once, with the display ``mode``, and stop at a signal. Raises DatabaseProblem."""
    async with AsyncExitStack() as stack:
        database = await _reached(settings, options, stack)
        lookout = Lookout(settings, key, database, os.environ, options, metrics_file)
        async with (
            wiring.runner(settings, key, database, options, lookout.observe) as runner,
            beside(lookout),
        ):
            lookout.begin()
            display = Display(runner, mode)
            with _signals_to(runner, settings.grace, display.ask, lookout.systemd) as received:
                # By default the collector walks all loaded objects again and again, although
                # a run makes almost no cycles (tests/benchmarks/test_overhead.py).
                gc.freeze()
                gc.set_threshold(20_000, 20, 20)
                # By default the database's thread waits 5 ms for a busy loop, 30 times a batch.
                sys.setswitchinterval(SWITCH_SECONDS)
                async with display.showing():
                    report = await runner.run()
                    await display.end(report.stop)
        first = received[0] if received else None
        try:
            done = await database.read(lambda c: _over(c, settings, report, first, database.now()))
        except DatabaseProblem as problem:
            lost = replace(report, stop=Stop(reason=StopReason.DATABASE, message=str(problem)))
            done = Performed(lost, None, first)
        code = of_run(done.report, done.left or Left(), first)
        await lookout.end(report.counts.failed, code)
        return done


async def _tell_of_no_run(call: Invocation, options: RunOptions) -> None:
    """Ping, and write the metrics of a drain that could not begin."""
    settings, seen = call.settings, None
    with suppress(DatabaseProblem):
        async with opening.readable_database(settings) as queue:
            seen = await queue.read(lambda c: take(c, settings, queue.now()))
    database, file = wiring.database(settings), call.args.metrics_file
    lookout = Lookout(settings, Key("", ""), database, os.environ, options, file)
    await lookout.never_began(exits.CONFIG, seen)


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
def _signals_to(
    runner: Runner, grace: float, asked: Callable[[], None], systemd: Systemd
) -> Iterator[list[int]]:
    """Stop the runner at the first signal that stops, hurry it at the next; yield all received."""
    received: list[int] = []
    loop, heard = asyncio.get_running_loop(), (*signals.stops(), signals.ASKS, *signals.IGNORED)

    def receive(number: signal.Signals) -> None:
        if number in signals.IGNORED:
            log.logger().warning(log.Event.SIGNAL_IGNORED, signal=number.name)
            return
        if number == signals.ASKS:
            asked()
            return
        received.append(number)
        if len(received) == 1:
            systemd.stopping(grace)
            told = stopping(runner.stop(), grace)
            if number is signal.SIGINT or sys.stderr.isatty():  # else the log's line is enough
                exits.complain([told])
        elif number is not signal.SIGHUP:  # a closed terminal sends it more than once
            runner.hurry()

    for number in heard:
        loop.add_signal_handler(number, receive, number)
    try:
        yield received
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
        signals.prepare()


def _over(
    connection: Connection, settings: Settings, report: RunReport, number: int | None, now: datetime
) -> Performed:
    """Return the end of a run. A refusal of the account or the address that another worker met is
    its reason too, if it keeps back what is left.
    """
    refused, shared = statistics.refusal(connection), shared_state.read(connection)
    beside = (shared.cool_down_until or now) > now or workers.alive(connection, now)
    if refused is not None and beside and report.stop.reason in _ENDS_WAITING:
        stop = Stop(reason=_REFUSED[refused["fact"]], message=refused["message"] or "")
        report = replace(report, stop=stop)
    return Performed(report, _left(connection, settings, now), number)


_ENDS_WAITING = {StopReason.EMPTY, StopReason.TIME, StopReason.COOL_DOWN, StopReason.UNREACHABLE}
_REFUSED = {Fact.ACCOUNT_REFUSED: StopReason.ACCOUNT, Fact.WRONG_ADDRESS: StopReason.ADDRESS}


def _left(connection: Connection, settings: Settings, now: datetime) -> Left:
    """Count the videos left; doubts that may be settled without a person count as waiting."""
    pending, submitting, doubts = (
        statistics.in_state(connection, state)
        for state in (State.PENDING, State.SUBMITTING, State.IN_DOUBT)
    )
    due = statistics.due(connection, pending, now)
    unsettled = doubts - doubts_for_person(connection, settings, pending, doubts)
    unlisted = count_unlisted(connection, now) if settings.reconciles else 0
    held = hosts.held(connection) if shared_state.read(connection).held_hosts else ()
    roots = workers.roots(workers.everyone(connection), now) or []
    roots += map(address_of, settings.roots)
    return Left(
        hosts=[each for each in held if each.videos],
        uploads=transfers.waiting(connection, roots),
        due=due,
        waiting=pending - due + submitting + unsettled,
        later=pending - due,
        unsettled=unsettled,
        for_people=doubts - unsettled,
        unlisted=unlisted,
    )


def _print(done: Performed, sole: dict[str, object], advised: list[str], *, as_json: bool) -> None:
    report, left = done.report, done.left
    facts: dict[str, object] = {**asdict(report.counts), "due": left and left.due}
    facts |= {"waiting": left and left.waiting, **sole}
    if as_json:
        output.document({**facts, "end": report.stop.reason})
    else:
        output.pairs({name.replace("_", " "): fact for name, fact in facts.items()})
    exits.complain(advised)
