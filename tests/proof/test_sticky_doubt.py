"""Scenario 5: sticky ambiguity: a later clean answer says nothing about an earlier unclear one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from tests.processes.programs import videos
from tests.proof.between import (
    Between,
    Trouble,
    end_before,
    only_say,
    refusal,
    reset_after,
)
from tests.proof.ground import Ground, addresses, among_served, hand_in, times, together

REFUSE = only_say(refusal("400 Bad Request"))
TURN_AWAY = only_say(refusal("503 Service Unavailable"))

CLEAR_LATER: Mapping[str, Sequence[Trouble]] = {
    "bought-then-refused": (reset_after, REFUSE),
    "not-bought-then-refused": (end_before, REFUSE),
    "bought-then-turned-away-to-the-last-attempt": (reset_after, TURN_AWAY),
}
"""The troubles of a video's first request and of all later ones: clear answers."""

REFUSED: Mapping[str, Sequence[Trouble]] = {"refused-at-once": (REFUSE,)}
"""Nothing about it was ever unclear."""

Way = Callable[[Ground, str, str], Awaitable[None]]


async def by_a_person(ground: Ground, queue: str, api: str) -> None:
    """Send again at a person's risk."""
    worker: dict[str, Any] = {"database_url": queue, "api_url": api, "max_attempts": 2}
    assert 1 == (await ground.run("drain", **worker)).code
    retry = ("retry", "--state", "in_doubt", "--may-buy-twice", "--yes")
    assert 0 == (await ground.run(*retry, **worker)).code
    assert 1 == (await ground.run("drain", "--wait", **worker, backoff_base_seconds=0.05)).code


async def by_setting(ground: Ground, queue: str, api: str) -> None:
    """Send again at the worker's configured risk, until the attempts are used up."""
    worker: dict[str, Any] = {"database_url": queue, "api_url": api, "max_attempts": 3}
    risk = {"on_doubt": "retry", "doubt_settle_seconds": 0, "backoff_base_seconds": 0.05}
    assert 1 == (await ground.run("drain", "--wait", **worker, **risk)).code


WAYS: Mapping[str, Way] = {"a person's retry": by_a_person, "on_doubt = retry": by_setting}


EACH = 2
"""Videos of a kind in a round: twenty equal refusals in a row would stop a run."""


def prefix_of(way: str) -> str:
    """Return it as a part of an address and of a file's name."""
    return way.split(maxsplit=1)[0].replace("_", "-")


def troubled(way: str) -> Mapping[str, Sequence[Trouble]]:
    """Return what the videos of one way meet; the proxy tells the ways apart by their addresses."""
    kinds = {**CLEAR_LATER, **REFUSED}
    return {f"{prefix_of(way)}-{kind}": met for kind, met in kinds.items()}


@pytest.mark.timeout(300)
async def test_a_clear_answer_does_not_settle_an_earlier_doubt(ground: Ground) -> None:
    """A video that was perhaps bought is never called failed because a later attempt was refused;
    one that never was in doubt is.
    """
    rounds = times(1, 10)
    everything = {kind: met for way in WAYS for kind, met in troubled(way).items()}
    urls = {kind: addresses(kind, EACH * rounds) for kind in everything}
    failed: list[object] = []
    async with Between(await ground.imitate(), everything) as between:
        for number in range(rounds):
            queues = {way: ground.database(f"{prefix_of(way)}-{number}") for way in WAYS}
            for way, queue in queues.items():
                for kind in troubled(way):
                    hand_in(queue, among_served(urls[kind][number * EACH :][:EACH]))
            await together(*(WAYS[way](ground, queues[way], between.url) for way in WAYS))
            rows = [row for queue in queues.values() for row in videos(queue)]
            failed += [row["url"] for row in rows if row["state"] == "failed"]

    for way in WAYS:
        for what in CLEAR_LATER:
            told = f"sticky doubt, {way}: {what.replace('-', ' ')}"
            mine = urls[f"{prefix_of(way)}-{what}"]
            verdict = ground.judged(5, told, mine)
            assert mine == verdict.in_doubt
            assert ([] if what.startswith("not") else mine) == verdict.once
    refused = [url for way in WAYS for kind in REFUSED for url in urls[f"{prefix_of(way)}-{kind}"]]
    assert sorted(refused) == sorted(map(str, failed))
