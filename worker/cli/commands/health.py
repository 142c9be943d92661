"""``health``: the age of the daemon's last heartbeat, and the verdict; needs no network port."""

import asyncio
from contextlib import suppress

from worker import opening, wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.core.verdict import Verdict
from worker.db.address import DatabaseProblem, File, address_of
from worker.settings import Settings
from worker.snapshot import take
from worker.store import workers

LOCKED_SECONDS = 2.0
"""For a file that another program has locked against readers: then there is no verdict."""


def health(call: Invocation) -> int:
    """Return 0, or 1 if a daemon has not turned within the last minute or a person is needed, 2 if
    the queue is stalled, 78 without a database. On PostgreSQL only a daemon of this machine counts.
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
    try:
        verdict = asyncio.run(_verdict(call.settings))
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    code = exits.OK if verdict is None else exits.of_verdict(verdict.state)
    told = [] if verdict is None else [verdict.sentence, *verdict.ways_out]
    if abs(age) > workers.ALIVE.total_seconds():
        turn = f"the daemon has made no turn for {abs(age):.0f} s: see its log, then start it anew"
        return exits.complain([turn, *told], code or exits.PROBLEMS)
    alive = "; ".join([f"alive, {max(age, 0):.0f} s ago", *told[:1]])
    if code:
        return exits.complain([alive, *told[1:]], code)
    output.line(alive)
    return exits.OK


async def _verdict(settings: Settings) -> Verdict | None:
    """Return the verdict; None where a lock keeps all from reading. Raises DatabaseProblem."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOCKED_SECONDS), opening.readable_database(settings) as found:
            return await found.read(lambda c: take(c, settings, found.now()).verdict)
    return None
