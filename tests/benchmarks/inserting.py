"""Insert a row now and then, as another program, and print each commit time.

``python tests/benchmarks/inserting.py DATABASE COUNT``; seconds of the monotonic clock, which on
Linux is that of every process.
"""

import json
import random
import sqlite3
import sys
import time
from contextlib import closing

SOONEST_SECONDS = 0.15
LATEST_SECONDS = 0.30


def main(database: str, count: int) -> None:
    """Insert ``count`` rows."""
    moments = []
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as connection:
        for number in range(count):
            time.sleep(random.uniform(SOONEST_SECONDS, LATEST_SECONDS))
            url = f"https://example.com/videos/{number}.mp4"
            connection.execute("INSERT INTO videos (url) VALUES (?)", (url,))
            moments.append(time.monotonic())
    sys.stdout.write(json.dumps(moments))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
