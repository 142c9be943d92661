# ruff: noqa: ASYNC240 - reading a small file holds up nobody
import asyncio
import io
import json
import os
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import closing, redirect_stderr
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from tests.conftest import Hands
from tests.notify.receiver import Manager, receiving
from tests.parts import add
from worker.core.stop_conditions import RunOptions
from worker.db.database import Database
from worker.db.schema import account, jobs, videos
from worker.log import configure
from worker.notify.lookout import LOST_LOOKS, Lookout
from worker.settings import Key, Settings

KEY = Key("sk-0123456789abcdef", "a test")
ADDRESS = "https://v.example/a.mp4"


@pytest.fixture
async def queue(path: Path, hands: Hands) -> AsyncIterator[Database]:
    """Yield an empty queue at the time of the hands."""
    async with Database(
        str(path), dice=lambda: 0.5, now=lambda: hands.wall, waiting=lambda _: None
    ) as database:
        yield database


def lookout(queue: Database, *, drain: bool = True, **more: str | Path) -> Lookout:
    """Return the lookout of one process, with a ``file`` and with settings."""
    file = more.pop("file", None)
    return Lookout(
        settings=Settings(**more),  # type: ignore[arg-type]
        key=KEY,
        database=queue,
        environment={"VALOSSA_API_KEY": KEY.value, "VALOSSA_API_KEY_FILE": "k", "PATH": "/usr/bin"},
        options=RunOptions(drain=drain),
        file=Path(file) if file else None,
        last_seconds=60.0,
    )


async def fail(queue: Database, number: int = 1) -> None:
    """Add failed videos."""
    urls = [f"{ADDRESS}?{each}" for each in range(number)]
    await add(queue, *urls, state="failed", error="refused")


async def settle(*lookouts: Lookout) -> None:
    """Wait until all that they have begun is done."""
    for each in lookouts:
        while each._under_way:  # noqa: SLF001
            await asyncio.wait(each._under_way)  # noqa: SLF001


async def test_a_trouble_is_told_once_by_all_processes(queue: Database, hands: Hands) -> None:
    """Several processes on a queue tell its trouble once, and once that it is over."""
    async with receiving() as receiver:
        both = [lookout(queue, notify_url=receiver.url) for _ in range(2)]
        await fail(queue)
        for _ in range(3):
            for each in both:
                await each.look()
                await settle(each)
        await queue.write(lambda c: c.execute(update(videos).values(state="cancelled")), "test")
        hands.pass_seconds(1)
        for each in reversed(both):
            await each.look()
            await settle(each)
        await queue.write(lambda c: c.execute(update(videos).values(state="failed")), "test")
        hands.pass_seconds(3_600)
        await both[0].look()
        await settle(both[0])
    first, last, again = receiver.notices
    assert (["failed"], ["resolved"]) == (first["reasons"], last["reasons"])
    assert ["failed"] == again["reasons"]  # by the one that did not tell the end
    assert ("needs a person", "idle") == (first["state"], last["state"])
    assert str(queue.address) == first["queue"]
    assert "1 failed" in first["sentence"]
    assert first["text"] == f"{first['sentence']}: {first['remedy']}"


async def test_what_was_spent_for_nothing_is_told(queue: Database, hands: Hands) -> None:
    """A job that ended in error is told with its number, host and reason, without any query."""
    await add(queue, ADDRESS, state="submitted", job_id="job-1", claims=1)
    values = {"host": "v.example", "details": f"no video at {ADDRESS}?X-Amz-Signature=abcdefgh"}
    ended = dict.fromkeys(("ended_at", "polled_at", "next_poll_at"), hands.wall)
    await queue.write(
        lambda c: c.execute(update(jobs).values(ended_as="error", **values, **ended)), "test"
    )
    hands.pass_seconds(1)
    async with receiving() as receiver:
        found = lookout(queue, notify_url=receiver.url)
        for _ in range(2):
            await found.look()
            await settle(found)
    (notice,) = receiver.notices
    assert ["spent_for_nothing"] == notice["reasons"]
    assert "1 job ended in error within a day and was paid" in notice["spent"]
    assert f"the first of v.example: no video at {ADDRESS}" in notice["text"]
    assert "abcdefgh" not in str(notice)


async def test_nothing_waits_for_a_receiver(queue: Database) -> None:
    """A run ends although its notices hang, after a short time; each that is left is logged."""
    with redirect_stderr(io.StringIO()) as said:
        configure("info", "json")
        async with receiving(slow=True) as receiver:
            ping = receiver.url.partition("?")[0]
            found = lookout(queue, notify_url=receiver.url, ping_url=ping)
            await fail(queue)
            found.begin()
            while len(receiver.paths) < 2:
                await receiver.came.wait()
                receiver.came.clear()
            found.last_seconds = 0.01
            await found.end(failed=0, code=1)
            assert found._under_way  # noqa: SLF001
            await settle(found)  # although the receiver is never released: it was left
    failed = [line for line in map(json.loads, said.getvalue().splitlines()) if "sink" in line]
    assert {"cut off by the end of the run"} == {line["reason"] for line in failed}
    assert ["notify_url", "ping_url", "ping_url"] == sorted(line["sink"] for line in failed)


