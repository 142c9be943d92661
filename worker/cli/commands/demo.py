"""Run ``demo``: import and drain a sample list, and follow its jobs, against the imitation."""

import asyncio
import shlex
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from worker import log, opening, wiring
from worker.cli import exits, output
from worker.cli.commands import import_, run
from worker.cli.commands.interruptible import StoppedError, stoppable
from worker.cli.display import mode
from worker.cli.invocation import Invocation
from worker.cli.parser import parser
from worker.core.following import FollowedJob
from worker.core.model import State
from worker.core.stop_conditions import RunOptions
from worker.settings import Key, Settings
from worker.simulator import Options, Simulator, Span
from worker.store import jobs, search, statistics

SAMPLE = Path(__file__).parent / "sample.csv"

FAULTS = {5: "429", 11: "500", 17: "400", 23: "lost"}
"""Faults of the imitation: the number of a request, and the kind of fault."""

ENDS = {8: "transfer-error"}
"""The jobs that do not finish: the number of an accepted job, and the kind of its end."""

REMEDY = "name a new folder with --keep"

KEY, JOB_SECONDS, PRICE = "demo-key", 2.0, 2.5

IMITATION = Options(
    keys=frozenset({KEY}),
    latency_seconds=0.15,
    script=FAULTS,
    job_seconds=Span(JOB_SECONDS / 2, JOB_SECONDS),
    job_script=ENDS,
)


def demo(call: Invocation) -> int:
    """Import a sample list, drain it, and print the result."""
    try:
        database = _new_file(call.args.keep)
    except OSError as error:
        named = filter(None, (error.filename, error.strerror, REMEDY))
        return exits.complain([": ".join(map(str, named))])
    return asyncio.run(_demo(database, mode("auto", call.environment)))


def _new_file(keep: str | None) -> Path:
    """Make an empty file for the database: a queue that is there is not the demo's to send, nor
    another demo's. Raises OSError.
    """
    folder = Path(keep or tempfile.mkdtemp(prefix="valossa-ingest-demo-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "videos.db"
    database.touch(exist_ok=False)
    return database


async def _demo(database: Path, display: str) -> int:
    log.configure("error", "auto")
    async with Simulator(IMITATION) as simulator:
        settings = Settings(
            database_url=str(database),
            api_url=simulator.url,
            rate=20,
            concurrency=4,
            backoff_base_seconds=2,
            backoff_max_seconds=2,
            follow="off",  # not while it drains, since these jobs take no time
            price_per_video=PRICE,
        )
        output.line(
            f"An imitation of the API answers at {simulator.url}; its orders are to turn one\n"
            "request away for now (429), to fail at one (500), to refuse one (400), to lose one\n"
            f"answer, and to fail at the download of one video. The queue is {database}.\n"
        )
        imported = parser().parse_args(["import", str(SAMPLE), "--map", "media_id=id"])
        with stoppable() as stop, suppress(StoppedError, asyncio.CancelledError):
            await opening.migrate(settings)
            done = await import_.import_all(imported, settings, stop)
            import_.report(done, as_json=False)
            async with opening.existing_database(settings) as made:
                await made.write(lambda c: jobs.note(c, job_seconds=JOB_SECONDS), "to expect ends")
        if stop.signal:
            return 128 + stop.signal
        print()
        key, options = Key(KEY, "the demo"), RunOptions(drain=True, wait=True)
        performed = await run.perform(settings, key, options, display, None)
        if performed.signal is not None:
            return 128 + performed.signal
        ended = await _follow(settings, key, len(simulator.accepted))
    await _print_result(settings, len(simulator.accepted), ended)
    return exits.OK


async def _follow(settings: Settings, key: Key, accepted: int) -> list[FollowedJob]:
    """Ask about the jobs until so many have ended. Return those that have."""
    ended: list[FollowedJob] = []
    await asyncio.sleep(JOB_SECONDS)
    async with (
        opening.existing_database(settings) as database,
        wiring.follower(settings, key, database, "demo", lambda job: ended.append(job[0])) as asks,
    ):
        clock, limiter = asks.reconciler.transaction.clock, asks.reconciler.limiter
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(ended) < accepted:
                    _, again_at = await asks.ask()
                    await limiter.wait_until(clock.until(again_at))
    return ended


async def _print_result(settings: Settings, accepted: int, ended: list[FollowedJob]) -> None:
    async with opening.existing_database(settings) as database:
        states = await database.read(statistics.by_state)
        wanting = search.Filter(states=(State.FAILED, State.IN_DOUBT))
        rows = await database.read(lambda c: search.matching(c, wanting, 0, 10))
    there = sorted((state, number) for state, number in states.items() if number)
    output.table(("state", "videos"), there, title="What became of them")
    output.line(
        f"\nThe imitation accepted {accepted} jobs; the one whose answer was lost was found in its "
        "list.\n"
    )
    for job in ended:
        if job.ended_as == "error":
            output.line(
                f"Of these, {len(ended)} have ended. That of video {job.video_id} ended in error: "
                f"{job.details}.\nIt was accepted, so its {PRICE:.2f} {settings.currency} were "
                "spent for nothing; nothing is bought again by itself.\n"
            )
    cells = ([row[name] for name in ("id", "state", "title", "error")] for row in rows)
    output.table(("id", "state", "title", "why"), cells, title="The few that want a person")
    as_module = Path(sys.argv[0]).name == "__main__.py"
    program = "python -m worker" if as_module else shlex.quote(sys.argv[0])
    for row in rows:
        show = f"{program} show {row['id']} --database {shlex.quote(settings.database_url)}"
        output.line(f"More about {row['id']}:  {show}")
    output.line(f"Next, try:  {program} import YOUR-LIST.csv")
