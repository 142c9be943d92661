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
    ("release", "--host", "videos.example"),
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
    """Return the target of the move; nothing is there."""
    return Cli(str(tmp_path / "new.db"), cli.capsys)


@pytest.fixture
def moved(cli: Cli, new: Cli) -> str:
    """Return the URL to which a queue has moved that had a video in each state of rest."""
    for state in ("pending", "failed", "in_doubt"):
        cli.insert(state=state, claims=1)
    cli.insert(state="submitted", job_id="job-1")
    assert 0 == cli.bare("move", "--from", cli.url, "--to", new.url).code
    return f"sqlite:///{new.path}"


def test_a_queue_moves_and_says_what_to_change(cli: Cli, new: Cli) -> None:
    """A move copies every row and names the setting to change."""
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
    """The JSON document has the counts and both addresses."""
    cli.insert()
    typed = ("move", "--json", "--from", cli.url, "--to", new.url)
    told = cli.bare(*typed).json()
    assert {"jobs": 0, "videos": 1, "uploads": 0, "history": 0, "pruned": 0} == told["copied"]
    assert (1, 0) == (told["videos"]["pending"], told["history"])
    assert (opening.shown(cli.url), f"sqlite:///{new.path}") == (told["from"], told["to"])
    again = cli.bare(*typed)
    assert (0, {}) == (again.code, again.json()["copied"])


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: words[0])
def test_nothing_is_changed_in_a_queue_that_has_moved(
    cli: Cli, moved: str, words: tuple[str, ...]
) -> None:
    """A command that changes a queue that has moved is exit 78 and changes nothing."""
    before = cli.sql("SELECT * FROM videos")
    said = cli(*words, VALOSSA_API_KEY="demo-key")
    assert 78 == said.code
    expected = f"database {cli.shown} has moved to {moved}: name that one with --database or WORKER"
    assert expected in said.err
    assert before == cli.sql("SELECT * FROM videos")


def test_a_list_is_not_brought_into_a_queue_that_has_moved(
    cli: Cli, moved: str, listed: Callable[..., Path]
) -> None:
    """An import into a queue that has moved is exit 78."""
    said = cli("import", listed("url", "https://example.com/a.mp4"))
    assert 78 == said.code
    assert f"has moved to {moved}" in said.err


@pytest.mark.parametrize("words", READ, ids=lambda words: words[0])
def test_a_queue_that_has_moved_can_be_read(cli: Cli, moved: str, words: tuple[str, ...]) -> None:
    """Commands that only read work on a queue that has moved."""
    assert moved
    said = cli(*words)
    assert (0, "") == (said.code, said.err)


def test_a_check_says_that_the_queue_has_moved(cli: Cli, moved: str) -> None:
    """``check`` says that the queue has moved."""
    said = cli("check", VALOSSA_API_KEY="demo-key")
    assert 78 == said.code
    assert f"has moved to {moved}" in said.err


def test_status_says_where_to(cli: Cli, moved: str) -> None:
    """``status`` shows the new address."""
    assert moved == cli("status").pairs()["moved to"]
    assert cli("status", "--json").json()["moved_to"] == moved


def test_a_queue_does_not_move_onto_itself(cli: Cli) -> None:
    """A move onto the same database is refused."""
    said = cli.bare("move", "--from", cli.url, "--to", opening.shown(cli.url))
    assert 78 == said.code
    assert f"--from and --to are both {opening.shown(cli.url)}: name another with --to" in said.err


def test_a_file_does_not_move_onto_itself_by_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to the queue's own file is refused, and nothing is marked, also where it is empty."""
    queue, link = Cli(str(tmp_path / "videos.db"), capsys), tmp_path / "link.db"
    assert 0 == queue("migrate").code
    link.symlink_to(queue.path)
    for one, other in ((queue.path, link), (link, queue.path)):
        said = queue.bare("move", "--from", one, "--to", other)
        names = f"--from sqlite:///{one} and --to sqlite:///{other} are one file"
        assert (78, f"valossa-ingest: {names}: name another with --to\n") == (said.code, said.err)
    assert 0 == queue("add", "https://videos.example/1.mp4").code


def test_a_source_that_is_missing_makes_no_target(new: Cli, tmp_path: Path) -> None:
    """A missing source leaves no target behind."""
    said = new.bare("move", "--from", tmp_path / "missing.db", "--to", new.url)
    assert 78 == said.code
    way = "name the queue as it is now with --from"
    assert f"valossa-ingest: no database at {tmp_path / 'missing.db'}: {way}\n" == said.err
    assert not new.path.exists()


def test_a_target_that_is_gone_is_not_made_again(cli: Cli, new: Cli, moved: str) -> None:
    """A target that is gone is not made again."""
    new.path.unlink()
    said = cli.bare("move", "--from", cli.url, "--to", new.url)
    assert 78 == said.code
    assert f"has moved to {moved}, which is missing: restore a backup of it" in said.err
    assert not new.path.exists()


def test_a_move_to_a_third_place_is_refused(cli: Cli, moved: str, tmp_path: Path) -> None:
    """A queue that has moved does not move to a third place."""
    said = cli.bare("move", "--from", cli.url, "--to", tmp_path / "third.db")
    assert 78 == said.code
    assert f"has moved to {moved}" in said.err
    assert not (tmp_path / "third.db").exists()


def test_a_queue_can_move_on(cli: Cli, new: Cli, moved: str, tmp_path: Path) -> None:
    """A queue moves on from where it is."""
    third = Cli(str(tmp_path / "third.db"), cli.capsys)
    assert 0 == cli.bare("move", "--from", moved, "--to", third.path).code
    assert f"sqlite:///{third.path}" == new("status").pairs()["moved to"]
    assert "moved to" not in third("status").pairs()
    assert "5" == third("add", "https://example.com/a.mp4").out.strip()


def test_a_password_is_not_shown(cli: Cli) -> None:
    """A password in a URL is not printed (law 11)."""
    said = cli.bare("move", "--from", cli.url, "--to", "mysql://me:secret@host/x")
    assert 78 == said.code
    assert "secret" not in said.err + said.out
