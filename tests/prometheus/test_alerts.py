"""Hold what Debian's Prometheus makes of our metrics and of our alerts."""

import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import insert

from tests.conftest import open_database
from tests.parts import SETTINGS, add
from tests.prometheus.server import ALERTS, ROOT, free_port, program, scraping
from worker import snapshot
from worker.core.model import Fact
from worker.db.database import Database
from worker.db.schema import history
from worker.store.statistics import ANSWERS
from worker.web.metrics import CONTENT_TYPE, PREFIX, Metrics

pytestmark = pytest.mark.prometheus

TESTS = Path(__file__).parent / "alerts.yml"
DASHBOARD = ROOT / "config" / "deploy" / "dashboard.json"


def promtool(*arguments: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Return the end of one command of promtool."""
    command = [program("promtool"), *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, check=False, timeout=60)


def test_every_alert_comes_when_it_must_and_not_before() -> None:
    """Promtool finds each alert of the tests, and each rule has a test."""
    done = promtool("test", "rules", TESTS)
    assert (0, b"") == (done.returncode, done.stderr), done.stdout
    names = set(re.findall(r"alert: (\w+)", ALERTS.read_text(encoding="utf-8")))
    assert names == set(re.findall(r"alertname: (\w+)", TESTS.read_text(encoding="utf-8")))


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    """Yield a queue in a file: a server knows nothing of its kind."""
    async with open_database(path) as opened:
        yield opened


async def refused(database: Database) -> None:
    """Let the API have refused the key of a queue with one video."""
    await add(database, "https://v.example/a.mp4")
    fact = {"video_id": 1, "attempt": 1, "at": database.now(), "who": "w", "message": "bad key"}
    fact["fact"] = Fact.ACCOUNT_REFUSED
    await database.write(lambda c: c.execute(insert(history), [fact]), "test")


async def text_of(database: Database) -> bytes:
    """Return all metrics of a process that has met everything, and of its queue."""
    metrics = Metrics(str(database.address))
    for kind in (*ANSWERS, "turn", "database_transaction"):
        metrics.observe(kind, database.now().timestamp())
    metrics.gauges |= {"drain_ended_timestamp_seconds": 1.0, "drain_exit_code": 0.0}
    settings = replace(SETTINGS, max_total=5)
    return metrics.exposition(
        await database.read(lambda c: snapshot.take(c, settings, database.now()))
    )


async def test_the_metrics_are_of_good_form(database: Database) -> None:
    """Promtool finds nothing to better in what we expose, also of a lost database."""
    await refused(database)
    for text in (await text_of(database), Metrics("q").exposition(None)):
        done = promtool("check", "metrics", given=text)
        assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)


async def test_alerts_and_dashboard_ask_for_what_is_there(database: Database) -> None:
    """Every metric and every value of a label that a rule or a panel names is exposed."""
    await refused(database)
    there = (await text_of(database)).decode()
    asked = ALERTS.read_text(encoding="utf-8") + DASHBOARD.read_text(encoding="utf-8")
    names = set(re.findall(rf"{PREFIX}\w+", asked))
    assert names
    assert set() == names - set(re.findall(rf"^({PREFIX}\w+)", there, re.MULTILINE))
    found = re.findall(r'(reason|outcome|state)=~?\\?"([\w|]+)', asked)
    for label, value in ((label, value) for label, values in found for value in values.split("|")):
        assert f'{label}="{value}"' in there


async def test_a_real_server_scrapes_us_and_alerts(database: Database, tmp_path: Path) -> None:
    """Prometheus scrapes our text, and fires the alert of a refused key."""
    await refused(database)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=await text_of(database), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with scraping(f"127.0.0.1:{port}", tmp_path) as prometheus:
            query = f'{PREFIX}attempts_total{{outcome="accepted"}}'
            (sample,) = await prometheus.until("query", "result", query=query)
            assert "1" == sample["value"][1]
            assert str(database.address) == sample["metric"]["queue"]
            query = 'ALERTS{alertname="ValossaIngestRefused",alertstate="firing"}'
            (sample,) = await prometheus.until("query", "result", query=query)
            assert ("page", "key") == (sample["metric"]["severity"], sample["metric"]["reason"])
    finally:
        await runner.cleanup()
