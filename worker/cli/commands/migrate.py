"""Run ``migrate``: make the database, or bring its schema to this version."""

import asyncio

from worker import opening
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.db.address import address_of
from worker.db.schema import SCHEMA


def migrate(call: Invocation) -> int:
    """Make the database, or bring it to the schema of this version."""
    asyncio.run(opening.migrate(call.settings))
    output.line(f"{address_of(call.settings.database_url)} is at schema {SCHEMA}")
    return exits.OK
