"""The judge finds what it looks for."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.processes.programs import execute, videos
from tests.proof.ground import Ground
from tests.proof.judge import Tried, as_table, judge
from worker.simulator.book import Job

VIDEO, OTHER = "https://videos.example/1.mp4", "https://videos.example/2.mp4"

SUBMIT = "UPDATE videos SET state = 'submitted', job_id = 'J1' WHERE id = 1"
LEND = "UPDATE videos SET state = 'submitted', job_id = 'J2' WHERE id = 1"
HOLD = "UPDATE videos SET state = 'in_doubt', job_id = 'J1' WHERE id = 1"
LEAVE = (
    "UPDATE videos SET state = 'submitting', claim_token = 't', claimed_by = 'w', "
    "lease_until = CURRENT_TIMESTAMP WHERE id = 1"
)
TURN = "UPDATE videos SET state = '{}' WHERE id = 1"
DELETE = "DELETE FROM videos WHERE id = 1"


def write(book: Path, queue: str, *jobs: tuple[str, int, str]) -> None:
    """Write a book of these jobs: id, the video whose request id was sent, address."""
    names = {row["id"]: str(row["request_id"]) for row in videos(queue)}
    made = [Job(job_id, names.get(video, "nobody's"), url, 0.0) for job_id, video, url in jobs]
    book.write_text("".join(f"{json.dumps(asdict(job))}\n" for job in made))


@pytest.mark.parametrize(
    ("sql", "jobs", "found"),
    [
        (SUBMIT, [("J1", 1, VIDEO)], (1, 0, 0, 0, 0)),
        (TURN.format("in_doubt"), [("J1", 1, VIDEO)], (1, 0, 0, 0, 1)),
        (TURN.format("in_doubt"), [], (0, 0, 0, 0, 1)),
        (TURN.format("failed"), [], (0, 0, 0, 0, 0)),
        (SUBMIT, [("J1", 1, VIDEO), ("J2", 1, VIDEO)], (0, 1, 0, 0, 0)),
        (SUBMIT, [("J1", 1, VIDEO), ("J2", 1, "https://else.example")], (0, 1, 0, 1, 0)),
        (TURN.format("pending"), [("J1", 1, VIDEO)], (1, 0, 1, 0, 0)),
        (TURN.format("failed"), [("J1", 1, VIDEO)], (1, 0, 1, 0, 0)),
        (TURN.format("cancelled"), [("J1", 1, VIDEO)], (1, 0, 1, 0, 0)),
        (SUBMIT, [], (0, 0, 1, 0, 0)),
        (DELETE, [], (0, 0, 1, 0, 0)),
        (DELETE, [("J1", 3, VIDEO)], (0, 0, 2, 0, 0)),
        (TURN.format("failed"), [("J1", 3, "https://else.example")], (0, 0, 1, 0, 0)),
        (LEAVE, [], (0, 0, 0, 1, 0)),
        (LEND, [("J1", 1, VIDEO)], (1, 0, 0, 1, 0)),
        (HOLD, [("J1", 1, VIDEO)], (1, 0, 0, 1, 1)),
        (SUBMIT, [("J1", 3, VIDEO)], (1, 0, 0, 1, 0)),
    ],
)
def test_the_judge_counts(
    sql: str, jobs: list[tuple[str, int, str]], found: tuple[int, ...], ground: Ground
) -> None:
    """The judge counts every video under its true verdict."""
    queue = ground.database("queue", [VIDEO, OTHER])
    write(ground.book, queue, *jobs)
    execute(queue, sql)
    verdict = judge(ground.book, [VIDEO, OTHER], [queue])
    counted = (verdict.once, verdict.twice, verdict.lost, verdict.wrong, verdict.in_doubt)
    assert found == tuple(map(len, counted))


def test_a_job_of_two_videos_is_wrong(ground: Ground) -> None:
    """One job held by videos of two databases is judged wrong."""
    first, second = ground.database("first", [VIDEO]), ground.database("second", [OTHER])
    write(ground.book, first, ("J1", 1, VIDEO))
    execute(first, SUBMIT)
    execute(second, SUBMIT)
    verdict = judge(ground.book, [VIDEO], [first, second])
    assert [f"{OTHER}: it holds job J1, and so does {VIDEO}"] == verdict.wrong


def test_the_table_tells_every_count(ground: Ground) -> None:
    """The table shows every count of the judge, sorted by database and scenario."""
    queue = ground.database("queue", [VIDEO, OTHER])
    write(ground.book, queue, ("J1", 1, VIDEO), ("J2", 1, VIDEO), ("J3", 2, OTHER))
    execute(queue, TURN.format("in_doubt"))
    verdict = judge(ground.book, [VIDEO, OTHER], [queue])
    later = Tried(scenario=2, what="later", kind="sqlite", times=1_000, verdict=verdict)
    first = Tried(scenario=1, what="first", kind="sqlite", times=1, verdict=verdict)
    other = Tried(scenario=1, what="other", kind="postgresql", times=1, verdict=verdict)
    assert [
        "| 1 | first | sqlite | 1 | 1 | 1 | 1 | 0 | 1 |",
        "| 2 | later | sqlite | 1,000 | 1 | 1 | 1 | 0 | 1 |",
        "| 1 | other | postgresql | 1 | 1 | 1 | 1 | 0 | 1 |",
    ] == as_table([other, later, first])[2:]
