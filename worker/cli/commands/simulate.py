"""Run ``simulate``: the imitation of the API as a process of its own."""

import argparse
import asyncio
import shlex
import signal
from pathlib import Path

from worker import simulator
from worker.cli import exits, output
from worker.cli.invocation import Invocation


def simulate(call: Invocation) -> int:
    """Serve until a signal."""
    args = call.args
    if "help" in args.upload_fail:
        output.pairs(simulator.UPLOAD_KINDS)
        return exits.OK
    asks_for_kinds = any(failure.endswith("=help") or failure == "help" for failure in args.fail)
    if asks_for_kinds or "help" in args.list:
        output.pairs(simulator.KINDS if asks_for_kinds else simulator.LIST_KINDS)
        return exits.OK
    try:
        asyncio.run(_serve(ordered(args), args.port))
    except ValueError as error:
        return exits.complain([str(error)], exits.USAGE)
    except OSError as error:
        where = error.filename or f"port {args.port}"
        return exits.complain([f"{where}: {error.strerror or error}"], exits.CONFIG)
    return exits.OK


def ordered(args: argparse.Namespace) -> simulator.Options:
    """Return the options that the flags ask for. Raises ValueError with the remedy."""
    return simulator.Options(
        keys=frozenset(args.key or ["demo-key"]),
        latency_seconds=args.latency,
        failures=dict(map(simulator.parse_failure, args.fail)),
        limit=simulator.parse_limit(args.limit) if args.limit else None,
        limit_changes=tuple(map(simulator.parse_change, args.limit_change)),
        seed=args.seed,
        book=Path(args.book) if args.book else None,
        listing=args.list,
        list_delay_seconds=args.list_delay,
        finished_share=args.finish,
        finish_seconds=args.finish_after,
        uploads=simulator.Uploading(
            chunk_bytes=args.chunk_bytes,
            failures=simulator.parse_upload_failures(args.upload_fail),
            life_seconds=args.upload_life,
        ),
    )


async def _serve(options: simulator.Options, port: int) -> None:
    imitation = simulator.Simulator(options)
    url = await imitation.start(port=port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"imitating the API at {url}", flush=True)
    key = shlex.quote(min(options.keys))
    print(f"use it with: export WORKER_API_URL={url} VALOSSA_API_KEY={key}", flush=True)
    await stopped.wait()
    await imitation.stop()
    print(f"accepted {len(imitation.accepted)} jobs in {len(imitation.requests)} requests")
