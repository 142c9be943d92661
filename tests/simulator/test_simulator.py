"""The simulator as a whole: limits, latency, repeatable runs, stop and start."""

import asyncio
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from worker.simulator import LIMITED, Change, Limit, Options, Simulator

Body = dict[str, object]
MakeBody = Callable[..., Body]


async def post(client: aiohttp.ClientSession, url: str, body: Body) -> int:
    """Hand in one video; return the status of the answer."""
    async with client.post(f"{url}/new_job", json=body) as answer:
        await answer.read()
        return answer.status


def damaged(path: Path) -> Path:
    """Make a book with a line that is no job."""
    path.write_text("nonsense\n")
    return path


def open_files() -> set[str]:
    """Return the descriptors that this process has open, but for the one that looks."""
    return {link.name for link in Path("/proc/self/fd").iterdir() if link.exists()}


async def test_beyond_the_limit_there_is_429(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """The request too many is turned away with whole seconds to wait, and buys nothing."""
    started = time.monotonic()
    async with Simulator(Options(limit=Limit(2, 3600))) as simulator:
        assert [200, 200] == [await post(client, simulator.url, make_body()) for _ in range(2)]
        async with client.post(f"{simulator.url}/new_job", json=make_body()) as answer:
            assert 429 == answer.status
            assert {"errors": [{"message": "Too many requests"}]} == await answer.json()
            assert 3600 - (time.monotonic() - started) <= int(answer.headers["Retry-After"]) <= 3600
        assert [None, None, LIMITED] == [request.kind for request in simulator.requests]
        assert 2 == len(simulator.accepted)


async def test_what_was_answered_429_does_not_count(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Neither a scripted 429 nor one of the limit itself takes room; any other refusal does."""
    options = Options(limit=Limit(2, 3600), script={1: "429", 2: "proxy-429", 3: "400"})
    async with Simulator(options) as simulator:
        statuses = [await post(client, simulator.url, make_body()) for _ in range(6)]
    assert [429, 429, 400, 200, 429, 429] == statuses
    kinds = [request.kind for request in simulator.requests]
    assert ["429", "proxy-429", "400", None, LIMITED, LIMITED] == kinds


async def test_after_the_wait_there_is_room(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """As soon as the period has passed since the first one, a request is taken again."""
    async with Simulator(Options(limit=Limit(1, 0.05))) as simulator:
        deadline = time.monotonic() + 10
        while len(simulator.accepted) < 3 and time.monotonic() < deadline:
            await post(client, simulator.url, make_body())
        times = [request.arrived_at for request in simulator.requests if request.kind is None]
    assert 3 == len(times)
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(times))


async def test_a_limit_changes_after_the_first_request(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A limit change is timed from the first request, not from the start."""
    changes = (Change(0.0, Limit(1, 3600)), Change(0.05, Limit(3, 3600)))
    async with Simulator(Options(limit=Limit(9, 3600), limit_changes=changes)) as simulator:
        deadline = time.monotonic() + 10
        while len(simulator.accepted) < 3 and time.monotonic() < deadline:
            await post(client, simulator.url, make_body())
        statuses = [await post(client, simulator.url, make_body()) for _ in range(2)]
        first, *others = [r for r in simulator.requests if r.kind is None]
    assert [429, 429] == statuses
    assert 2 == len(others)
    assert all(other.arrived_at - first.arrived_at >= 0.05 for other in others)


async def test_options_change_in_mid_run(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Keys, scripts and limits set on a running simulator hold from the next request on."""
    async with Simulator(Options()) as simulator:
        statuses = [await post(client, simulator.url, make_body())]
        simulator.options = Options(keys=frozenset({"new-key"}), script={3: "503"})
        statuses += [await post(client, simulator.url, make_body()) for _ in range(2)]
        statuses.append(await post(client, simulator.url, make_body(key="new-key")))
    assert [200, 401, 503, 200] == statuses


async def test_the_same_seed_gives_the_same_run(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """Two runs with one seed meet the same trouble and make the same job ids; another seed not."""

    async def run(seed: int) -> tuple[list[str | None], list[str]]:
        options = Options(failures={"503": 0.3, "no-id": 0.3}, seed=seed)
        async with Simulator(options) as simulator:
            for number in range(30):
                await post(client, simulator.url, make_body(f"r-{number}"))
        kinds = [request.kind for request in simulator.requests]
        return kinds, [job.job_id for job in simulator.accepted]

    first, second, other = await run(1), await run(1), await run(2)
    assert first == second
    assert first[0] != other[0]
    assert not set(first[1]) & set(other[1])


async def test_latency_comes_after_the_purchase(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """The job exists while its answer is still on the way, and the answer takes its time."""
    async with Simulator(Options(latency_seconds=0.1)) as simulator:
        started = time.monotonic()
        asked = asyncio.create_task(post(client, simulator.url, make_body()))
        await simulator.wait_for_requests(1)
        await simulator.wait_for_accepted(1)
        assert not asked.done()
        assert 200 == await asked
        assert 0.1 <= time.monotonic() - started


async def test_a_stop_does_not_wait_for_slow_answers(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A request in mid-latency loses its connection when the server stops."""
    async with Simulator(Options(latency_seconds=3600)) as simulator:
        asked = asyncio.create_task(post(client, simulator.url, make_body()))
        await simulator.wait_for_accepted(1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await asked


async def test_it_comes_back_at_the_same_address(
    client: aiohttp.ClientSession, make_body: MakeBody, tmp_path: Path
) -> None:
    """Stopped, it is not to be reached; started again on its port, it knows all that was."""
    simulator = Simulator(Options(book=tmp_path / "book"))
    url = await simulator.start()
    await post(client, url, make_body("r-1"))
    await simulator.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(client, url, make_body("r-2"))
    assert url == await simulator.start(port=urlsplit(url).port or 0)
    assert 200 == await post(client, url, make_body("r-3"))
    await simulator.stop()
    await simulator.stop()
    assert ["r-1", "r-3"] == [job.request_id for job in simulator.accepted]


async def test_what_cannot_start_leaves_nothing_open(tmp_path: Path) -> None:
    """A port that is taken and a book that is none are errors, and no file stays open."""
    good, bad = tmp_path / "good", damaged(tmp_path / "bad")
    async with Simulator(Options()) as first:
        before = open_files()
        with pytest.raises(OSError, match="address already in use"):
            await Simulator(Options(book=good)).start(port=urlsplit(first.url).port or 0)
        with pytest.raises(ValueError, match="line 1 is no job"):
            await Simulator(Options(book=bad)).start()
        assert before == open_files()


async def test_waiting_ends_with_what_was_waited_for(
    client: aiohttp.ClientSession, make_body: MakeBody
) -> None:
    """A wait for the second request ends with it and not with the first."""
    async with Simulator(Options(script={1: "500"})) as simulator:
        requests = asyncio.create_task(simulator.wait_for_requests(2))
        accepted = asyncio.create_task(simulator.wait_for_accepted(1))
        await post(client, simulator.url, make_body())
        assert [False, False] == [requests.done(), accepted.done()]
        await post(client, simulator.url, make_body())
        await asyncio.gather(requests, accepted)
    assert [1, 2] == [request.number for request in simulator.requests]
