import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from worker.runner.limiter import Limiter

FAR_FUTURE = 3600.0


def limiter(*, rate: int = 1000, period_seconds: float = 1.0) -> Limiter:
    """Return a limiter on the real monotonic clock."""
    return Limiter(rate=rate, period_seconds=period_seconds, monotonic=time.monotonic)


async def at_once(waiting: Coroutine[Any, Any, bool] | asyncio.Future[bool]) -> bool:
    """Return the result of a call that hardly waits."""
    return await asyncio.wait_for(waiting, 1)


async def test_a_start_that_is_past_begins_now() -> None:
    """A start that is past begins without a wait."""
    assert await at_once(limiter().begin(time.monotonic() - 5))


async def test_a_start_is_waited_for() -> None:
    """No request begins before the second that was reserved for it."""
    at = time.monotonic() + 0.05
    assert await limiter().begin(at)
    assert at <= time.monotonic() + 0.001


async def test_a_start_counts_on_the_clock_that_was_given() -> None:
    """The seconds of a start are those of the clock that reserved it."""
    passage = Limiter(rate=1000, period_seconds=1.0, monotonic=lambda: 5_000_000.0)
    assert await at_once(passage.begin(5_000_000.02))


async def test_starts_begin_in_their_order() -> None:
    """Requests begin in the order of their seconds, whatever the order of the calls."""
    passage, now, order = limiter(), time.monotonic(), list[str]()

    async def begin(name: str, at: float) -> None:
        assert await passage.begin(at)
        order.append(name)

    await asyncio.gather(begin("last", now + 0.06), begin("next", now + 0.03), begin("now", now))
    assert ["now", "next", "last"] == order


async def test_a_shut_gate_lets_nobody_begin() -> None:
    """After a stop no request begins, whether its second is past or far."""
    passage = limiter()
    passage.shut()
    assert not await at_once(passage.begin(time.monotonic() - 1))
    assert not await at_once(passage.begin(time.monotonic() + FAR_FUTURE))


async def test_shutting_wakes_who_waits_for_a_start() -> None:
    """A stop ends the wait for a far second at once."""
    passage = limiter()
    waiting = [asyncio.create_task(passage.begin(time.monotonic() + FAR_FUTURE)) for _ in range(3)]
    await asyncio.sleep(0)
    passage.shut()
    assert [False] * 3 == [await at_once(each) for each in waiting]


async def test_shutting_wakes_who_waits_at_the_limit() -> None:
    """A stop ends every wait at the limit, however long the period is."""
    passage = limiter(rate=1, period_seconds=FAR_FUTURE)
    assert await at_once(passage.begin(0.0))
    waiting = [asyncio.create_task(passage.begin(0.0)) for _ in range(3)]
    await asyncio.sleep(0)
    passage.shut()
    await asyncio.sleep(0)
    passage.shut()
    assert [False] * 3 == [await at_once(each) for each in waiting]
    passage.shut()


@pytest.mark.parametrize(("rate", "period_seconds", "count"), [(5, 0.05, 15), (1, 0.02, 6)])
async def test_no_sliding_period_holds_more_than_the_limit(
    rate: int, period_seconds: float, count: int
) -> None:
    """Law 10: even if every start is reserved for now, this process keeps the limit."""
    passage, began = limiter(rate=rate, period_seconds=period_seconds), list[float]()

    async def begin() -> None:
        assert await passage.begin(0.0)
        began.append(time.monotonic())

    await asyncio.gather(*(begin() for _ in range(count)))
    spans = [last - first for first, last in zip(began, began[rate:], strict=False)]
    assert period_seconds - 0.003 <= min(spans)


async def test_a_second_is_waited_for_without_a_start() -> None:
    """A wait for a second spends no start."""
    passage = limiter(rate=1, period_seconds=FAR_FUTURE)
    at = time.monotonic() + 0.03
    assert await at_once(passage.wait_until(at))
    assert at <= time.monotonic() + 0.001
    assert await at_once(passage.wait_until(at))
    assert await at_once(passage.begin(0.0))


async def test_shutting_wakes_who_waits_for_a_second() -> None:
    """A stop ends the wait for the end of a pause."""
    passage = limiter()
    waiting = asyncio.create_task(passage.wait_until(time.monotonic() + FAR_FUTURE))
    await asyncio.sleep(0)
    before = passage.is_shut
    passage.shut()
    assert (False, True) == (before, passage.is_shut)
    assert not await at_once(waiting)
    assert not await at_once(passage.wait_until(0.0))


async def test_who_is_cancelled_at_the_limit_has_gone() -> None:
    """A task that is cancelled at the limit ends cancelled."""
    passage = limiter(rate=1, period_seconds=FAR_FUTURE)
    assert await at_once(passage.begin(0.0))
    gone, waiting = (asyncio.create_task(passage.begin(0.0)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await at_once(gone)
    passage.shut()
    assert not await at_once(waiting)


async def test_a_shut_gate_swallows_no_cancellation() -> None:
    """A task that is cancelled at the moment of a stop ends cancelled."""
    passage = limiter(rate=1, period_seconds=FAR_FUTURE)
    assert await at_once(passage.begin(0.0))
    gone = asyncio.create_task(passage.begin(0.0))
    await asyncio.sleep(0)
    passage.shut()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await at_once(gone)
