"""A batch, seen by a person: named at its import, found, counted, exported and undone."""

import re
import sys
from pathlib import Path

from tests.cli.conftest import Cli

ONE, TWO, THREE = (f"https://videos.example/{number}.mp4" for number in (1, 2, 3))


def write(folder: Path, text: str, name: str = "talks.csv") -> Path:
    """Write a list."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def batches(cli: Cli) -> list[str | None]:
    """Return the batch of each video, by id."""
    return cli.sql("SELECT batch FROM videos ORDER BY id")


def is_of_a_day(name: object, file: str) -> bool:
    """Return True for the name of a batch that a file brings on a day."""
    return re.fullmatch(rf"{re.escape(file)} \d{{4}}-\d\d-\d\d", str(name)) is not None


def test_an_import_names_its_batch_by_file_and_day(cli: Cli, tmp_path: Path) -> None:
    """Rows without a batch get the file's name and the day; standard input is called stdin."""
    lists = [write(tmp_path, f"url\n{ONE}\n"), write(tmp_path, f"url\n{TWO}\n", "more.csv")]
    assert 0 == cli("import", *lists).code
    before = sys.stdin
    with write(tmp_path, f"url\n{THREE}\n", "typed").open() as sys.stdin:
        assert 0 == cli("import", "-").code
    sys.stdin = before
    files = ("talks.csv", "more.csv", "stdin")
    assert [True] * 3 == [*map(is_of_a_day, batches(cli), files)]


def test_a_batch_has_the_name_that_it_is_given(cli: Cli, tmp_path: Path) -> None:
    """--batch names the rows of an import or an add; else a column of the list does."""
    named = write(tmp_path, f"url,batch\n{ONE},theirs\n")
    assert 0 == cli("import", named, "--batch", " spring ").code
    assert 0 == cli("import", write(tmp_path, f"url,batch\n{TWO},theirs\n")).code
    assert 0 == cli("add", THREE, "--batch", "spring").code
    assert ["spring", "theirs", "spring"] == batches(cli)


def test_a_name_is_cut_where_an_index_of_a_server_ends(cli: Cli) -> None:
    """A name has 200 characters at most; an empty one is none."""
    assert 0 == cli("add", ONE, "--batch", "ä" * 300).code
    assert 0 == cli("add", TWO, "--batch", "").code
    assert ["ä" * 200, None] == batches(cli)


def test_an_update_leaves_the_batch(cli: Cli, tmp_path: Path) -> None:
    """An import --update gives new rows the batch of the file, and leaves that of known ones."""
    assert 0 == cli("import", write(tmp_path, f"url\n{ONE}\n"), "--batch", "spring").code
    update = write(tmp_path, f"url,title\n{ONE},new\n{TWO},new\n")
    assert 0 == cli("import", "--update", update).code
    assert [("spring", "new")] == cli.sql("SELECT batch, title FROM videos WHERE id = 1")
    assert is_of_a_day(cli.row(2)["batch"], "talks.csv")


def test_every_command_finds_the_videos_of_a_batch(cli: Cli) -> None:
    """list, export, retry, cancel and why take --batch."""
    for batch in ("a", "b"):
        for state in ("failed", "pending"):
            cli.insert(batch=batch, state=state, error="no")
    assert [1, 2] == [row["id"] for row in cli("list", "--batch", "a", "--json").json()]
    exported = cli("export", "--batch", "a", "--columns", "url,batch").out.splitlines()
    assert (3, {"batch", "a"}) == (len(exported), {line.partition(",")[2] for line in exported})
    assert [1] == [group["videos"] for group in cli("why", "--batch", "a", "--json").json()]
    assert {"retried": 1, "left": {"pending": 1}} == cli("retry", "--batch", "a", "--json").json()
    assert 0 == cli("cancel", "--batch", "b").code
    assert ["pending"] * 2 + ["cancelled"] * 2 == cli.sql("SELECT state FROM videos ORDER BY id")


def test_status_counts_the_newest_batches(cli: Cli) -> None:
    """It shows three batches at most, the newest first, with the videos of each state."""
    for number, state in enumerate(("failed", "failed", "in_doubt", "pending", "cancelled")):
        cli.insert(batch=f"batch {number}", state=state)
    cli.insert(batch="batch 3", state="submitted", job_id="job-1")
    cli.insert(state="pending")
    expected = {
        "batch 3": {"pending": 1, "submitted": 1},
        "batch 4": {"cancelled": 1, "submitted": 0},
        "batch 2": {"in_doubt": 1, "submitted": 0},
    }
    found = cli("status", "--json").json()["batches"]
    assert (expected, list(expected)) == (found, list(found))
    told = "1, the newest batches: batch 3: 1 pending, 1 submitted; batch 4: 1 cancelled"
    assert told in cli("status").out.replace("2, the", "1, the")


def test_an_export_keeps_the_batch(cli: Cli, tmp_path: Path) -> None:
    """An export has the batch of each video, and an import of it gives it back."""
    cli.insert(batch="=1+1", media_id="a")
    for form in ((), ("--json-lines",)):
        said = cli("export", *form, "--columns", "url,media_id,batch")
        other = Cli(str(tmp_path / f"{len(form)}.db"), cli.capsys)
        assert 0 == other("import", write(tmp_path, said.out)).code
        assert ["=1+1"] == batches(other)


WRONG = f"media_id,url\na,{ONE}\nb,{TWO}\n"


def test_a_wrong_import_is_undone_by_its_batch(cli: Cli, tmp_path: Path) -> None:
    """After cancel --batch the right list goes in, whichever of its values the wrong one had."""
    assert 0 == cli("import", write(tmp_path, WRONG), "--batch", "wrong").code
    assert 0 == cli("cancel", "--batch", "wrong").code
    right = write(tmp_path, f"media_id,url\nb,{ONE}\na,{TWO}\nc,{THREE}\n")
    said = cli("import", right, "--batch", "right", "--json")
    assert (0, {}) == (said.code, said.json()["rejected"])
    want = sorted([("b", ONE), ("a", TWO), ("c", THREE)])
    found = cli.sql("SELECT media_id, url FROM videos WHERE batch = 'right' AND state = 'pending'")
    assert want == sorted(found)


def test_a_row_is_not_lost_where_another_takes_the_address_of_its_cancelled_one(
    cli: Cli, tmp_path: Path
) -> None:
    """A cancelled video is brought back for one row of a list, and not once more for another."""
    assert 0 == cli("import", write(tmp_path, f"media_id,url\na,{ONE}\n"), "--batch", "x").code
    assert 0 == cli("cancel", "--batch", "x").code
    assert 0 == cli("import", write(tmp_path, f"media_id,url\na,{TWO}\nb,{ONE}\n")).code
    assert [("a", TWO), ("b", ONE)] == cli.sql("SELECT media_id, url FROM videos ORDER BY id")


def test_law_17_an_undo_leaves_what_was_handed_in(cli: Cli, tmp_path: Path) -> None:
    """Law 17: after cancel --batch the addresses that were bought are skipped as before."""
    assert 0 == cli("import", write(tmp_path, WRONG), "--batch", "wrong").code
    cli.sql("UPDATE videos SET state = 'submitted', job_id = 'job-1' WHERE id = 1")
    assert 0 == cli("cancel", "--batch", "wrong").code
    again = cli("import", write(tmp_path, WRONG), "--batch", "again", "--json").json()
    assert (1, 1) == (again["brought_back"], sum(again["skipped"].values()))
    assert [("submitted", "wrong"), ("pending", "again")] == cli.sql(
        "SELECT state, batch FROM videos ORDER BY id"
    )
