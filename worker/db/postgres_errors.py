"""Explain the errors of PostgreSQL and of its network to a person. Opens no connection."""

import asyncpg
from sqlalchemy.exc import DBAPIError

from worker.db.address import DatabaseProblem, Server, Unreachable

_BAD_VALUE = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # too long for an index
    asyncpg.RaiseError,  # of a trigger of another program
)

_PASSING = {
    "08": "the connection is lost",
    "40": "it made way for another transaction",
    "53": "it is out of room, memory or connections: give it more, or run fewer workers",
    "55": "a row or table is held by another session: end that session's transaction",
    "57": "it is stopping or starting, or somebody has ended this session",
    "57014": "somebody has cancelled the statement, or a time limit of the server has",
    "25P03": "this worker stood still for too long in a transaction",
}
_LASTING = {
    "08P01": "a pooler refuses a setting of the session: name the server itself",
    "25006": "it is read-only: name the primary server",
    "28": "it refuses the user or the password: correct database_url, or PGPASSWORD",
    "3D": "there is no such database: make it with CREATE DATABASE, or name another",
    "42501": "the user may not do this: grant it what it needs, or make it the tables' owner",
    "53100": "the disk is full: make room",
}
"""By the beginning of SQLSTATE; the longest match counts."""


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE, "" if the error is not the server's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(found := getattr(cause, "sqlstate", None), str):
            return found
        cause = getattr(cause, "orig", None) or cause.__cause__
    return ""


def explained(error: Exception, server: Server) -> Exception:
    """Return a sentence for a database that cannot be used; return the error of a bad value."""
    # 1. A bad value. 2. Trouble that lasts. 3. Trouble that passes. 4. Any other error of the
    # server. 5. No answer of a server.
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig else error
    if isinstance(cause, _BAD_VALUE):
        return error
    state, told = state_of(error), str(cause or error)
    if server.lone_user:
        told = told.replace(f'"{server.lone_user}"', '"…"')
    for remedies, kind in ((_LASTING, DatabaseProblem), (_PASSING, Unreachable)):
        for length in (5, 2):
            if remedy := remedies.get(state[:length]):
                return kind(f"database {server}: {remedy} ({told})")
    if state or isinstance(cause, asyncpg.exceptions.ClientConfigurationError):
        return DatabaseProblem(f"database {server} cannot be used: {told}")
    return Unreachable(
        f"database {server} cannot be reached: start it, or correct database_url ({told})"
    )
