"""``health``: the age of the daemon's last heartbeat; needs no network port."""

import asyncio
from contextlib import suppress

from sqlalchemy import RowMapping

from worker import opening, wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.db.address import File, address_of
from worker.db.database import DatabaseProblem
from worker.settings import Settings
from worker.store import statistics, workers

STALE_SECONDS = 60.0


def health(call: Invocation) -> int:
    """Return 0 if a daemon has turned within the last minute, 1 if not or if the API refuses it, 78
    without a database. A lock on SQLite's file does not look like a dead daemon. On PostgreSQL only
    a daemon of this machine counts.
    """
    address = address_of(call.settings.database_url)
    if isinstance(address, File):
        return _by_file(address, call)
    with open_to_look(call.settings) as session:
        seen_at, now = session.read(lambda c, now: (workers.last_seen(c, wiring.host()), now))
    if seen_at is None:
        problem = f"no daemon has run on {wiring.host()}: start valossa-ingest run"
        return exits.complain([problem], exits.PROBLEMS)
    return _judge((now - seen_at).total_seconds(), call.settings)


def _by_file(database: File, call: Invocation) -> int:
    heartbeat = wiring.heartbeat_of(database.path)
    try:
        touched_at = heartbeat.stat().st_mtime
    except FileNotFoundError:
        if database.path.exists():
            problem = f"no daemon has run here: {heartbeat} is missing: start valossa-ingest run"
            return exits.complain([problem], exits.PROBLEMS)
        source = call.loaded.sources["database_url"]
        problem = f"no database at {database} (database_url: {source})"
        name = "name the daemon's with --database or WORKER_DATABASE_URL"
        return exits.complain([f"{problem}: {name}"])
    except OSError as error:
        problem = f"{heartbeat} cannot be looked at: {error.strerror}: ask as the daemon's user"
        return exits.complain([problem])
    return _judge(wiring.CLOCK.now().timestamp() - touched_at, call.settings)


def _judge(age: float, settings: Settings) -> int:
    if abs(age) > STALE_SECONDS:  # a heartbeat in the future is from before the clock was set back
        turn = f"the daemon has made no turn for {abs(age):.0f} s"
        return exits.complain([f"{turn}: see its log, then start it anew"], exits.PROBLEMS)
    if refused := asyncio.run(_refusal(settings)):
        turn = f"alive, but its requests are refused since {output.text(refused['at'])} UTC"
        mend = f"({refused['message']}): valossa-ingest status says what to mend"
        return exits.complain([f"{turn} {mend}"], exits.PROBLEMS)
    print(f"alive, {max(age, 0):.0f} s ago")
    return exits.OK


async def _refusal(settings: Settings) -> RowMapping | None:
    """Return the refusal that keeps videos back; None also if the database does not answer now."""
    with suppress(DatabaseProblem, TimeoutError):
        async with asyncio.timeout(2.0), opening.readable_database(settings) as opened:
            return await opened.read(statistics.refusal)
    return None
