import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import database_of_an_hour_ago, open_database
from tests.parts import add, facts, row
from worker import wiring
from worker.core.model import Cap
from worker.core.reasons import StopReason
from worker.core.stop_conditions import RunOptions
from worker.log import configure
from worker.settings import Key, Settings
from worker.simulator import Options, Simulator
from worker.wiring import CLOCK

KEY = Key("demo-key", "a test")


def settings(url: Path | str, **values: object) -> Settings:
    """Return settings on one database."""
    return Settings(database_url=str(url), **values)  # type: ignore[arg-type]


def test_the_caps_that_are_set_reach_a_run(path: Path) -> None:
    """A cap in the settings is kept, and there is none without a setting."""
    assert () == wiring.caps(settings(path))
    expected = (
        Cap(name="max_per_day", most=7, window=timedelta(hours=24)),
        Cap(name="max_total", most=9, window=None),
    )
    assert expected == wiring.caps(settings(path, max_per_day=7, max_total=9))


async def test_the_parts_run_together(url: str) -> None:
    """Settings alone make a runner that submits what is due, with real clocks and dice."""
    async with Simulator(Options()) as simulator, open_database(url) as database:
        await add(database, *(f"https://example.org/{n}.mp4" for n in range(3)))
        chosen = settings(url, api_url=simulator.url, rate=1_000, default_language="fi-FI")
        options = RunOptions(drain=True)
        async with wiring.runner(chosen, KEY, database, options) as runner:
            report = await runner.run()
        assert (StopReason.EMPTY, 3) == (report.stop.reason, report.counts.submitted)
        assert [(1, "accepted")] == await facts(database, 2)
        assert ["fi-FI"] * 3 == [_language(each.body) for each in simulator.requests]


async def test_a_run_goes_by_the_time_of_its_queue(path: Path) -> None:
    """A run goes by the time of its queue, whatever this machine's clock says."""
    async with Simulator(Options()) as simulator, database_of_an_hour_ago(path) as database:
        await add(database, "https://example.org/1.mp4", due_at=CLOCK.now())
        chosen = settings(path, api_url=simulator.url, rate=1_000)
        options = RunOptions(drain=True)
        async with wiring.runner(chosen, KEY, database, options) as runner:
            report = await runner.run()
        assert (StopReason.EMPTY, 0) == (report.stop.reason, report.counts.submitted)


def _language(body: object) -> object:
    """Return the language in the body of a request."""
    assert isinstance(body, dict)
    return body["media"]["language"]


async def drained(url: Path | str, imitation: Options, **values: object) -> dict[str, object]:
    """Drain with these settings and return the row of the first video."""
    configure("error", "json")
    async with Simulator(imitation) as simulator, open_database(url) as database:
        chosen = settings(url, api_url=simulator.url, rate=1_000, **values)
        options = RunOptions(drain=True)
        async with wiring.runner(chosen, KEY, database, options) as runner:
            await runner.run()
        return await row(database, 1)


@pytest.mark.parametrize(
    ("on_doubt", "settle", "state"),
    [
        ("hold", 0.0, "in_doubt"),
        ("retry", 0.0, "submitted"),
        ("retry", 3600.0, "in_doubt"),
    ],
)
async def test_a_doubt_is_repeated_only_where_the_settings_say_so(
    url: str, on_doubt: str, settle: float, state: str
) -> None:
    """A doubt is sent again by the setting alone, and after its time alone."""
    async with open_database(url) as database:
        await add(database, "https://example.org/a.mp4", state="in_doubt", claims=1, attempts=1)
    chosen = {"on_doubt": on_doubt, "doubt_settle_seconds": settle}
    assert state == (await drained(url, Options(), **chosen))["state"]


@pytest.mark.parametrize(
    ("max_attempts", "state", "wait"), [(1, "failed", None), (2, "pending", 50.0)]
)
async def test_attempts_and_backoff_are_those_of_the_settings(
    url: str, max_attempts: int, state: str, wait: float | None
) -> None:
    """A video is tried as often, and waits as long, as the settings say."""
    async with open_database(url) as database:
        await add(database, "https://example.org/a.mp4")
    began = wiring.CLOCK.now()
    row_now = await drained(
        url,
        Options(script={1: "500"}),
        max_attempts=max_attempts,
        backoff_base_seconds=50,
        backoff_max_seconds=50,
    )
    assert state == row_now["state"]
    due_at = row_now["due_at"]
    assert isinstance(due_at, datetime)
    latest = wiring.CLOCK.now() if wait is None else wiring.CLOCK.now() + timedelta(seconds=wait)
    assert due_at == min(due_at, latest)
    assert (wait is None) == (due_at < began)


@pytest.mark.parametrize(("margin", "state"), [(7200.0, "failed"), (60.0, "submitted")])
async def test_the_margin_of_signed_links_is_that_of_the_settings(
    url: str, margin: float, state: str
) -> None:
    """A signed link's remaining life is checked before a send against the setting."""
    end = int((wiring.CLOCK.now() + timedelta(hours=1)).timestamp())
    async with open_database(url) as database:
        await add(database, f"https://example.org/a.mp4?AWSAccessKeyId=A&Expires={end}")
    assert state == (await drained(url, Options(), url_margin_seconds=margin))["state"]


async def test_the_timeout_is_that_of_the_settings(url: str) -> None:
    """An answer is waited for exactly as long as the settings say."""
    async with open_database(url) as database:
        await add(database, "https://example.org/a.mp4")
    options = Options(script={1: "stall"})
    seen = await drained(
        url, options, connect_timeout_seconds=1, timeout_seconds=1, on_doubt="hold"
    )
    assert ("in_doubt", 1) == (seen["state"], seen["attempts"])


async def served(url: Path | str) -> None:
    """Run a daemon until it has submitted one video, and stop it."""
    configure("warning", "json")
    async with Simulator(Options()) as simulator, open_database(url) as database:
        await add(database, "https://example.org/a.mp4")
        chosen = settings(url, api_url=simulator.url)
        options = RunOptions(drain=False)
        async with wiring.runner(chosen, KEY, database, options) as runner:
            running = asyncio.create_task(runner.run())
            await simulator.wait_for_accepted(1)
            runner.stop()
            await running


async def test_a_daemon_shows_a_sign_of_life_beside_its_database(path: Path) -> None:
    """A daemon touches its heartbeat file beside the database; a drain leaves nothing behind."""
    alive = wiring.heartbeat_of(path)
    async with open_database(path) as database:
        await add(database, "https://example.org/first.mp4")
    await drained(path, Options())
    assert "videos.db.alive" not in os.listdir(path.parent)  # noqa: PTH208 - as above
    await served(path)
    assert alive.name in os.listdir(path.parent)  # noqa: PTH208 - as above


async def test_a_sign_of_life_that_cannot_be_written_stops_nothing(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A heartbeat file that cannot be written costs a log line, not the run."""
    wiring.heartbeat_of(path).symlink_to(tmp_path / "missing" / "alive")
    await served(path)
    assert "heartbeat_failed" in capsys.readouterr().err


def test_the_clock_is_utc() -> None:
    """Times in the table mean the same wherever the worker runs."""
    assert timedelta(0) == wiring.CLOCK.now().utcoffset()
