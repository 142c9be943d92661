"""SqliteHuey: a task a video; the job id goes to a table of one's own, a commit each.

``python -m tests.benchmarks.peers.huey_peer URL COUNT FOLDER``. SQLite syncs in full on both sides.
Tried: 1, 4, 8, 16, 32, 64 threads, 1 to 64 greenlets, 4 and 16 processes; http.client, urllib3; one
file and two. 16 threads, http.client and two files were the fastest (32 and 8 threads are alike).
"""

import http.client
import json
import sqlite3
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from huey import SqliteHuey
from huey.api import TaskWrapper

from tests.benchmarks.peers.videos import body, check

THREADS = 16
PATIENCE_SECONDS = 60


class Hand(threading.local):
    """A thread's own connections: to the API, and to the table of outcomes."""

    def __init__(self, url: str, table: Path) -> None:
        parts = urlsplit(url)
        self._path = parts.path
        self._api = http.client.HTTPConnection(parts.netloc)
        self._table = sqlite3.connect(table, isolation_level=None, timeout=PATIENCE_SECONDS)
        self._table.execute("PRAGMA journal_mode = wal")
        self._table.execute("PRAGMA synchronous = FULL")
        self._table.execute(
            "CREATE TABLE IF NOT EXISTS jobs (video INTEGER PRIMARY KEY, job_id TEXT NOT NULL)"
        )

    def hand_in(self, number: int) -> None:
        """POST a video and store its job id."""
        said = json.dumps(body(number))
        self._api.request("POST", self._path, said, {"Content-Type": "application/json"})
        answer = json.loads(self._api.getresponse().read())
        self._table.execute("INSERT INTO jobs VALUES (?, ?)", (number, answer["job_id"]))

    def job_ids(self) -> list[str]:
        """Return the stored job ids."""
        return [job_id for (job_id,) in self._table.execute("SELECT job_id FROM jobs")]


def work(huey: SqliteHuey, hand: Hand, count: int) -> None:
    """Run a consumer until the queue is empty and all is written down, or nothing more comes."""
    consumer = huey.create_consumer(workers=THREADS, worker_type="thread", periodic=False)
    consumer.start()
    before, now = -1, 0
    while before < now < count or huey.pending_count():
        time.sleep(1)
        before, now = now, len(hand.job_ids())
    consumer.stop(graceful=True)


def opened(file: Path, hand: Hand, *, sync: bool) -> tuple[SqliteHuey, TaskWrapper]:
    """Return the queue in ``file`` and its task."""
    huey = SqliteHuey(filename=file, results=False, fsync=sync, timeout=PATIENCE_SECONDS)
    return huey, huey.task()(hand.hand_in)


def main(url: str, count: int, folder: Path) -> None:
    """Enqueue (not counted, so in haste), hand in, check."""
    hand = Hand(url, folder / "jobs.db")
    _, task = opened(folder / "huey.db", hand, sync=False)
    for number in range(count):
        task(number)
    huey, _ = opened(folder / "huey.db", hand, sync=True)
    work(huey, hand, count)
    check(hand.job_ids(), count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
