# ruff: noqa: ASYNC240 - reading a small file holds up nobody
import asyncio
import secrets
from pathlib import Path

import pytest

from tests.processes.programs import Programs, add_videos, execute, states, videos, within
from worker.simulator import Options, Simulator

FIELDS = {"video", "attempt", "outcome", "status", "seconds", "request_id", "job_id"}
"""The fields that the closing line of an attempt must have (issue 2)."""


@pytest.fixture
def canary() -> str:
    """Return a key that occurs nowhere else."""
    return f"canary-{secrets.token_hex(8)}"


def kept(url: str) -> list[str]:
    """Return everything that the database keeps: a file with its neighbours, or all tables."""
    if url.startswith("postgresql"):
        tables = ("videos", "history", "account", "workers", "pruned")
        return [str(execute(url, f"SELECT * FROM {table}")) for table in tables]
    path = Path(url)
    return [found.read_bytes().decode("latin-1") for found in path.parent.glob(f"{path.name}*")]


async def test_the_key_is_seen_by_the_api_alone(
    worker: Programs, simulator: Simulator, url: str, tmp_path: Path, canary: str
) -> None:
    """The key is in no output, log, file, table or process list (law 11)."""
    kinds = ("", "echo-key", "401", "garbage", "lost", "half", "proxy-502", "stall")
    simulator.options = Options(
        keys=frozenset({canary}), script={n: kind for n, kind in enumerate(kinds, 1) if kind}
    )
    add_videos(url, 12)
    file = tmp_path / "key"
    file.write_text(f"{canary}\n")
    program = await worker.start(
        "drain",
        "--json",
        variables={"VALOSSA_API_KEY": None, "VALOSSA_API_KEY_FILE": str(file)},
        concurrency=1,
        log_level="debug",
    )
    await within(simulator.wait_for_requests(len(kinds)))
    command = Path(f"/proc/{program.pid}/cmdline").read_bytes()
    stored = kept(url)
    simulator.release()
    ended = [await program.ended()]
    assert {"pending": 1, "failed": 1, "in_doubt": 4, "submitted": 6} == states(url)
    assert any("[key]" in str(row["error"]) for row in videos(url))

    right, wrong = {"VALOSSA_API_KEY": canary}, {"VALOSSA_API_KEY": f"{canary}-wrong"}
    started = [
        await worker.start("check", "--json", "--online", variables=right),
        await worker.start("check", "--online", variables=wrong),
        await worker.start("list", "--json", variables=right),
        await worker.start("show", "2", variables=right),
    ]
    ended += await asyncio.gather(*(look.ended() for look in started))
    stored += kept(url)
    assert [1, 0, 78, 0, 0] == [done.code for done in ended]
    texts = [command.decode(), *(done.out for done in ended), *(done.err for done in ended)]
    assert [] == [text for text in texts if canary in text]
    assert [] == [data for data in stored if canary in data]


async def test_the_secret_of_a_signed_link_stays_out_of_the_log(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """No log line shows the query of a link, whatever the outcome of its video (law 11)."""
    simulator.options = Options(script={1: "400", 2: "lost", 3: "echo-key"})
    links = [
        "https://b.s3.amazonaws.com/1.mp4?AWSAccessKeyId=A&Expires=4102444800&Signature=hush-hush",
        "https://b.s3.amazonaws.com/2.mp4?AWSAccessKeyId=A&Expires=1000000000&Signature=hush-hush",
        "https://b.s3.amazonaws.com/3.mp4?AWSAccessKeyId=A&Expires=hush-hush&Signature=hush-hush",
        "https://videos.example/4.mp4?token=hush-hush#hush-hush",
        "https://me:hush-hush@videos.example/5.mp4",
        "ftp://videos.example/6.mp4?token=hush-hush",
    ]
    for link in links:
        execute(url, "INSERT INTO videos (url) VALUES (?)", link)
    done = await worker.run("drain", log_level="debug", concurrency=1)
    assert 1 == done.code
    assert len(links) == len(done.events("attempt_ended")) + len(done.events("video_refused"))
    assert [] == [line for line in done.lines if "hush-hush" in str(line)]


async def test_each_attempt_has_one_closing_line(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """The log has every attempt once, with the facts of the table.

    On a full disk it is the only record of what was bought.
    """
    kinds = ("lost", "500", "400", "reset", "no-id", "retry-after-503", "garbage")
    simulator.options = Options(script=dict(zip(range(2, 30, 4), kinds, strict=True)))
    add_videos(url, 30)
    done = await worker.run("drain", "--wait", backoff_base_seconds=0.1)
    assert 1 == done.code
    history = execute(
        url,
        "SELECT h.video_id, h.attempt, h.fact, h.http_status, h.job_id, v.request_id "
        "FROM history h JOIN videos v ON v.id = h.video_id",
    )
    lines = done.events("attempt_ended")
    assert [] == [line for line in lines if not line.keys() >= FIELDS]
    names = ("video", "attempt", "outcome", "status", "job_id", "request_id")
    assert sorted(map(str, (tuple(row.values()) for row in history))) == sorted(
        str(tuple(line[name] for name in names)) for line in lines
    )
    assert {job.job_id for job in simulator.accepted} >= {
        line["job_id"] for line in lines if line["job_id"]
    }
    assert len(simulator.requests) == len(lines)
