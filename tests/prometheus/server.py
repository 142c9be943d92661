"""Start Debian's Prometheus on loopback, and ask it."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "config" / "deploy" / "alerts.yml"
REMEDY = "is missing: apt-get install prometheus (Debian, Ubuntu), or run make test"

CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{alerts}]
scrape_configs:
  - job_name: valossa-ingest
    static_configs: [{{targets: ["{target}"]}}]
"""


def program(name: str) -> str:
    """Return the path of a program of Debian's prometheus package."""
    found = shutil.which(name)
    assert found, f"{name} {REMEDY}"
    return found


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(folder: Path, config: str, port: int) -> subprocess.Popen[bytes]:
    """Start a server that keeps what it knows in ``folder``."""
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        return subprocess.Popen(command, stderr=log)


class Prometheus:
    """A server that scrapes one target and evaluates our alerts."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, path: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        """Return the data of an answer; None while the server starts."""
        try:
            async with self._session.get(f"{self._url}/api/v1/{path}", params=query) as answer:
                return (await answer.json())["data"] if answer.status == 200 else None
        except aiohttp.ClientConnectionError:
            return None

    async def until(self, path: str, key: str, **query: str) -> Any:  # noqa: ANN401 - JSON
        """Return what an answer has under a key, as soon as that is something."""
        async with asyncio.timeout(60):
            while not (  # noqa: ASYNC110 - another program tells no event
                found := (await self.ask(path, **query) or {}).get(key)
            ):
                await asyncio.sleep(0.05)
            return found


@asynccontextmanager
async def scraping(target: str, folder: Path) -> AsyncIterator[Prometheus]:
    """Yield a server that scrapes a target, a host and a port."""
    port = free_port()
    server = start(folder, CONFIG.format(alerts=ALERTS, target=target), port)
    try:
        async with aiohttp.ClientSession() as session:
            yield Prometheus(session, f"http://127.0.0.1:{port}")
    finally:
        server.kill()
        server.wait()
