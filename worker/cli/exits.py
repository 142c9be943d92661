"""Exit codes: what a run means to whoever started it (design.md, section 6)."""

import sys
from collections.abc import Iterable

OK = 0
PROBLEMS = 1
USAGE = 2
LATER = 75
KEY = 77
CONFIG = 78
INTERRUPTED = 130


def complain(problems: Iterable[str], code: int = CONFIG) -> int:
    """Say each problem on stderr in a line of its own; the code to exit with."""
    for problem in problems:
        print(f"valossa-ingest: {problem}", file=sys.stderr)
    return code
