import asyncpg
import pytest

from worker.db.address import DatabaseProblem, Server, Unreachable
from worker.db.postgres_errors import explained


@pytest.mark.parametrize(
    ("error", "kind", "remedy"),
    [
        (asyncpg.InvalidPasswordError("no"), DatabaseProblem, "correct database_url, or PGPASS"),
        (asyncpg.InvalidCatalogNameError("no"), DatabaseProblem, "make it with CREATE DATABASE"),
        (asyncpg.InsufficientPrivilegeError("no"), DatabaseProblem, "grant it what it needs"),
        (asyncpg.DiskFullError("no"), DatabaseProblem, "the disk is full: make room"),
        (asyncpg.ReadOnlySQLTransactionError("no"), DatabaseProblem, "name the primary server"),
        (asyncpg.UndefinedTableError("no"), DatabaseProblem, "cannot be used: no"),
        (asyncpg.TooManyConnectionsError("no"), Unreachable, "run fewer workers"),
        (asyncpg.CannotConnectNowError("no"), Unreachable, "stopping or starting"),
        (asyncpg.QueryCanceledError("no"), Unreachable, "somebody has cancelled the statement"),
        (asyncpg.IdleInTransactionSessionTimeoutError("no"), Unreachable, "stood still"),
        (asyncpg.exceptions.ClientConfigurationError("no"), DatabaseProblem, "cannot be used: no"),
        (ConnectionRefusedError("no"), Unreachable, "start it, or correct database_url"),
    ],
)
def test_a_problem_is_a_sentence_with_the_way_out(
    error: Exception, kind: type[DatabaseProblem], remedy: str
) -> None:
    """Each error is a sentence with the way out, and only a passing one is Unreachable."""
    told = explained(error, Server("postgresql://ann:secret@host/videos"))
    assert kind is type(told)
    assert remedy in str(told)
    assert str(told).startswith("database postgresql://ann@host/videos")
    assert "secret" not in str(told)
