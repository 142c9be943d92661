"""Hold what a run tells beside its work: to systemd, to a person, to a switch, to a file."""

import asyncio
import os
import re
import secrets
import signal
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.notify.receiver import Manager, receiving
from tests.processes.programs import Programs, add_videos, execute, states, within
from worker.simulator import Options, Simulator


async def hear(manager: Manager) -> str:
    """Return the next datagram."""
    return (await asyncio.get_running_loop().sock_recv(manager.socket, 4096)).decode()


async def test_systemd_hears_a_daemon(worker: Programs, url: str, tmp_path: Path) -> None:
    """A daemon is ready after its first turn, shows the verdict, and asks for its grace."""
    add_videos(url, 1)
    manager = Manager(str(tmp_path / "notify"))
    with closing(manager.socket):
        known = {"NOTIFY_SOCKET": manager.address}
        program = await worker.start("run", variables=known, grace_seconds=7)
        said = {(await within(hear(manager))).partition("=")[0] for _ in range(2)}
        assert {"READY", "STATUS"} == said
        program.signal(signal.SIGTERM)
        while not (stop := await within(hear(manager))).startswith("STOPPING"):
            assert stop.startswith("STATUS=")
        assert "STOPPING=1\nEXTEND_TIMEOUT_USEC=37000000" == stop
        assert 143 == (await program.ended()).code


async def test_a_drain_tells_its_end(
    worker: Programs, simulator: Simulator, url: str, tmp_path: Path
) -> None:
    """A drain with failures notifies a person, pings its switch and leaves its metrics. The key and
    the query of a link are nowhere (law 11).
    """
    canary = f"canary-{secrets.token_hex(8)}"
    simulator.options = Options(keys=frozenset({canary}), script={1: "echo-key"})
    add_videos(url, 1)
    link = "https://v.example/a.mp4?X-Amz-Signature=c0ffee00"
    execute(url, "UPDATE videos SET url = ?", link)
    file, got = tmp_path / "x.prom", tmp_path / "got"
    code = "import os,sys; open(sys.argv[1],'w').write(sys.stdin.read() + str(dict(os.environ)))"
    manager = Manager(str(tmp_path / "notify"))
    async with receiving() as receiver:
        program = await worker.start(
            *("drain", "--metrics-file", str(file)),
            variables={"VALOSSA_API_KEY": canary, "NOTIFY_SOCKET": manager.address},
            notify_url=receiver.url,
            notify_command=f'{sys.executable} -c "{code}" {got}',
            ping_url=receiver.url.partition("?")[0],
            log_level="debug",
        )
        ended = await program.ended()
    with closing(manager.socket):
        states = manager.got()
    assert 1 == ended.code
    assert ["failed", "drain_failed"] == receiver.notices[-1]["reasons"]
    assert "1 failed" in receiver.notices[-1]["sentence"]
    pings = [path for path in receiver.paths if path.startswith("GET")]
    assert ["GET /hook/s3cr3t-path/start", "GET /hook/s3cr3t-path/1"] == pings
    text = file.read_text()
    for line in ('attempts_total{outcome="refused",', "drain_exit_code{"):
        assert re.search(rf"^valossa_ingest_{line}.* 1.0$", text, re.MULTILINE), text
    assert any("1 failed" in state for state in states)
    for told in (ended.out, ended.err, got.read_text(), text, *states, *receiver.bodies):
        assert canary not in told
        assert "c0ffee00" not in told
    assert "s3cr3t" not in ended.out + ended.err + text + "".join((*states, *receiver.bodies))


@pytest.mark.parametrize("lacks", ["key", "database"])
async def test_a_drain_that_cannot_begin_tells_its_end(
    worker: Programs, url: str, tmp_path: Path, lacks: str
) -> None:
    """A drain that ends with 78 at its start pings its switch and leaves its metrics."""
    file, keyless = tmp_path / "x.prom", {"VALOSSA_API_KEY": None}
    elsewhere = f"{url.rpartition('/')[0]}/none"
    async with receiving() as receiver:
        settings = {
            "variables": keyless if lacks == "key" else {},
            "database_url": elsewhere if lacks == "database" else url,
            "ping_url": receiver.url.partition("?")[0],
        }
        ended = await worker.run("drain", "--metrics-file", str(file), **settings)
    assert 78 == ended.code
    assert ["GET /hook/s3cr3t-path/78"] == receiver.paths
    text = file.read_text()
    assert re.search(r"^valossa_ingest_drain_exit_code.* 78.0$", text, re.MULTILINE), text
    assert "valossa_ingest_drain_ended_timestamp_seconds{" in text
    held = f'reason="database"}} {float(lacks == "database")}'
    assert held in text


async def test_receivers_hold_no_run_up(worker: Programs, url: str, tmp_path: Path) -> None:
    """A drain is as good with receivers that are slow, dead or broken: it hands in all, ends with
    its own code, and says of each that it failed.
    """
    add_videos(url, 20)
    execute(url, "UPDATE videos SET state = 'failed', error = 'x' WHERE id = 1")
    os.mkfifo(tmp_path / "alive")
    reading = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    hangs = f"import time; f = open('{tmp_path}/alive', 'w'); time.sleep(600)"
    async with receiving(500) as broken:
        drain = await worker.run(
            *("drain", "--metrics-file", str(tmp_path / "no" / "x.prom")),
            notify_url=broken.url,
            notify_command=f'{sys.executable} -c "{hangs}"',
            ping_url="http://127.0.0.1:9/dead",
        )
    assert (0, 19) == (drain.code, states(url)["submitted"])
    failed = {line["sink"] for line in drain.events("notice_failed")}
    assert {"notify_url", "ping_url", str(tmp_path / "no" / "x.prom")} <= failed
    os.set_blocking(reading, True)
    assert b"" == os.read(reading, 1)  # nobody has it open any more: the command was killed
    os.close(reading)
