"""``migrate`` and ``check``."""

import argparse
import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from worker import log, opening, wiring
from worker.cli import exits, output
from worker.core.job_list import Listing, Unlisted
from worker.core.redact import without_query
from worker.db.address import address_of as database_of
from worker.db.address import shown_url
from worker.db.database import DatabaseProblem, rewrite
from worker.db.schema import SCHEMA
from worker.settings import NAMES, Key
from worker.settings_sources import Loaded, SettingsError, read_key


def migrate(_: argparse.Namespace, loaded: Loaded, __: Mapping[str, str]) -> int:
    """Make the database, or bring it to head."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    try:
        asyncio.run(opening.migrate(loaded.settings))
        print(f"{database_of(loaded.settings.database_url)} is at schema {SCHEMA}")
    except DatabaseProblem as problem:
        return exits.no_database(problem, loaded)
    return exits.OK


def check(args: argparse.Namespace, loaded: Loaded, environment: Mapping[str, str]) -> int:
    """Everything that a run needs, and every problem at once."""
    log.configure(loaded.settings.log_level, loaded.settings.log_format)
    found: dict[str, str] = {}
    problems = asyncio.run(_look(loaded, environment, found, online=args.online))
    known = {
        name: None if name in loaded.faulty else getattr(loaded.settings, name) for name in NAMES
    }
    known["grace_seconds"] = loaded.settings.grace
    known["database_url"] = shown_url(loaded.settings.database_url)
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
    problems = [*loaded.problems, *await _look_at_database(loaded, found)]
    if "api_url" not in loaded.faulty:
        problems += await _look_up(loaded, found)
    key, missing = _look_for_key(environment, found)
    problems += missing
    if online and key and "address" in found:
        problems += await _ask(loaded, key, found)
    return problems


async def unready(loaded: Loaded, environment: Mapping[str, str]) -> list[str]:
    """What keeps a run from beginning, as far as this machine can tell: all of it."""
    found: dict[str, str] = {}
    problems = [*loaded.problems, *await _look_at_database(loaded, found)]
    return problems + _look_for_key(environment, found)[1]


async def _look_at_database(loaded: Loaded, found: dict[str, str]) -> list[str]:
    """Whether it is there, of this schema, and can be written."""
    if "database_url" in loaded.faulty:
        return []
    try:
        async with opening.existing_database(loaded.settings) as database:
            await database.write(rewrite, "to check")
            found["database"] = f"{database.address}, schema {SCHEMA}"
    except DatabaseProblem as problem:
        return [exits.sourced(problem, loaded)]
    return []


def _look_for_key(
    environment: Mapping[str, str], found: dict[str, str]
) -> tuple[Key | None, list[str]]:
    """The key, or what is wrong with it."""
    try:
        key = read_key(environment)
    except SettingsError as error:
        return None, error.problems
    found["key"] = f"from {key.source}"
    return key, []


async def _ask(loaded: Loaded, key: Key, found: dict[str, str]) -> list[str]:
    """Whether the API lists this key's jobs."""
    async with wiring.api(loaded.settings, key) as api:
        listing = await api.list_jobs()
    if not isinstance(listing, Unlisted):
        found["online"] = f"the key works; {_evidence(listing)}"
        return []
    told = f"{address_of(loaded)} does not list the jobs of the key from {key.source}"
    return [f"{told}: {listing.reason}: correct the address, or put the right key there"]


async def _look_up(loaded: Loaded, found: dict[str, str]) -> list[str]:
    """Whether the API's host has an address."""
    url = urlsplit(loaded.settings.api_url)
    try:
        await asyncio.get_running_loop().getaddrinfo(url.hostname, url.port or 443)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        remedy = "check the name and the network"
        return [f"{address_of(loaded)}: the host does not resolve ({reason}): {remedy}"]
    found["address"] = f"{without_query(loaded.settings.api_url)} resolves"
    return []


def address_of(loaded: Loaded) -> str:
    """The API's address as people are told of it: the setting, its value, where it came from."""
    return f"api_url {without_query(loaded.settings.api_url)} ({loaded.sources['api_url']})"


def _evidence(listing: Listing) -> str:
    """Whether doubts could be settled by what the API shows."""
    if not listing.entries:
        return "no jobs yet, so nothing shows whether it lists our identifiers"
    part = f"; it may be a part only: {listing.paged}" if listing.paged else ""
    return f"it lists {len(listing.entries)} jobs, {listing.identified} with an identifier{part}"
