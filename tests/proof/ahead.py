"""A worker whose clock is ahead of this machine's, made of the product's own parts.

`python -m tests.proof.ahead SECONDS DATABASE…` drains one database after the other. Nobody can wait
for a lease to run out; to this worker it has.
"""

import argparse
import asyncio
import os
import random
import secrets
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from worker import log, opening, wiring
from worker.api.client import Api
from worker.api.transport import Transport
from worker.api.uploads import ByteRate, uploading
from worker.clock import Clock
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.runner.limiter import Limiter
from worker.runner.loop import Runner
from worker.runner.model import RunReport
from worker.runner.pacer import Pacer
from worker.runner.reporter import Reporter
from worker.runner.transaction import QueueTransaction
from worker.settings import Key, Settings
from worker.settings_sources import load, read_key


def clock_ahead(seconds: float) -> Clock:
    """Return the clocks of this machine, the wall clock so many seconds ahead."""
    ahead = timedelta(seconds=seconds)
    return Clock(now=lambda: datetime.now(UTC) + ahead, monotonic=time.monotonic)


def configured() -> tuple[Settings, Key]:
    """Return the settings and the key of this process' environment; the log as they say."""
    settings = load({}, os.environ, None).settings
    log.configure(settings.log_level, settings.log_format)
    return settings, read_key(os.environ)


async def work(
    settings: Settings,
    key: Key,
    database: Database,
    options: RunOptions,
    *,
    clock: Clock,
    connections: int | None = None,
) -> RunReport:
    """Run a worker with this clock once; with fewer connections than slots where they are told."""
    worker = secrets.token_hex(8)
    transport = Transport(
        url=settings.api_url,
        # Two connections stand beside the slots.
        slots=settings.concurrency if connections is None else connections - 1,
        connect_timeout_seconds=settings.connect_timeout_seconds,
        timeout_seconds=settings.timeout_seconds,
        agent="proof",
    )
    rate = ByteRate(None, clock.monotonic)
    async with (
        Api(transport, key.value, clock.now) as api,
        uploading(api, key.value, rate) as upload_api,
    ):
        runner = Runner(
            database=database,
            transaction=QueueTransaction(
                worker=worker,
                settings=settings,
                clock=clock,
                dice=random.random,
                pacer=Pacer(settings=settings, clock=clock, dice=random.random),
                caps=wiring.caps(settings),
            ),
            api=api,
            upload_api=upload_api,
            limiter=Limiter(
                rate=settings.rate,
                period_seconds=settings.period_seconds,
                monotonic=clock.monotonic,
            ),
            options=options,
            reporter=Reporter(log.logger().bind(worker=worker)),
            row=wiring.member(worker, settings, options, clock.now()),
        )
        return await runner.run()


async def _drain(arguments: argparse.Namespace) -> None:
    settings, key = configured()
    options = RunOptions(drain=True, wait=arguments.wait)
    for path in arguments.databases:
        async with opening.existing_database(replace(settings, database_url=path)) as database:
            clock = clock_ahead(arguments.seconds)
            report = await work(
                settings, key, database, options, clock=clock, connections=arguments.connections
            )
        sys.stdout.write(f"{path}: {report.stop.reason}\n")


def main() -> None:
    """Drain what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("databases", nargs="+")
    parser.add_argument("--wait", action="store_true", help="also for what is due later")
    parser.add_argument("--connections", type=int, help="where they are fewer than the slots")
    asyncio.run(_drain(parser.parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
