"""Run ``simulate``: the imitation of the API as a process of its own."""

import argparse
import asyncio
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path

from worker.cli import exits, output
from worker.settings_sources import Loaded
from worker.simulator import (
    KINDS,
    LIST_KINDS,
    Options,
    Simulator,
    parse_change,
    parse_failure,
    parse_limit,
)


def simulate(args: argparse.Namespace, _: Loaded, __: Mapping[str, str]) -> int:
    """Serve until a signal."""
    asks_for_kinds = any(failure.endswith("=help") or failure == "help" for failure in args.fail)
    if asks_for_kinds or "help" in args.list:
        output.pairs(KINDS if asks_for_kinds else LIST_KINDS)
        return exits.OK
    try:
        asyncio.run(_serve(ordered(args), args.port))
    except ValueError as error:
        return exits.complain([str(error)], exits.USAGE)
    except OSError as error:
        where = error.filename or f"port {args.port}"
        return exits.complain([f"{where}: {error.strerror or error}"], exits.CONFIG)
    return exits.OK


def ordered(args: argparse.Namespace) -> Options:
    """Return the options that the flags ask for. Raises ValueError with the remedy."""
    return Options(
        keys=frozenset(args.key or ["demo-key"]),
        latency_seconds=args.latency,
        failures=dict(map(parse_failure, args.fail)),
        limit=parse_limit(args.limit) if args.limit else None,
        limit_changes=tuple(map(parse_change, args.limit_change)),
        seed=args.seed,
        book=Path(args.book) if args.book else None,
        listing=args.list,
        list_delay_seconds=args.list_delay,
        finished_share=args.finish,
        finish_seconds=args.finish_after,
    )


async def _serve(options: Options, port: int) -> None:
    simulator = Simulator(options)
    url = await simulator.start(port=port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"imitating the API at {url}", flush=True)
    key = shlex.quote(min(options.keys))
    print(f"use it with: export WORKER_API_URL={url} VALOSSA_API_KEY={key}", flush=True)
    await stopped.wait()
    await simulator.stop()
    print(f"accepted {len(simulator.accepted)} jobs in {len(simulator.requests)} requests")
