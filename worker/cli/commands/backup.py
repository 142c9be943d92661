"""``backup``: a whole copy of a queue that is worked on meanwhile."""

import shlex
from pathlib import Path

from sqlalchemy import URL, make_url

from worker.cli import exits, output
from worker.cli.invocation import Invocation
from worker.cli.session import Session, open_to_look
from worker.db.address import Server
from worker.db.database import schema_name
from worker.db.sqlite import copy

TAKEN = {"host", "port", "user", "sslmode", "sslrootcert"}
"""The fields of an address's query that pg_dump needs too, and none that is secret."""


def backup(call: Invocation) -> int:
    """Copy the queue to a file that is not there yet, and read the copy."""
    path = call.args.file.absolute()
    part = path.with_name(f"{path.name}.part")
    with open_to_look(call.settings) as session:
        if isinstance(address := session.database.address, Server):
            return _on_server(address, session.read(lambda c, _: schema_name(c)), path)
        try:
            if path.exists() or part.exists():
                why = f"{path if path.exists() else part} is there already: name another file"
                return exits.complain([why], exits.PROBLEMS)
            numbers = _copied(session, path, part)
        except OSError as error:
            return exits.complain([f"{path}: {error.strerror}"], exits.PROBLEMS)
    facts = {"file": path, **numbers}
    output.document(facts) if call.args.json else output.pairs(facts)
    return exits.OK


def _copied(session: Session, path: Path, part: Path) -> dict[str, int]:
    """Return what the copy holds. Raises OSError."""
    try:
        part.touch(mode=0o600)
        numbers = session.read(lambda c, _: copy(c, part))
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return numbers


def _on_server(server: Server, schema: str, path: Path) -> int:
    url = make_url(server.dsn)
    query = {name: value for name, value in url.query.items() if name in TAKEN}
    place = (url.username, None, url.host, url.port, url.database)
    address = URL.create("postgresql", *place, query)
    words = ("pg_dump", "--format=custom", f'--schema="{schema}"', f"--file={path}")
    output.line(shlex.join([*words, address.render_as_string()]))
    why = "nothing was copied: run the line above; its password stands in PGPASSWORD or ~/.pgpass"
    return exits.complain([why], exits.PROBLEMS)
