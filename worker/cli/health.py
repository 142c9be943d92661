"""``health``: whether the daemon's loop still turns; needs no network port."""

import argparse
from collections.abc import Mapping

from worker import wiring
from worker.address import DatabaseProblem, Server, address_of
from worker.cli import exits
from worker.settings import Loaded

STALE_SECONDS = 60.0


def health(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """0 if a daemon on this database has turned within the last minute, 1 if not, 78 if there is
    no such database. Opens nothing: a lock that somebody holds must not look like a dead daemon.
    """
    try:
        address = address_of(loaded.settings.database_url)
        if isinstance(address, Server):
            return exits.complain([f"{address} keeps no sign of life: ask valossa-ingest workers"])
        database = address.path
        sign = wiring.heartbeat_of(database)
        age = wiring.CLOCK.now().timestamp() - sign.stat().st_mtime
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    except FileNotFoundError:
        if database.exists():
            told = f"no daemon has run here: {sign} is missing: start valossa-ingest run"
            return exits.complain([told], exits.PROBLEMS)
        told = f"no database at {database} (database_url: {loaded.sources['database_url']})"
        return exits.complain([f"{told}: name the daemon's with --database or WORKER_DATABASE_URL"])
    except OSError as error:
        told = f"{sign} cannot be looked at: {error.strerror}: ask as the daemon's user"
        return exits.complain([told])
    if abs(age) > STALE_SECONDS:  # a sign in the future is from before the clock was set back
        told = f"the daemon has made no turn for {abs(age):.0f} s: see its log, then start it anew"
        return exits.complain([told], exits.PROBLEMS)
    print(f"alive, {max(age, 0):.0f} s ago")
    return exits.OK
