"""Parse the address of a database into a value whose texts show no password."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_PORTS = 65_536
REMEDY = "write sqlite:///videos.db or a path, or postgresql://user@host/database"
_SHOWN_OF_QUERY = {"host", "port"}
_HARMLESS = {*_SHOWN_OF_QUERY, "application_name", "sslmode", "user"}
"""Fields of a query whose values may be shown; those of all others may be a password."""

_FILE = re.compile(
    r"(?!postgres\w*:)(?![^/]*password=)(?!.*://)|sqlite(\+aiosqlite)?:", re.IGNORECASE
)
"""The beginning of an address that can only mean a file, never a mistyped server."""


class DatabaseProblem(Exception):  # noqa: N818 - a user's problem, in a sentence
    """The database cannot be used; the message names it and the way out."""


class Unreachable(DatabaseProblem):
    """The database may come back by itself."""


@dataclass(frozen=True, slots=True)
class File:
    """An SQLite file, by its absolute path."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Server:
    """A database of a PostgreSQL server. ``dsn`` may hold a password; as text it shows none."""

    dsn: str = field(repr=False)

    def __str__(self) -> str:
        url = make_url(self.dsn)
        query = {name: value for name, value in url.query.items() if name in _SHOWN_OF_QUERY}
        return URL.create(
            "postgresql", url.username, None, url.host, url.port, url.database, query
        ).render_as_string()


def address_of(url: str) -> File | Server:
    """Return the address that a ``database_url`` means. Raises DatabaseProblem."""
    # 1. A path. 2. An unreadable URL. 3. A server. 4. Another database. 5. A URL of a file.
    if "://" not in url and _FILE.match(url):
        return File(Path(url).expanduser().absolute())
    shown = shown_url(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose texts may quote a password
        raise DatabaseProblem(f"database_url {shown!r} cannot be read: {REMEDY}") from None
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        return _server(parsed, shown)
    strange = parsed.host or parsed.password or parsed.query
    if parsed.get_backend_name() != "sqlite" or strange or not parsed.database:
        raise DatabaseProblem(f"database_url {shown!r} is no database of this program: {REMEDY}")
    return File(Path(parsed.database).expanduser().absolute())


def _server(parsed: URL, shown: str) -> Server:
    """Return the server, in an address that the driver reads as we do. Raises DatabaseProblem."""
    if "@" in (parsed.host or ""):
        raise DatabaseProblem(f"database_url {shown!r}: an @ in a password is written %40")
    ports = [*parsed.normalized_query.get("port", ())]
    ports += [] if parsed.port is None else [str(parsed.port)]
    if not all(port.isdecimal() and 0 < int(port) < _PORTS for port in ports):
        raise DatabaseProblem(f"database_url {shown!r} cannot be read: {REMEDY}")
    return Server(parsed.set(drivername="postgresql").render_as_string(hide_password=False))


def shown_url(url: str) -> str:
    """Return a ``database_url``, readable or not, without its secrets."""
    if _FILE.match(url):
        return url
    without_user = re.sub(r"(:/*).*@", r"\1…@", url)
    return re.sub(
        r"(\w+)=([^&\s]*)", lambda f: f[0] if f[1] in _HARMLESS else f"{f[1]}=…", without_user
    )
