"""``health``: whether the daemon's loop still turns; needs no network port."""

import argparse
import asyncio
from collections.abc import Mapping

from worker import opening, wiring
from worker.cli import exits
from worker.db.address import DatabaseProblem, File, address_of
from worker.settings_sources import Loaded
from worker.store import workers

STALE_SECONDS = 60.0


class _UnseenError(Exception):
    """There is no sign of life, for the reason that it tells; ``code`` is what to exit with."""

    def __init__(self, told: str, code: int = exits.CONFIG) -> None:
        super().__init__(told)
        self.code = code


def health(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """0 if a daemon on this database has turned within the last minute, 1 if not, 78 if there is
    no such database. Opens no file of SQLite's: a lock that somebody holds must not look like a
    dead daemon. On PostgreSQL it asks for a daemon of this machine.
    """
    try:
        address = address_of(loaded.settings.database_url)
        if isinstance(address, File):
            age = _age_by_file(address, loaded)
        else:
            age = asyncio.run(_age_by_server(loaded))
    except (DatabaseProblem, _UnseenError) as unseen:
        code = unseen.code if isinstance(unseen, _UnseenError) else exits.CONFIG
        return exits.complain([str(unseen)], code)
    if abs(age) > STALE_SECONDS:  # a sign in the future is from before the clock was set back
        told = f"the daemon has made no turn for {abs(age):.0f} s: see its log, then start it anew"
        return exits.complain([told], exits.PROBLEMS)
    print(f"alive, {max(age, 0):.0f} s ago")
    return exits.OK


def _age_by_file(database: File, loaded: Loaded) -> float:
    """Seconds since a daemon has touched the file beside the database. Raises _UnseenError."""
    sign = wiring.heartbeat_of(database.path)
    try:
        return wiring.CLOCK.now().timestamp() - sign.stat().st_mtime
    except FileNotFoundError:
        if database.path.exists():
            told = f"no daemon has run here: {sign} is missing: start valossa-ingest run"
            raise _UnseenError(told, exits.PROBLEMS) from None
        told = f"no database at {database} (database_url: {loaded.sources['database_url']})"
        name = "name the daemon's with --database or WORKER_DATABASE_URL"
        raise _UnseenError(f"{told}: {name}") from None
    except OSError as error:
        told = f"{sign} cannot be looked at: {error.strerror}: ask as the daemon's user"
        raise _UnseenError(told) from error


async def _age_by_server(loaded: Loaded) -> float:
    """Seconds since a daemon of this machine has shown itself in the database. Raises
    DatabaseProblem, _UnseenError.
    """
    async with opening.readable_database(loaded.settings) as database:
        seen_at = await database.read(lambda c: workers.last_seen(c, wiring.host()))
        if seen_at is None:
            told = f"no daemon has run on {wiring.host()}: start valossa-ingest run"
            raise _UnseenError(told, exits.PROBLEMS)
        return (database.now() - seen_at).total_seconds()
