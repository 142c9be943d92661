"""``health``: whether the daemon's loop still turns; needs no network port."""

import argparse
from collections.abc import Mapping

from worker import wiring
from worker.cli import exits
from worker.db import DatabaseProblem, path_of
from worker.settings import Loaded

STALE_SECONDS = 60.0


def health(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """0 if a daemon on this database has turned within the last minute, else 1."""
    try:
        path = wiring.heartbeat_of(path_of(loaded.settings.database_url))
        age = wiring.CLOCK.now().timestamp() - path.stat().st_mtime
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    except OSError:
        return exits.complain([f"no daemon has run here: {path} is missing"], exits.PROBLEMS)
    if age > STALE_SECONDS:
        return exits.complain([f"the daemon has made no turn for {age:.0f} s"], exits.PROBLEMS)
    print(f"alive, {max(age, 0):.0f} s ago")
    return exits.OK
