"""``health``: the age of the daemon's last heartbeat; needs no network port."""

import asyncio
from contextlib import suppress

from sqlalchemy import RowMapping

from worker import opening, wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.db.address import DatabaseProblem, File, address_of
from worker.settings import Settings
from worker.store import shared_state, statistics, workers

LOCKED_SECONDS = 1.0
"""For a file that another program has locked: then nothing is said of a refusal or a cool-down."""


def health(call: Invocation) -> int:
    """Return 0 if a daemon has turned within the last minute, 1 if not or if the API refuses it, 78
    without a database. A lock on SQLite's file does not look like a dead daemon. On PostgreSQL only
    a daemon of this machine counts.
    """
    address = address_of(call.settings.database_url)
    if isinstance(address, File):
        return _by_file(call, address)
    with open_to_look(call.settings) as session:
        seen_at, now = session.read(lambda c, now: (workers.last_seen(c, wiring.host()), now))
    if seen_at is None:
        problem = f"no daemon has run on {wiring.host()}: start valossa-ingest run"
        return exits.complain([problem], exits.PROBLEMS)
    return _judge(call, (now - seen_at).total_seconds())


def _by_file(call: Invocation, database: File) -> int:
    heartbeat = wiring.heartbeat_of(database.path)
    try:
        touched_at = heartbeat.stat().st_mtime
    except FileNotFoundError:
        if database.path.exists():
            problem = f"no daemon has run here: {heartbeat} is missing: start valossa-ingest run"
            return exits.complain([problem], exits.PROBLEMS)
        problem = f"no database at {database} (database_url: {call.loaded.sources['database_url']})"
        name = "name the daemon's with --database or WORKER_DATABASE_URL"
        return exits.complain([f"{problem}: {name}"])
    except OSError as error:
        problem = f"{heartbeat} cannot be looked at: {error.strerror}: ask as the daemon's user"
        return exits.complain([problem])
    return _judge(call, wiring.CLOCK.now().timestamp() - touched_at)


def _judge(call: Invocation, age: float) -> int:
    if abs(age) > workers.ALIVE.total_seconds():
        turn = f"the daemon has made no turn for {abs(age):.0f} s"
        return exits.complain([f"{turn}: see its log, then start it anew"], exits.PROBLEMS)
    refused, cooling = asyncio.run(_held_by(call.settings))
    if refused is not None:
        turn = f"alive, but its requests are refused since {output.text(refused['at'])} UTC"
        mend = f"({refused['message']}): valossa-ingest status says what to mend"
        return exits.complain([f"{turn} {mend}"], exits.PROBLEMS)
    output.line(f"alive, {max(age, 0):.0f} s ago" + (f"; {cooling} holds all" if cooling else ""))
    return exits.OK


async def _held_by(settings: Settings) -> tuple[RowMapping | None, str | None]:
    """Return the refusal and the cool-down that keep videos back; none of a locked database."""
    with suppress(DatabaseProblem, TimeoutError):
        async with asyncio.timeout(LOCKED_SECONDS), opening.readable_database(settings) as found:
            return await found.read(
                lambda c: (statistics.refusal(c), shared_state.read(c).cooling(found.now()))
            )
    return None, None