async def test_the_end_waits_for_no_lock(queue: Database, path: Path) -> None:
    """A record that another program's lock keeps back is given up when the run is over."""
    found = lookout(queue)
    await fail(queue)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await found.look()
        found.last_seconds = 0.01
        await found.end(failed=0, code=0)
        await settle(found)
        assert None is other.execute("SELECT told FROM account").fetchone()[0]


@pytest.mark.parametrize("end", ["500", "dead", "command"])
async def test_a_notice_that_fails_is_logged_and_stops_nothing(queue: Database, end: str) -> None:
    """A failed notice is a line in the log, and counts as told."""
    with redirect_stderr(io.StringIO()) as said:
        configure("info", "json")
        async with receiving(500) as receiver:
            url = receiver.url
            sinks = {"500": {"notify_url": url}, "command": {"notify_command": "false"}}
            if end == "dead":
                sinks["dead"] = {"notify_url": "http://127.0.0.1:9/s3cr3t-path?s3cr3t-token"}
            found = lookout(queue, **sinks[end])  # type: ignore[arg-type]
            await fail(queue)
            for _ in range(2):
                await found.look()
                await settle(found)
    (line,) = map(json.loads, said.getvalue().splitlines())
    assert ("notice_failed", next(iter(sinks[end]))) == (line["event"], line["sink"])
    assert {"500": "HTTP 500", "command": "exit code 1"}.get(end, line["reason"]) == line["reason"]
    assert "s3cr3t" not in said.getvalue()


async def test_a_command_gets_the_notice_but_not_the_key(queue: Database, tmp_path: Path) -> None:
    """A command gets the same document; the key is in none of its environment."""
    code = "import os,sys; print(sys.stdin.read(), sorted(os.environ), file=open(sys.argv[1], 'w'))"
    found = lookout(queue, notify_command=f'{sys.executable} -c "{code}" {tmp_path / "got"}')
    await fail(queue, 3)
    await found.look()
    await settle(found)
    said, _, names = (tmp_path / "got").read_text().rpartition(" [")
    assert "3 failed" in json.loads(said)["sentence"]
    assert "PATH" in names
    assert "VALOSSA" not in names


async def test_the_end_of_a_drain_with_failures_is_told(queue: Database, hands: Hands) -> None:
    """A drain tells its failures at its end, and pings its switch; a daemon does neither."""
    async with receiving() as receiver:
        bare = receiver.url.partition("?")[0]
        for drain in (True, False):
            hands.pass_seconds(3_600)
            found = lookout(queue, drain=drain, notify_url=receiver.url, ping_url=f"{bare}/")
            found.begin()
            await fail(queue)
            await found.end(failed=1, code=1)
    told = sorted(reason for notice in receiver.notices for reason in notice["reasons"])
    assert ["drain_failed", "failed"] == told  # in one notice or in two, as the first look comes
    pings = [path for path in receiver.paths if path.startswith("GET")]
    assert ["GET /hook/s3cr3t-path/start", "GET /hook/s3cr3t-path/1"] == pings


@pytest.mark.parametrize(
    ("code", "suffix"), [(0, ""), (75, ""), (1, "/1"), (78, "/78"), (143, "/143")]
)
async def test_a_dead_mans_switch_gets_the_end(queue: Database, code: int, suffix: str) -> None:
    """A drain that needs no person is a success of its switch; others have their exit code."""
    async with receiving() as receiver:
        bare = receiver.url.partition("?")[0]
        found = lookout(queue, ping_url=bare)
        await found.end(failed=0, code=code)
        assert [f"GET /hook/s3cr3t-path{suffix}"] == receiver.paths


async def test_a_lock_of_another_program_holds_no_notice_back(queue: Database, path: Path) -> None:
    """A record that cannot be written is not waited for, and nothing is told twice meanwhile."""
    async with receiving() as receiver:
        found = lookout(queue, notify_url=receiver.url)
        await fail(queue)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await found.look()
            await receiver.came.wait()
            await found.look()
            other.execute("ROLLBACK")
        await settle(found)
        await found.look()
        await lookout(queue, notify_url=receiver.url).look()
    assert 1 == len(receiver.notices)


