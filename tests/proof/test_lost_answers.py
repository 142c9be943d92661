"""Scenario 3: accepted, and the answer lost."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.proof.between import (
    Between,
    Trouble,
    accept_but_say,
    end_after,
    end_before,
    halve,
    page,
    reset_after,
    stall_after,
)
from tests.proof.ground import Ground, addresses, among_served, hand_in, served, times
from tests.wire import answer

LOST: Mapping[str, Trouble] = {
    "reset": reset_after,
    "closed in good order": end_after,
    "silence until the time-out": stall_after,
    "half a body": halve,
    "bad JSON": accept_but_say(answer(b'{"job_id": "4')),
    "a proxy's 502": accept_but_say(page("502 Bad Gateway")),
    "a proxy's 504": accept_but_say(page("504 Gateway Timeout")),
    "200 without a job id": accept_but_say(answer(b"{}")),
}
"""Each is accepted, and the worker cannot know it."""

STALE = "closed under a kept connection"
"""Not accepted, and the worker cannot know that either."""

KINDS = [*LOST, STALE]

EACH = times(1, 8)
"""Videos of a kind in a round."""


def named(what: str) -> str:
    """Return it as a part of an address."""
    return what.replace(" ", "-").replace("'", "")


@pytest.mark.timeout(300)
async def test_a_lost_answer_is_a_doubt_and_never_a_second_purchase(ground: Ground) -> None:
    """Whatever becomes of the answer, an accepted video is doubted and not sent again, and its
    neighbours come in.
    """
    rounds = times(1, 5)
    urls = {kind: addresses(named(kind), EACH * rounds) for kind in KINDS}
    queue = ground.database("queue")
    troubles = {named(kind): [trouble] for kind, trouble in LOST.items()}
    async with Between(await ground.imitate(), {**troubles, named(STALE): [end_before]}) as between:
        worker: dict[str, Any] = {"api_url": between.url, "timeout_seconds": 5}
        for number in range(rounds):
            for kind in KINDS:
                hand_in(queue, among_served(urls[kind][number * EACH :][:EACH]))
            done = await ground.run("drain", database_url=queue, concurrency=1, **worker)
            assert 1 == done.code
        await ground.finish(queue, **worker)

    troubled = [url for kind in KINDS for url in urls[kind]]
    neighbours = [*map(served, troubled)]
    for kind in KINDS:
        verdict = ground.judged(3, f"the answer lost: {kind}", urls[kind])
        assert urls[kind] == verdict.in_doubt
        assert ([] if kind == STALE else urls[kind]) == verdict.once
    verdict = ground.judged(3, "the answer lost: their neighbours", neighbours)
    assert (len(neighbours), []) == (len(verdict.once), verdict.in_doubt)
    assert dict.fromkeys([*neighbours, *troubled], 1) == between.met
