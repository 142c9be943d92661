"""Scenario 4: the request never arrived."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.processes.programs import videos
from tests.proof.between import Between, stall_after
from tests.proof.ground import Ground, addresses, among_served, hand_in, times, together
from tests.wire import LOOPBACK, Line, Wire, free_port, full_backlog, self_signed

VIDEOS = times(3, 7)
"""Of one worker; eight endings in a row without a clear answer make it wait (law 13)."""

POSTPONED = f"valossa-ingest: {VIDEOS} postponed: valossa-ingest list --state pending says why"

BACKOFF = {"backoff_base_seconds": 10_000_000, "backoff_max_seconds": 10_000_000}
"""So long that even a lucky roll of the dice does not end it within a test."""

HELD = {"held": (stall_after,)}
"""Videos whose answer never comes: as many as a client of one slot has connections, since it keeps
one for the list of jobs.
"""

CAUSES = ("refused", "a name that is not known", "TLS that fails", "a connect time-out")


@asynccontextmanager
async def unreachable(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Yield an address for each cause."""

    async def nothing(line: Line) -> None:
        await line.rest()

    context, _ = self_signed(folder)
    async with AsyncExitStack() as stack:
        closed = stack.enter_context(free_port())
        full = stack.enter_context(full_backlog())
        distrusted = await stack.enter_async_context(Wire(nothing, tls=context))
        urls = (
            f"http://{LOOPBACK}:{closed}/core/1.0",
            "https://api.invalid/core/1.0",
            distrusted.url,
            f"http://{LOOPBACK}:{full}/core/1.0",
        )
        yield dict(zip(CAUSES, urls, strict=True))


async def try_in_vain(ground: Ground, queue: str, url: str) -> None:
    """Drain against an API that cannot be reached: nothing is charged, and 75 says so."""
    worker = {"database_url": queue, "api_url": url, "connect_timeout_seconds": 0.3, **BACKOFF}
    done = await ground.run("drain", **worker)
    assert (75, [POSTPONED]) == (done.code, done.sentences)
    assert ["not_sent"] * VIDEOS == [line["outcome"] for line in done.events("attempt_ended")]
    assert {("pending", 0)} == {(row["state"], row["attempts"]) for row in videos(queue)}


async def crowd(ground: Ground, queue: str, url: str) -> None:
    """Let videos without an answer hold all connections of a worker that has slots left."""
    done = await ground.run(
        *("0", queue, "--connections", "1"),
        program=("-m", "tests.proof.ahead"),
        api_url=url,
        connect_timeout_seconds=1.5,
        timeout_seconds=6,
        rate=20,
        **BACKOFF,
    )
    ended = [line["outcome"] for line in done.events("attempt_ended")]
    assert ["accepted"] * 2 + ["not_sent"] * 3 + ["in_doubt"] * 2 == ended
    assert 3 == sum((row["state"], row["attempts"]) == ("pending", 0) for row in videos(queue))


@pytest.mark.timeout(300)
async def test_what_never_arrived_is_sent_again_and_bought_once(ground: Ground) -> None:
    """A network that is down costs no video an attempt, and when it works again each is bought
    exactly once; a video whose worker finds no free connection is as little doubted.
    """
    rounds = times(1, 8)
    urls = {cause: addresses(cause.replace(" ", "-"), VIDEOS * rounds) for cause in CAUSES}
    held, waiting = addresses("held", 2 * rounds), addresses("waiting", 3 * rounds)
    api = await ground.imitate()
    async with unreachable(ground.folder) as faulty, Between(api, HELD) as between:
        for number in range(rounds):
            queues = {
                cause: ground.database(
                    f"{cause.replace(' ', '-')}-{number}", urls[cause][number * VIDEOS :][:VIDEOS]
                )
                for cause in CAUSES
            }
            crowded = ground.database(f"crowded-{number}", among_served(held[number * 2 :][:2]))
            hand_in(crowded, waiting[number * 3 :][:3])
            vain = (try_in_vain(ground, queues[cause], faulty[cause]) for cause in CAUSES)
            await together(crowd(ground, crowded, between.url), *vain)
            later = BACKOFF["backoff_max_seconds"]
            await ground.finish(crowded, *queues.values(), seconds=later, api_url=api)
    for cause in CAUSES:
        verdict = ground.judged(4, f"never arrived: {cause}", urls[cause])
        assert (urls[cause], []) == (verdict.once, verdict.in_doubt)
    verdict = ground.judged(4, "never arrived: no free connection", waiting)
    assert (waiting, []) == (verdict.once, verdict.in_doubt)
    assert held == ground.judged(4, "never arrived: who held the connections", held).in_doubt
