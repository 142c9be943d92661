from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from worker import opening

REFUSED = (
    ("add", "https://example.com/a.mp4"),
    ("retry", "1"),
    ("cancel", "1"),
    ("resolve", "1", "--give-up"),
    ("reconcile",),
    ("audit",),
    ("pause",),
    ("resume",),
    ("drain",),
    ("run",),
)
READ = (
    ("status",),
    ("list",),
    ("show", "1"),
    ("export",),
    ("why",),
    ("workers",),
)


@pytest.fixture
def new(cli: Cli, tmp_path: Path) -> Cli:
    """Where the queue moves to; nothing is there."""
    return Cli(str(tmp_path / "new.db"), cli.capsys)


@pytest.fixture
def moved(cli: Cli, new: Cli) -> str:
    """The name of the place to which a queue with a video in each state of rest has moved."""
    for state in ("pending", "failed", "in_doubt"):
        cli.insert(state=state, claims=1)
    cli.insert(state="submitted", job_id="job-1")
    assert 0 == cli.bare("move", "--from", cli.url, "--to", new.url).code
    return f"sqlite:///{new.path}"


def test_a_queue_moves_and_says_what_to_change(cli: Cli, new: Cli) -> None:
    """Every worker would go on with the old one."""
    cli.insert(title="a")
    cli.insert(state="submitted", job_id="job-1")
    said = cli.bare("move", "--from", cli.url, "--to", f"sqlite:///{new.path}")
    assert (0, "") == (said.code, said.err)
    counts = said.pairs()
    assert ("1", "1", "0", "2", "0") == tuple(
        counts[name] for name in ("pending", "submitted", "history", "copied, videos", "in doubt")
    )
    told = said.out.splitlines()[-1]
    assert f"the queue is in sqlite:///{new.path} now: make that the database_url of every" in told
    assert f"{opening.shown(cli.url)} stays as it is, to be read" in told
    assert cli.row(1) == new.row(1) | {n: cli.row(1)[n] for n in ("due_at", *STAMPS)}
    assert "1" == new("status").pairs()["submitted"]


STAMPS = ("created_at", "updated_at")
"""Moments, which the copy writes with all their digits."""


def test_a_move_counts_in_json(cli: Cli, new: Cli) -> None:
    """A script would have to read sentences."""
    cli.insert()
    typed = ("move", "--json", "--from", cli.url, "--to", new.url)
    told = cli.bare(*typed).json()
    assert {"videos": 1, "history": 0} == told["copied"]
    assert (1, 0) == (told["videos"]["pending"], told["history"])
    assert (opening.shown(cli.url), f"sqlite:///{new.path}") == (told["from"], told["to"])
    again = cli.bare(*typed)
    assert (0, {}) == (again.code, again.json()["copied"])


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: words[0])
def test_nothing_is_changed_in_a_queue_that_has_moved(
    cli: Cli, moved: str, words: tuple[str, ...]
) -> None:
    """It would vanish: an idle cron job would drain the old file, a video be added to it."""
    before = cli.sql("SELECT * FROM videos")
    said = cli(*words, VALOSSA_API_KEY="demo-key")
    assert 78 == said.code
    expected = f"database {cli.shown} has moved to {moved}: name that one with --database or WORKER"
    assert expected in said.err
    assert before == cli.sql("SELECT * FROM videos")


def test_a_list_is_not_brought_into_a_queue_that_has_moved(
    cli: Cli, moved: str, listed: Callable[..., Path]
) -> None:
    """Its videos would never be sent."""
    said = cli("import", listed("url", "https://example.com/a.mp4"))
    assert 78 == said.code
    assert f"has moved to {moved}" in said.err


@pytest.mark.parametrize("words", READ, ids=lambda words: words[0])
def test_a_queue_that_has_moved_can_be_read(cli: Cli, moved: str, words: tuple[str, ...]) -> None:
    """What was there when it moved could not be looked up any more."""
    assert moved
    said = cli(*words)
    assert (0, "") == (said.code, said.err)


def test_a_check_says_that_the_queue_has_moved(cli: Cli, moved: str) -> None:
    """Whoever looks why nothing goes on would be told that all is ready."""
    said = cli("check", VALOSSA_API_KEY="demo-key")
    assert 78 == said.code
    assert f"has moved to {moved}" in said.err


def test_status_says_where_to(cli: Cli, moved: str) -> None:
    """The mark could be seen by SQL alone."""
    assert moved == cli("status").pairs()["moved to"]
    assert cli("status", "--json").json()["moved_to"] == moved


def test_a_queue_does_not_move_onto_itself(cli: Cli) -> None:
    """It would be marked as moved, and be worked on nowhere."""
    said = cli.bare("move", "--from", cli.url, "--to", opening.shown(cli.url))
    assert 78 == said.code
    assert f"--from and --to are both {opening.shown(cli.url)}: name another with --to" in said.err


def test_a_source_that_is_missing_makes_no_target(new: Cli, tmp_path: Path) -> None:
    """A typing error would leave an empty queue behind."""
    said = new.bare("move", "--from", tmp_path / "missing.db", "--to", new.url)
    assert 78 == said.code
    assert f"no database at {tmp_path / 'missing.db'}: run" in said.err
    assert not new.path.exists()


def test_a_target_that_is_gone_is_not_made_again(cli: Cli, new: Cli, moved: str) -> None:
    """What ran there is not known any more, and would be bought twice."""
    new.path.unlink()
    said = cli.bare("move", "--from", cli.url, "--to", new.url)
    assert 78 == said.code
    assert f"has moved to {moved}, which is missing: restore a backup of it" in said.err
    assert not new.path.exists()


def test_a_move_to_a_third_place_is_refused(cli: Cli, moved: str, tmp_path: Path) -> None:
    """The old state of a queue would be worked on beside the new one."""
    said = cli.bare("move", "--from", cli.url, "--to", tmp_path / "third.db")
    assert 78 == said.code
    assert f"has moved to {moved}" in said.err
    assert not (tmp_path / "third.db").exists()


def test_a_queue_can_move_on(cli: Cli, new: Cli, moved: str, tmp_path: Path) -> None:
    """A queue could move once in its life."""
    third = Cli(str(tmp_path / "third.db"), cli.capsys)
    assert 0 == cli.bare("move", "--from", moved, "--to", third.path).code
    assert f"sqlite:///{third.path}" == new("status").pairs()["moved to"]
    assert "-" == third("status").pairs()["moved to"]
    assert "5" == third("add", "https://example.com/a.mp4").out.strip()


def test_a_password_is_not_shown(cli: Cli) -> None:
    """It would stand in the old queue for ever (law 11)."""
    said = cli.bare("move", "--from", cli.url, "--to", "mysql://me:secret@host/x")
    assert 78 == said.code
    assert "secret" not in said.err + said.out
