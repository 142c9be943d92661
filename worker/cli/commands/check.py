"""Run ``check``: list the settings, and everything that keeps a run from starting."""

import asyncio
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlsplit

from worker import opening, wiring
from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.core.job_list import Listing, Unlisted
from worker.core.model import Fact
from worker.core.redact import presentable, without_query
from worker.db.address import DatabaseProblem, shown_url
from worker.db.database import rewrite
from worker.db.schema import SCHEMA
from worker.files.roots import root_problem
from worker.runner.result_files import ROOM, free_bytes
from worker.settings import NAMES, SINKS, Key
from worker.settings_sources import Loaded, SettingsError, read_key, read_page_token, unused_proxy


def check(call: Invocation) -> int:
    """Print all settings and all problems at once."""
    loaded, settings = call.loaded, call.settings
    found: dict[str, str] = {}
    problems = asyncio.run(find_problems(call, found, network=True))
    known = {name: getattr(settings, name) for name in NAMES}
    known |= {"grace_seconds": settings.grace, "database_url": shown_url(settings.database_url)}
    known["proxy"] = settings.proxy and without_query(settings.proxy)
    called = settings.default_callback_url
    known["default_callback_url"] = called and presentable(called, "")
    known |= {name: known[name] and "set" for name in SINKS}
    known |= dict.fromkeys(loaded.faulty)
    if call.args.json:
        told = {"settings": known, "sources": dict(loaded.sources)}
        output.document({**told, "found": found, "problems": problems})
    else:
        rows = [(name, value, loaded.sources[name]) for name, value in known.items()]
        output.table(("setting", "value", "source"), rows)
        print()
        output.pairs(found)
        exits.complain(problems)
    return exits.CONFIG if problems else exits.OK


async def find_problems(call: Invocation, found: dict[str, str], *, network: bool) -> list[str]:
    """Return all that keeps a run from starting, or from a part of its work, one line each; add
    what is well to ``found``.
    """
    loaded = call.loaded
    problems = [*loaded.problems, *await _database_problems(loaded, found)]
    problems += local_problems(loaded, os.get_exec_path(call.environment))
    if note := unused_proxy(loaded.settings, call.environment):
        found["proxy"] = note
    if network and not {"api_url", "proxy"} & loaded.faulty:
        problems += await _host_problems(loaded, found)
    try:
        if "listen" not in loaded.faulty:
            read_page_token(call.environment, loaded.settings.listen)
    except SettingsError as error:
        problems += error.problems
    try:
        key = read_key(call.environment)
    except SettingsError as error:
        return problems + error.problems
    found["key"] = f"from {key.source}"
    if network and call.args.online and "address" in found:
        problems += await _key_problems(loaded, key, found)
    return problems


async def _database_problems(loaded: Loaded, found: dict[str, str]) -> list[str]:
    if "database_url" in loaded.faulty:
        return []
    try:
        async with opening.existing_database(loaded.settings) as database:
            await database.write(rewrite, "to check")
            found["database"] = f"{database.address}, schema {SCHEMA}"
    except DatabaseProblem as problem:
        return [exits.sourced(problem, loaded)]
    return []


def local_problems(
    loaded: Loaded, path: Sequence[str], free: Callable[[Path], int] = free_bytes
) -> Iterator[str]:
    """Yield what this machine lacks of results, files and notices. ``path``: that of a program;
    ``free``: returns the room on the disk of a folder.
    """
    settings, sources = loaded.settings, loaded.sources
    if settings.fetches:
        told = f"results_dir = {settings.results_dir} ({sources['results_dir']}): nothing can"
        try:
            with TemporaryFile(dir=settings.results_dir):
                pass
            if free(Path(settings.results_dir or "")) < ROOM:
                yield f"{told} be fetched: less than {ROOM >> 20} MiB are free: make room"
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", error)  # a ValueError: a name that no folder can have
            yield f"{told} be written there ({why}): make the folder for this user, or name another"
    for problem in filter(None, map(root_problem, settings.roots)):
        told = f"upload_roots = {settings.upload_roots} ({sources['upload_roots']})"
        yield f"{told}: {problem}: name folders that this user may read"
    program = shlex.split(settings.notify_command or "")[:1]
    if program and not shutil.which(program[0], path=os.pathsep.join(path)):
        told = f"notify_command ({sources['notify_command']}): its first word is no program that"
        yield f"{told} is found: write the whole path of one; no shell reads the line"


async def _host_problems(loaded: Loaded, found: dict[str, str]) -> list[str]:
    https = loaded.settings.api_url.startswith("https:")
    name = "proxy" if loaded.settings.proxy and https else "api_url"
    url = urlsplit(getattr(loaded.settings, name))
    try:
        await asyncio.get_running_loop().getaddrinfo(url.hostname, url.port or 443)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        remedy = "check the name and the network"
        return [f"{address_of(loaded, name)}: the host does not resolve ({reason}): {remedy}"]
    found["address"] = f"{without_query(url.geturl())} resolves"
    return []


async def _key_problems(loaded: Loaded, key: Key, found: dict[str, str]) -> list[str]:
    async with wiring.api(loaded.settings, key) as api:
        listing = await api.list_jobs()
    if not isinstance(listing, Unlisted):
        found["online"] = f"the key works; {_evidence(listing)}"
        return []
    problem = f"{address_of(loaded)} does not list the jobs of the key from {key.source}"
    return [f"{problem}: {listing.reason}: {_remedy(listing, key.source)}"]


def _remedy(listing: Unlisted, key: str) -> str:
    """Return what helps where there is no list; ``key``: where the key comes from."""
    if listing.fact is Fact.ACCOUNT_REFUSED:
        return f"put the right key in {key}, or settle it with Valossa"
    if listing.lasting:
        return "correct the address"
    return "ask again later" if listing.fact else "check the network, api_url and proxy"


def address_of(loaded: Loaded, name: str = "api_url") -> str:
    """Return an address for messages: the setting, its value without secrets and its source."""
    return f"{name} {without_query(getattr(loaded.settings, name))} ({loaded.sources[name]})"


def _evidence(listing: Listing) -> str:
    """Return a phrase on how far this listing could settle doubts."""
    if not listing.entries:
        return "no jobs yet, so nothing shows whether it lists our identifiers"
    part = f"; it may be a part only: {listing.paged}" if listing.paged else ""
    identified = sum(1 for entry in listing.entries if entry.identifiers)
    return f"it lists {len(listing.entries)} jobs, {identified} with an identifier{part}"
