"""Measure the memory of fetching a result, which does not grow with its size."""

import json
import re
import sqlite3
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.conftest import Tell
from tests.benchmarks.kit import KEY, program, program_command

HUGE = 2_000_000_000
MOST_BYTES = 130e6
AT = "2026-01-31 10:00:00.000000"


@contextmanager
def huge_results(size: int) -> Iterator[tuple[str, str]]:
    """Yield the address of an imitation in a process of its own, and a finished job of it."""
    words = ["simulate", "--port", "0", "--finish", "1", "--result-bytes", str(size), "--key", KEY]
    with subprocess.Popen(program_command(*words), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while (
            found := re.search(
                r"http://127\.0\.0\.1:\d+/core/1\.0", said := process.stdout.readline()
            )
        ) is None:
            assert said
        body = {"api_key": KEY, "media": {"video": {"url": "https://videos.example/1.mp4"}}}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{found[0]}/new_job", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request) as answer:
                yield found[0], json.load(answer)["job_id"]
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_huge_result_takes_little_memory(tmp_path: Path, tell: Tell) -> None:
    """The highest resident size of a process that fetches and verifies a result of 2 GB."""
    queue, folder = tmp_path / "videos.db", tmp_path / "results"
    folder.mkdir()
    program(["migrate"], tmp_path / "migrate.log", database_url=queue)
    with huge_results(HUGE) as (url, job_id):
        with closing(sqlite3.connect(queue)) as connection, connection:
            connection.execute(
                "INSERT INTO videos (url, state, job_id, submitted_at) "
                "VALUES ('https://videos.example/1.mp4', 'submitted', ?, ?)",
                (job_id, AT),
            )
            connection.execute("UPDATE jobs SET ended_as = 'finished', ended_at = ?", (AT,))
        told = {"database_url": queue, "api_url": url, "results_dir": folder}
        used = program(["results", "fetch", "--missing"], tmp_path / "fetch.log", **told)
        program(["results", "verify"], tmp_path / "verify.log", **told)
    tell(
        f"a result of 2 GB: {used.peak_bytes / 1e6:.0f} MB of memory (wanted 130), "
        f"{HUGE / 1e6 / used.cpu_seconds:.0f} MB a second of a processor"
    )
    assert used.peak_bytes < MOST_BYTES
