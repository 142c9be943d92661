"""Run ``simulate``: the imitation of the API as a process of its own."""

import argparse
import asyncio
import shlex
import signal
from collections import Counter
from pathlib import Path

from worker import simulator
from worker.cli import exits, output
from worker.cli.invocation import Invocation


def simulate(call: Invocation) -> int:
    """Serve until a signal."""
    args = call.args
    for kinds, typed in (
        (simulator.KINDS, args.fail),
        (simulator.LIST_KINDS, args.list),
        (simulator.JOB_KINDS, args.job),
        (simulator.STATUS_KINDS, args.status),
        (simulator.RESULT_KINDS, args.results),
        (simulator.UPLOAD_KINDS, args.upload_fail),
    ):
        if any(each == "help" or each.endswith("=help") for each in typed):
            output.pairs(kinds)
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
        job_seconds=simulator.parse_span(args.job_seconds) if args.job_seconds else None,
        dead_hosts=frozenset(args.dead_host),
        job_failures=dict(map(simulator.parse_job_failure, args.job)),
        poll_seconds=args.poll_again,
        status_failures=dict(map(simulator.parse_status_failure, args.status)),
        result_failures=dict(map(simulator.parse_result_failure, args.results)),
        results_delay_seconds=args.results_delay,
        result_bytes=args.result_bytes,
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
    ends = Counter(end.ended_as for end in imitation.ends.values())
    asked = Counter(question.call for question in imitation.questions)
    for what, counts in (("ended", ends), ("was asked", asked)):
        if counts:
            told = ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))
            print(f"{what}: {told}")
