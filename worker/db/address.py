"""Parse the address of a database into a value whose texts show no password.

Names a queue among the schemas of a server, and its lock, in the server's SQL.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_PORTS = 65_536
REMEDY = (
    "write sqlite:///videos.db or a path, or postgresql://user@host/database (a path that holds @: "
    "sqlite:////its/whole/path)"
)
_SHOWN_OF_QUERY = {"host", "port", "search_path"}
_HARMLESS = re.compile(r"(application_name|host|mode|port|search_path|sslmode|user)=[\w%./,-]*|")
"""A field of a query that is shown; the value of any other may be a password."""

_URL_OF_FILE = re.compile(r"sqlite(?:\+\w+)?:///([^?]+)", re.IGNORECASE)
_NO_FILE = re.compile(
    r"(?is).*://|postgres\w*:|//.*@|.*:.*@|[^/]*@[^/]*/|(host|user|dbname)\s*=|.*\bpass\w*\s*=|.*\?.*="
)
"""The beginning of a path that may be a mistyped server, but where it is a whole one in a URL."""

_USER = re.compile(r"(?is)^([\w+.-]+://|postgres\w*:/*|sqlite[\w+]*:/*)?.*@")
_NO_PORT = re.compile(r"^(?!sqlite)([\w+.-]+://[^][/@:]*:)(?!\d*(?:/|$))[^/]*")
"""A URL with a password in the place of the port, since its ``@`` is missing."""

QUEUE_SCHEMA = (
    "coalesce((SELECT nspname FROM pg_namespace WHERE oid = (SELECT relnamespace FROM pg_class "
    "WHERE oid = to_regclass('videos'))), current_schema(), '')"
)
"""The schema of the tables that a session uses, which need not be the first of its search path.
While there are none, the one in which they would be made.
"""

LOCK_KEY = f"hashtext('valossa-ingest'), hashtext({QUEUE_SCHEMA})"
"""The two numbers of the advisory lock of a queue, the same for all sessions on its tables."""


class DatabaseProblem(Exception):  # noqa: N818 - a user's problem, in a sentence
    """The database cannot be used; the message names it and the way out."""


class Unreachable(DatabaseProblem):
    """The database may come back by itself."""


class LogLostError(DatabaseProblem):
    """The log of a file was deleted: what is claimed on what is left may be bought already."""


@dataclass(frozen=True, slots=True)
class File:
    """An SQLite file, by its absolute path."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Server:
    """A database of a PostgreSQL server. ``dsn`` may hold a password; as text it shows none, nor a
    user without one, which may be a password in the wrong place.
    """

    dsn: str = field(repr=False)

    def __str__(self) -> str:
        return _USER.sub(r"\1…@", self.name) if self.lone_user else self.name

    @property
    def name(self) -> str:
        """Return the same text for every way to write the address, with its user."""
        url = make_url(self.dsn)
        query = {name: value for name, value in url.query.items() if name in _SHOWN_OF_QUERY}
        return URL.create(
            "postgresql", url.username, None, url.host, url.port, url.database, query
        ).render_as_string()

    @property
    def lone_user(self) -> str | None:
        """Return the user of an address without a password; None if it has one, or no user."""
        url = make_url(self.dsn)
        return None if url.password or "password" in url.query else url.username or None


def address_of(url: str) -> File | Server:
    """Return the address that a ``database_url`` means. Raises DatabaseProblem."""
    # 1. A file. 2. An unreadable URL. 3. A server. 4. Another database.
    if path := _path_in(url):
        return _file(path)
    shown = shown_url(url)
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() in {"postgresql", "postgres"}:
            return _server(parsed, shown)
    except (ArgumentError, ValueError):  # whose texts may quote a password
        raise DatabaseProblem(f"database_url {shown!r} cannot be read: {REMEDY}") from None
    raise DatabaseProblem(f"database_url {shown!r} is no database of this program: {REMEDY}")


def _path_in(url: str) -> str | None:
    """Return the path in an address that can only mean a file, None if it may be a server."""
    found = _URL_OF_FILE.fullmatch(url)
    path = found[1] if found else url
    return path if (found and path.startswith("/")) or not _NO_FILE.match(path) else None


def _file(path: str) -> File:
    reason = "it holds U+0000"
    try:
        if "\0" not in path:
            return File(Path(path).expanduser().absolute())
    except (RuntimeError, OSError) as error:  # no such user; no working folder
        reason = getattr(error, "strerror", None) or "no such user, or no home folder"
    raise DatabaseProblem(f"database {path!r} is no path here ({reason}): write an absolute one")


def _server(parsed: URL, shown: str) -> Server:
    """Return the server, in an address that the driver reads as we do. Raises DatabaseProblem."""
    if "@" in (parsed.host or ""):
        raise DatabaseProblem(f"database_url {shown!r}: an @ in a password is written %40")
    ports = [*parsed.normalized_query.get("port", ())]
    ports += [] if parsed.port is None else [str(parsed.port)]
    readable = not re.search(r"[][#\s\0]", parsed.host or "")
    if not readable or not all(port.isdecimal() and 0 < int(port) < _PORTS for port in ports):
        raise DatabaseProblem(f"database_url {shown!r} cannot be read: {REMEDY}")
    return Server(parsed.set(drivername="postgresql").render_as_string(hide_password=False))


def shown_url(url: str) -> str:
    """Return a ``database_url``, readable or not, without its secrets."""
    if _path_in(url):
        return url
    head, mark, query = _USER.sub(r"\1…@", url).partition("?")
    head = _NO_PORT.sub(r"\1…", head) if "://" in head else head.partition("=")[0]
    return head + mark + "&".join(map(_field, query.split("&")))


def _field(text: str) -> str:
    name, equals, _ = text.partition("=")
    return text if _HARMLESS.fullmatch(text) else f"{name if equals else ''}{equals}…"
