"""Turn a verdict into an exit code and lines for people (README.md, Exit codes)."""

from worker.cli.exits import OK, PROBLEMS, STALLED
from worker.core.verdict import Verdict, VerdictState

_CODES = {
    VerdictState.STALLED: STALLED,
    VerdictState.NEEDS_PERSON: PROBLEMS,
    VerdictState.NOT_RUNNING: PROBLEMS,
}


def code_of(verdict: Verdict) -> int:
    """Return the exit code of ``health`` and ``status --check``."""
    return _CODES.get(verdict.state, OK)


def ways_out(verdict: Verdict) -> tuple[str, ...]:
    """Return what a person can do, a sentence each."""
    return verdict.needs or (() if verdict.remedy is None else (verdict.remedy,))
