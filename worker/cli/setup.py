"""``migrate`` and ``check``."""

import argparse
import asyncio
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker import wiring
from worker.cli import exits, output
from worker.core.listing import Listing
from worker.core.redact import without_query
from worker.db import DatabaseProblem, path_of
from worker.settings import NAMES, Loaded, SettingsError, read_key
from worker.tables import SCHEMA


def migrate(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """Make the database, or bring it to head."""
    try:
        asyncio.run(wiring.migrate(loaded.settings))
        print(f"{path_of(loaded.settings.database_url)} is at schema {SCHEMA}")
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    return exits.OK


def check(args: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Everything that a run needs, and every problem at once."""
    found: dict[str, str] = {}
    problems = asyncio.run(_look(loaded, environment, found, online=args.online))
    if args.json:
        settings = {name: getattr(loaded.settings, name) for name in NAMES}
        output.document(
            {
                "settings": settings,
                "sources": dict(loaded.sources),
                "found": found,
                "problems": problems,
            }
        )
        return exits.CONFIG if problems else exits.OK
    rows = [(name, getattr(loaded.settings, name), loaded.sources[name]) for name in NAMES]
    output.table(("setting", "value", "source"), rows)
    print()
    output.pairs(found)
    return exits.complain(problems) if problems else exits.OK


async def _look(
    loaded: Loaded, environment: Mapping[str, str], found: dict[str, str], *, online: bool
) -> list[str]:
    problems = []
    settings = loaded.settings
    try:
        async with wiring.existing_database(settings) as database:
            found["database"] = f"{database.path}, schema {SCHEMA}"
    except DatabaseProblem as problem:
        problems.append(str(problem))
    address = urlsplit(settings.api_url)
    try:
        await asyncio.get_running_loop().getaddrinfo(address.hostname, address.port or 443)
        found["address"] = f"{without_query(settings.api_url)} resolves"
    except socket.gaierror as error:
        problems.append(
            f"api_url {without_query(settings.api_url)} ({loaded.sources['api_url']}): "
            f"the host does not resolve ({error.strerror}): check the name and the network"
        )
    try:
        key = read_key(environment)
        found["key"] = f"from {key.source}"
    except SettingsError as error:
        return problems + error.problems
    if online and not problems:
        async with wiring.api(settings, key) as api:
            listing = await api.list_jobs()
        if isinstance(listing, str):
            problems.append(f"the API does not list this key's jobs: {listing}")
        else:
            found["online"] = f"the key works; {_evidence(listing)}"
    return problems


def _evidence(listing: Listing) -> str:
    """Whether doubts could be settled by what the API shows."""
    if not listing.jobs:
        return "no jobs yet, so nothing shows whether it lists our identifiers"
    return f"it lists {listing.jobs} jobs, {listing.identified} of them with our identifiers"
