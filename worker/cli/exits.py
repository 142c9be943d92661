"""Exit codes: what a run means to whoever started it (design.md, section 6)."""

import re
import sys
from collections.abc import Iterable

from worker.core.redact import clean
from worker.settings_sources import Loaded

OK = 0
PROBLEMS = 1
USAGE = 2
LATER = 75
KEY = 77
CONFIG = 78
INTERRUPTED = 130

FLAG = "--database"
"""What names a database for one command alone."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What would move a terminal's cursor or change its colours."""


def complain(problems: Iterable[str], code: int = CONFIG) -> int:
    """Say each problem on stderr in a line of its own; the code to exit with."""
    for problem in problems:
        print(f"valossa-ingest: {one_line(problem)}", file=sys.stderr)
    return code


def no_database(problem: Exception, loaded: Loaded) -> int:
    """Say that the database cannot be used, and what named it; the code to exit with."""
    return complain([sourced(problem, loaded)])


def sourced(problem: Exception, loaded: Loaded) -> str:
    """A problem with the database, and where its name came from."""
    source = loaded.sources["database_url"]
    if source == FLAG and "run valossa-ingest " in str(problem):
        source = f"{FLAG}, for that command too"
    return f"{problem} (database_url: {source})"


def one_line(text: str) -> str:
    """Text that adds no line to what is printed, and commands no terminal."""
    return _CONTROL.sub("\ufffd", " ".join(clean(text).split()))
