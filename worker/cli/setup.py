"""``migrate`` and ``check``."""

import argparse
import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker import log, wiring
from worker.cli import exits, output
from worker.core.listing import Listing
from worker.core.redact import without_query
from worker.db import DatabaseProblem, path_of
from worker.settings import NAMES, Loaded, SettingsError, read_key
from worker.tables import SCHEMA


def migrate(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """Make the database, or bring it to head."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    try:
        asyncio.run(wiring.migrate(loaded.settings))
        print(f"{path_of(loaded.settings.database_url)} is at schema {SCHEMA}")
    except DatabaseProblem as problem:
        return exits.complain([str(problem)])
    return exits.OK


def check(args: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Everything that a run needs, and every problem at once."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    found: dict[str, str] = {}
    problems = asyncio.run(_look(loaded, environment, found, online=args.online))
    known = {
        name: None if name in loaded.faulty else getattr(loaded.settings, name) for name in NAMES
    }
    if args.json:
        output.document(
            {
                "settings": known,
                "sources": dict(loaded.sources),
                "found": found,
                "problems": problems,
            }
        )
        return exits.CONFIG if problems else exits.OK
    rows = [(name, value, loaded.sources[name]) for name, value in known.items()]
    output.table(("setting", "value", "source"), rows)
    print()
    output.pairs(found)
    return exits.complain(problems) if problems else exits.OK


async def _look(
    loaded: Loaded, environment: Mapping[str, str], found: dict[str, str], *, online: bool
) -> list[str]:
    """What is wrong, setting by setting; what is well goes to ``found``."""
    problems = list(loaded.problems)
    if "database_url" not in loaded.faulty:
        try:
            async with wiring.existing_database(loaded.settings) as database:
                found["database"] = f"{database.path}, schema {SCHEMA}"
        except DatabaseProblem as problem:
            problems.append(str(problem))
    if "api_url" not in loaded.faulty:
        problems += await _look_up(loaded, found)
    try:
        key = read_key(environment)
        found["key"] = f"from {key.source}"
    except SettingsError as error:
        return problems + error.problems
    if online and "address" in found:
        async with wiring.api(loaded.settings, key) as api:
            listing = await api.list_jobs()
        if isinstance(listing, str):
            problems.append(f"the API does not list this key's jobs: {listing}")
        else:
            found["online"] = f"the key works; {_evidence(listing)}"
    return problems


async def _look_up(loaded: Loaded, found: dict[str, str]) -> list[str]:
    """Whether the API's host has an address."""
    url = urlsplit(loaded.settings.api_url)
    shown = without_query(loaded.settings.api_url)
    try:
        await asyncio.get_running_loop().getaddrinfo(url.hostname, url.port or 443)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        source = loaded.sources["api_url"]
        remedy = "check the name and the network"
        return [f"api_url {shown} ({source}): the host does not resolve ({reason}): {remedy}"]
    found["address"] = f"{shown} resolves"
    return []


def _evidence(listing: Listing) -> str:
    """Whether doubts could be settled by what the API shows."""
    if not listing.jobs:
        return "no jobs yet, so nothing shows whether it lists our identifiers"
    return f"it lists {listing.jobs} jobs, {listing.identified} of them with our identifiers"
