import random
from typing import Any

import pytest

from tests.processes.programs import (
    Programs,
    add_videos,
    bought_twice,
    let_leases_end,
    states,
    unknown,
    videos,
    within,
)
from worker.simulator import Options, Simulator

FAULTS = {"lost": 0.01, "half": 0.01, "reset": 0.01, "400": 0.01, "500": 0.01}
"""One request in twenty."""


@pytest.mark.slow
async def test_ten_power_cuts_lose_nothing_and_buy_nothing_twice(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """After ten kills, the table knows or doubts every job that was bought.

    No video is bought twice.
    """
    simulator.options = Options(latency_seconds=0.02, failures=FAULTS, seed=random.randrange(1_000))
    add_videos(url, 300)
    settings: dict[str, Any] = {"concurrency": 8, "rate": 300, "backoff_base_seconds": 0.05}
    for _ in range(10):
        program = await worker.start("drain", "--wait", **settings)
        more = random.randrange(1, 22)
        if random.random() < 0.5:
            await within(simulator.wait_for_requests(len(simulator.requests) + more))
        else:
            await program.logged("attempt_ended", more)
        program.kill()
        await program.ended()
        assert [] == [
            row["id"] for row in videos(url) if row["job_id"] and row["state"] != "submitted"
        ]
        let_leases_end(url)
    done = await worker.run("drain", "--wait", "--json", **settings)

    assert {0, 1} >= {done.code}
    found = states(url)
    assert {"submitted", "failed", "in_doubt"} >= set(found)
    assert 300 == sum(found.values())
    assert [] == bought_twice(simulator.accepted)
    assert [] == unknown(url, simulator.accepted)
    bought = {job.url for job in simulator.accepted}
    rows = videos(url)
    assert [] == [row["id"] for row in rows if row["state"] == "failed" and row["url"] in bought]
    jobs = {job.job_id for job in simulator.accepted}
    assert [] == [row["id"] for row in rows if row["job_id"] and row["job_id"] not in jobs]
