"""Name the exit codes and print problems on stderr (README.md, Exit codes)."""

import sys
from collections.abc import Iterable

from worker.cli import output
from worker.core.plain_text import one_line
from worker.settings_sources import Loaded

OK = 0
PROBLEMS = 1
USAGE = 2
STALLED = 2
LATER = 75
KEY = 77
CONFIG = 78
INTERRUPTED = 130

FLAG = "--database"
"""The source of a database that is named for one command alone."""


def complain(problems: Iterable[str], code: int = CONFIG) -> int:
    """Print each problem on stderr as a paragraph of its own. Return the code to exit with."""
    for problem in problems:
        output.paragraph(f"valossa-ingest: {one_line(problem)}", file=sys.stderr)
    return code


def of_verdict(state: str) -> int:
    """Return the exit code of ``health`` and ``status --check`` for a state of the queue."""
    return {"stalled": STALLED, "needs a person": PROBLEMS, "not running": PROBLEMS}.get(state, OK)


def sourced(problem: Exception, loaded: Loaded) -> str:
    """Return a problem with the database together with the source of its URL."""
    source = loaded.sources["database_url"]
    if source == FLAG and "run valossa-ingest " in str(problem):
        source = f"{FLAG}, for that command too"
    return f"{problem} (database_url: {source})"


def no_list(reason: str) -> int:
    """Print why the API's job list cannot be read. Return the code to exit with."""
    where = "valossa-ingest check --online says whether key and address are right"
    return complain([f"the API does not list this key's jobs: {reason}", where], PROBLEMS)
