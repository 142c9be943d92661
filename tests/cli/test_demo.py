import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CHECKOUT, Cli, Screen, surroundings


def demo(folder: Path, *program: str) -> subprocess.CompletedProcess[str]:
    """Run the demo in a process of its own."""
    return subprocess.run(
        [sys.executable, *program, "demo", "--keep", str(folder)],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env={**surroundings(), "PYTHONPATH": str(CHECKOUT)},
        timeout=180,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_shows_the_main_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The demo imports 40 films, submits 39 of them and shows the one refusal.

    It takes at most a minute, needs no key and can be repeated; a shell takes the commands that it
    shows, also where a path has a blank.
    """
    fresh = Cli(str(tmp_path / "a folder" / "videos.db"), capsys)
    began = time.monotonic()
    done = demo(fresh.path.parent, "-m", "worker")
    seconds = time.monotonic() - began
    assert (0, "") == (done.returncode, done.stderr)
    assert 60 == max(60, seconds)
    lines = done.stdout.splitlines()
    table = lines[lines.index("state\tvideos") :][1:3]
    assert ["failed\t1", "submitted\t39"] == table
    assert ["rows read  40", "added      40"] == [line for line in lines if line[-4:] == "  40"]
    found = "The imitation accepted 39 jobs; the one whose answer was lost was found in its list."
    assert found in lines
    told = next(line for line in lines if line.startswith("Of these, 39 have ended."))
    assert told.endswith(" ended in error: The video could not be downloaded: HTTP 404.")
    (video,) = fresh.sql("SELECT video_id FROM jobs WHERE ended_as = 'error'")
    assert f"That of video {video} " in told
    assert 38 == fresh.sql("SELECT ended_as FROM jobs").count("finished")
    assert any("its 2.50 EUR were spent for nothing" in line for line in lines)
    rows = [line.split("\t") for line in lines if line.count("\t") == 3][1:]
    assert ["failed"] == [state for _, state, _, _ in rows]
    shown = [line for line in lines if line.startswith("More about ")]
    assert [["--database", str(fresh.path)]] == [shlex.split(line)[-2:] for line in shown]
    for number, state, title, why in rows:
        said = fresh("show", number)
        assert 0 == said.code
        stored = fresh.row(int(number))
        assert (state, title, why) == (stored["state"], stored["title"], stored["error"])
    assert "import" in lines[-1]
    assert 40 == len(fresh.sql("SELECT DISTINCT media_id FROM videos"))
    program = tmp_path / "a program"
    program.write_text("from worker.__main__ import main; main()")
    again = demo(fresh.path.parent, str(program))
    assert (0, table) == (again.returncode, [x for x in again.stdout.splitlines() if x in table])
    assert [str(program), "import", "YOUR-LIST.csv"] == shlex.split(again.stdout)[-3:]


@pytest.mark.slow
def test_the_demo_on_a_terminal_shows_its_progress(
    tmp_path: Path, screen: Callable[..., Screen]
) -> None:
    """On a terminal the demo shows its progress, and tables without tabs."""
    program = screen("demo", "--keep", tmp_path / "demo")
    assert 0 == program.ended()
    assert "ETA " in program.shown
    assert "What became of them" in program.shown
    assert "The few that want a person" in program.shown
    assert "\t" not in program.shown


def test_a_folder_that_cannot_be_made_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    """A folder that cannot be made is named in one sentence, with exit 78."""
    taken = tmp_path / "file"
    taken.write_text("")
    said = cli.bare("demo", "--keep", taken)
    assert (78, f"valossa-ingest: {taken}: File exists\n") == (said.code, said.err)


def test_a_database_that_cannot_be_made_there_is_one_sentence(cli: Cli, tmp_path: Path) -> None:
    """A database that cannot be made is named in one sentence, with exit 78."""
    folder = tmp_path / "kept"
    (folder / "videos.db").mkdir(parents=True)
    said = cli.bare("demo", "--keep", folder)
    assert (78, 1) == (said.code, len(said.err.splitlines()))
    assert f"database {folder / 'videos.db'}" in said.err
