"""Where a database is: what people write, read into a value whose texts show no password."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

REMEDY = "write sqlite:///videos.db or a path, or postgresql://user@host/database"
_SHOWN_OF_QUERY = {"host", "port"}


class DatabaseProblem(Exception):  # noqa: N818 - a user's problem, told in a sentence
    """The database cannot be used; the message names it and the way out."""


class Unreachable(DatabaseProblem):
    """The database may be there again in a moment, without anybody doing anything."""


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
    """The address that a ``database_url`` means. Raises DatabaseProblem."""
    if "://" not in url:
        return File(Path(url).expanduser().absolute())
    shown = shown_url(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose texts may quote a password
        raise DatabaseProblem(f"database_url {shown!r} cannot be read: {REMEDY}") from None
    if parsed.get_backend_name() in {"postgresql", "postgres"}:
        return Server("postgresql://" + url.split("://", 1)[1])
    if parsed.get_backend_name() != "sqlite" or parsed.host or not parsed.database or parsed.query:
        raise DatabaseProblem(f"database_url {shown!r} is no database of this program: {REMEDY}")
    return File(Path(parsed.database).expanduser().absolute())


def shown_url(url: str) -> str:
    """What may be shown of a ``database_url``, whether it can be read or not."""
    without_user = re.sub(r"//[^@/]*@", "//…@", url)
    return re.sub(r"(password=)[^&]*", r"\1…", without_user)
