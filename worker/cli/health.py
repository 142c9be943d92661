"""``health``: whether the daemon's loop still turns; needs no network port."""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime

from worker import wiring
from worker.cli import exits
from worker.db import DatabaseProblem, path_of
from worker.settings import Loaded

STALE_SECONDS = 60.0


class _UnseenError(Exception):
    """There is no sign of life, for the reason that it tells; ``code`` is what to exit with."""

    def __init__(self, told: str, code: int = exits.CONFIG) -> None:
        super().__init__(told)
        self.code = code


def health(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """0 if a daemon on this database has turned within the last minute, 1 if not, 78 if there is
    no such database. Opens no file of SQLite's: a lock that somebody holds must not look like a
    dead daemon.
    """
    try:
        seen_at = _seen_by_file(loaded)
    except (DatabaseProblem, _UnseenError) as unseen:
        code = unseen.code if isinstance(unseen, _UnseenError) else exits.CONFIG
        return exits.complain([str(unseen)], code)
    age = (wiring.CLOCK.now() - seen_at).total_seconds()
    if abs(age) > STALE_SECONDS:  # a sign in the future is from before the clock was set back
        told = f"the daemon has made no turn for {abs(age):.0f} s: see its log, then start it anew"
        return exits.complain([told], exits.PROBLEMS)
    print(f"alive, {max(age, 0):.0f} s ago")
    return exits.OK


def _seen_by_file(loaded: Loaded) -> datetime:
    """When a daemon has touched the file beside the database last (UTC). Raises DatabaseProblem,
    _UnseenError.
    """
    database = path_of(loaded.settings.database_url)
    sign = wiring.heartbeat_of(database)
    try:
        return datetime.fromtimestamp(sign.stat().st_mtime, UTC)
    except FileNotFoundError:
        if database.exists():
            told = f"no daemon has run here: {sign} is missing: start valossa-ingest run"
            raise _UnseenError(told, exits.PROBLEMS) from None
        told = f"no database at {database} (database_url: {loaded.sources['database_url']})"
        name = "name the daemon's with --database or WORKER_DATABASE_URL"
        raise _UnseenError(f"{told}: {name}") from None
    except OSError as error:
        told = f"{sign} cannot be looked at: {error.strerror}: ask as the daemon's user"
        raise _UnseenError(told) from error
