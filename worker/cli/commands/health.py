"""``health``: the age of the daemon's last heartbeat; needs no network port."""

from worker import wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import open_to_look
from worker.db.address import File, address_of
from worker.store import workers

STALE_SECONDS = 60.0


def health(call: Invocation) -> int:
    """Return 0 if a daemon has turned within the last minute, 1 if not, 78 without a database.
    SQLite's file is not opened: a lock on it must not look like a dead daemon. On PostgreSQL only a
    daemon of this machine counts.
    """
    address = address_of(call.settings.database_url)
    if isinstance(address, File):
        return _by_file(address, call.loaded.sources["database_url"])
    with open_to_look(call.settings) as session:
        seen_at, now = session.read(lambda c, now: (workers.last_seen(c, wiring.host()), now))
    if seen_at is None:
        problem = f"no daemon has run on {wiring.host()}: start valossa-ingest run"
        return exits.complain([problem], exits.PROBLEMS)
    return _judge((now - seen_at).total_seconds())


def _by_file(database: File, source: str) -> int:
    heartbeat = wiring.heartbeat_of(database.path)
    try:
        touched_at = heartbeat.stat().st_mtime
    except FileNotFoundError:
        if database.path.exists():
            problem = f"no daemon has run here: {heartbeat} is missing: start valossa-ingest run"
            return exits.complain([problem], exits.PROBLEMS)
        problem = f"no database at {database} (database_url: {source})"
        name = "name the daemon's with --database or WORKER_DATABASE_URL"
        return exits.complain([f"{problem}: {name}"])
    except OSError as error:
        problem = f"{heartbeat} cannot be looked at: {error.strerror}: ask as the daemon's user"
        return exits.complain([problem])
    return _judge(wiring.CLOCK.now().timestamp() - touched_at)


def _judge(age: float) -> int:
    if abs(age) > STALE_SECONDS:  # a heartbeat in the future is from before the clock was set back
        turn = f"the daemon has made no turn for {abs(age):.0f} s"
        return exits.complain([f"{turn}: see its log, then start it anew"], exits.PROBLEMS)
    output.line(f"alive, {max(age, 0):.0f} s ago")
    return exits.OK
