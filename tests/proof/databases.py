"""Make a scenario's databases of either kind: migrated ones, and copies of them."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests import postgres
from tests.plain import done


class Databases(Protocol):
    """Makes databases; ``kind`` as SQLAlchemy calls it."""

    @property
    def kind(self) -> str:
        """Return the kind of all of them."""
        ...

    def new(self, name: str) -> str:
        """Return the address of a migrated one with nothing in it."""
        ...

    def copy(self, address: str, name: str) -> str:
        """Return the address of a copy of this one, which has no connections."""
        ...

    def drop(self, address: str) -> None:
        """Remove one that is not needed any more."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """SQLite files in a folder."""

    folder: Path
    migrated: Path
    kind: str = "sqlite"

    def new(self, name: str) -> str:
        """Return a copy of the migrated one."""
        return str(shutil.copy(self.migrated, self.folder / f"{name}.db"))

    def copy(self, address: str, name: str) -> str:
        """Copy as SQLite does."""
        path = str(self.folder / f"{name}.db")
        with closing(sqlite3.connect(address)) as mine, closing(sqlite3.connect(path)) as copied:
            mine.backup(copied)
        return path

    def drop(self, address: str) -> None:
        """Remove the file and its log."""
        for path in self.folder.glob(f"{Path(address).name}*"):
            path.unlink()


@dataclass(frozen=True, slots=True)
class Served:
    """Databases of a PostgreSQL server, made like the one at ``migrated``."""

    server: str
    migrated: str
    kind: str = "postgresql"
    made: list[str] = field(default_factory=list)

    def new(self, name: str) -> str:
        """Return a copy of the migrated one."""
        return self.copy(self.migrated, name)

    def copy(self, address: str, name: str) -> str:  # noqa: ARG002 - its name is the server's
        """Copy as PostgreSQL does."""
        self.made.append(done(postgres.alike(self.server, address)))
        return self.made[-1]

    def drop(self, address: str) -> None:
        """Drop it with its connections: the server's disk is shared with other databases."""
        self.made.remove(address)
        done(postgres.dropped(self.server, address))

    def close(self) -> None:
        """Remove all of them."""
        for address in tuple(self.made):
            self.drop(address)
