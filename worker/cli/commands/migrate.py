"""Run ``migrate``: make the database, or bring its schema to this version."""

import argparse
import asyncio
from collections.abc import Mapping

from worker import log, opening
from worker.cli import exits
from worker.db.address import address_of
from worker.db.schema import SCHEMA
from worker.settings_sources import Loaded


def migrate(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """Make the database, or bring it to the schema of this version."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    asyncio.run(opening.migrate(loaded.settings))
    print(f"{address_of(loaded.settings.database_url)} is at schema {SCHEMA}")
    return exits.OK
