import json
from pathlib import Path

import pytest

from tests.plain import insert_all
from worker.cli import run
from worker.db.schema import SCHEMA


def type_(url: str, *words: str) -> int:
    """Run a command on this database and return its exit code."""
    return run([*words, "--database", url], {})


@pytest.fixture
def filled(url: str) -> str:
    """Return a database with a video in each state and the history of a doubt."""
    claim = {"claim_token": "t", "claimed_by": "w", "lease_until": "2030-01-01 00:00:00"}
    rows = [
        {
            "url": f"https://x.example/{state}.mp4",
            "media_id": f"m-{state}",
            "state": state,
            "job_id": "j" if state == "submitted" else None,
            "claims": 1,
            "attempts": 1,
            "error": state,
            **claim,
        }
        for state in ("pending", "submitting", "submitted", "failed", "in_doubt", "cancelled")
    ]
    insert_all(url, "videos", rows)
    fact = {"attempt": 1, "at": "2026-01-01 00:00:00", "who": "w"}
    facts = [
        {"video_id": 5, "fact": "in_doubt", "message": "lost", "job_id": None, **fact},
        {"video_id": 3, "fact": "accepted", "message": None, "job_id": "j", **fact},
    ]
    insert_all(url, "history", facts)
    return url


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (1, "it is due"),
        (2, "worker w is sending it"),
        (3, "the API is asked about its job"),
        (4, "valossa-ingest retry id=4"),
        (5, "retry id=5 --may-buy-twice"),
        (6, "retry id=6 takes it up again"),
    ],
)
def test_show_says_what_happens_next(
    filled: str, capsys: pytest.CaptureFixture[str], number: int, word: str
) -> None:
    """``show`` says the next event of a video in each state."""
    assert 0 == type_(filled, "show", str(number), "--json")
    (story,) = json.loads(capsys.readouterr().out)
    assert word in story["next"]


@pytest.mark.parametrize("reference", ["5", "m-in_doubt"])
def test_show_tells_the_story_and_the_request(
    filled: str, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    """``show`` prints the history and the request of a video."""
    assert 0 == type_(filled, "show", reference)
    said = capsys.readouterr().out
    assert "https://x.example/in_doubt.mp4" in said
    assert "\tin_doubt\t" in said
    assert '"customer_media_info"' in said


def test_show_finds_a_video_by_its_job(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``show`` finds a video by its job id."""
    assert 0 == type_(filled, "show", "j", "--json")
    assert 3 == json.loads(capsys.readouterr().out)[0]["video"]["id"]


def test_show_says_that_nothing_has_this_name(
    filled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reference of no video is exit 1 and a sentence."""
    assert 1 == type_(filled, "show", "nobody")
    assert "no video has 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ((), [1, 2, 3, 4, 5, 6]),
        (("--state", "failed", "--state", "in_doubt"), [4, 5]),
        (("--error-like", "submitt"), [2, 3]),
        (("--error-like", "%"), []),
        (("--since", "2999-01-01"), []),
        (("2", "6"), [2, 6]),
        (("--limit", "2"), [1, 2]),
    ],
)
def test_list_shows_what_the_filters_mean(
    filled: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], ids: list[int]
) -> None:
    """``list`` shows exactly the videos that the filters mean."""
    assert 0 == type_(filled, "list", *words, "--json")
    assert ids == [row["id"] for row in json.loads(capsys.readouterr().out)]
    assert 0 == type_(filled, "list", *words)
    assert 1 + len(ids) == len(capsys.readouterr().out.splitlines())


def test_status_is_the_queue_in_numbers(filled: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``status`` counts what is left and what was bought."""
    assert 0 == type_(filled, "status", "--json")
    told = json.loads(capsys.readouterr().out)
    assert (1, 1, 1, 1, 0, "1 per 1 s") == (
        told["pending"],
        told["due_now"],
        told["in_doubt"],
        told["accepted_in_all"],
        told["possibly_bought_twice"],
        told["pace"],
    )
    assert 0 == type_(filled, "status")
    assert "1 failed: valossa-ingest why" in capsys.readouterr().out


def test_check_says_all_problems_at_once_and_spends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``check`` names every problem at once."""
    assert 78 == type_(str(tmp_path / "none.db"), "check", "--json")
    told = json.loads(capsys.readouterr().out)
    assert 2 <= len(told["problems"])
    assert any("no database at" in problem for problem in told["problems"])
    assert any("no API key" in problem for problem in told["problems"])


@pytest.mark.slow
def test_the_demo_runs_once_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo submits its list, and refuses the folder when it runs again."""
    assert 0 == run(["demo", "--keep", str(tmp_path)], {})
    said = capsys.readouterr().out
    assert "submitted\t39" in said
    assert "accepted 39 jobs" in said
    assert 78 == run(["demo", "--keep", str(tmp_path)], {})


def test_migrate_makes_a_database_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``migrate`` prints the path and the schema of the database."""
    path = tmp_path / "new.db"
    assert 0 == type_(str(path), "migrate")
    assert f"{path} is at schema {SCHEMA}\n" == capsys.readouterr().out
    assert 0 == type_(str(path), "status")