async def test_a_database_that_is_gone_is_told_after_a_while(queue: Database, path: Path) -> None:
    """A database that cannot be read for two minutes is a stall; a shorter loss is none."""
    async with receiving() as receiver:
        found = lookout(queue, notify_url=receiver.url)
        await found.look()
        path.rename(path.with_suffix(".gone"))
        for _ in range(LOST_LOOKS - 1):
            await found.look()
        await settle(found)
        assert [] == receiver.notices
        for _ in range(3):
            await found.look()
        await settle(found)
    (told,) = receiver.notices
    assert (["stalled"], "stalled") == (told["reasons"], told["state"])
    assert str(path) in told["sentence"]


async def test_a_trouble_is_not_told_anew_after_the_database_was_lost(
    queue: Database, path: Path
) -> None:
    """The record of before the loss is known still."""
    async with receiving() as receiver:
        found = lookout(queue, notify_url=receiver.url)
        await fail(queue)
        await found.look()
        await settle(found)
        path.rename(path.with_suffix(".gone"))
        for _ in range(LOST_LOOKS):
            await found.look()
        path.with_suffix(".gone").rename(path)
        for _ in range(2):
            await found.look()
            await settle(found)
    assert [["failed"], ["stalled"]] == [each["reasons"] for each in receiver.notices]


async def test_the_end_is_pinged_after_the_start(queue: Database) -> None:
    """A switch that hears of the start last would wait for an end."""
    async with receiving(slow=True) as receiver:
        found = lookout(queue, ping_url=receiver.url.partition("?")[0])
        found.begin()
        ending = asyncio.create_task(found.end(failed=0, code=0))
        await receiver.came.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert ["GET /hook/s3cr3t-path/start"] == receiver.paths
        receiver.released.set()
        await ending
        assert ["/start", ""] == [
            each.removeprefix("GET /hook/s3cr3t-path") for each in receiver.paths
        ]


async def test_metrics_are_written_for_all_to_read(queue: Database, tmp_path: Path) -> None:
    """The file is replaced at each look, and may be read by others; at the end it has the code."""
    file = tmp_path / "valossa.prom"
    found = lookout(queue, file=file)
    found.observe("accepted", 0.3)
    found.observe("turn", 5.0)
    mask = os.umask(0o077)  # that of our services
    try:
        await found.look()
    finally:
        os.umask(mask)
    assert 0o644 == stat.S_IMODE(file.stat().st_mode)
    with file.open() as whole:
        found.observe("accepted", 0.3)
        await found.look()
        assert f'outcome="accepted",queue="{queue.address}"}} 1.0\n' in whole.read()
    assert [file] == [each for each in tmp_path.iterdir() if "valossa" in each.name]
    assert "loop_turned" in file.read_text()
    found.begin()
    await found.end(failed=0, code=75)
    families = {each.name: each for each in text_string_to_metric_families(file.read_text())}
    assert 75 == families["valossa_ingest_drain_exit_code"].samples[0].value
    assert "valossa_ingest_loop_turned_timestamp_seconds" not in families


async def test_a_file_that_cannot_be_written_stops_nothing(queue: Database, tmp_path: Path) -> None:
    """A metrics file in no folder is a line in the log."""
    with redirect_stderr(io.StringIO()) as said:
        configure("info", "json")
        await lookout(queue, file=tmp_path / "no" / "x.prom").look()
        await asyncio.sleep(0)  # the log is written at the end of a turn
    (line,) = map(json.loads, said.getvalue().splitlines())
    assert "No such file or directory" == line["reason"]
    assert str(tmp_path / "no" / "x.prom") == line["sink"]


async def test_no_secret_is_told(queue: Database, tmp_path: Path) -> None:
    """Neither the key nor a signed query is in a notice, a metric, a state or a line of the log,
    not even if a person has typed it.
    """
    typed = f"wrong key {KEY.value}, see https://s3.example/a.mp4?X-Amz-Signature=c0ffee00c0ffee"
    asked = update(account).values(
        paused_at=queue.now(), pause_reason=typed, cool_down_reason=typed
    )
    await queue.write(lambda c: c.execute(asked), "test")
    await add(queue, f"{ADDRESS}?X-Amz-Signature=c0ffee00c0ffee")
    await fail(queue)
    file, got = tmp_path / "x.prom", tmp_path / "got"
    with redirect_stderr(io.StringIO()) as said:
        configure("debug", "json")
        async with receiving() as receiver:
            command = f"dd status=none of={got}"
            found = lookout(queue, file=file, notify_url=receiver.url, notify_command=command)
            manager = Manager(str(tmp_path / "notify"))
            found.systemd.address = manager.address
            with closing(manager.socket):
                await found.look()
                await settle(found)
                sent = manager.got()
    (notice,) = receiver.bodies
    assert "wrong key" in notice  # so it is the text that was typed
    assert "wrong key" in sent[0]
    for text in (notice, got.read_text(), file.read_text(), said.getvalue(), *sent):
        assert KEY.value not in text
        assert "c0ffee" not in text
