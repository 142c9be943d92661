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

    It takes at most a minute and needs no key; a shell takes the commands that it shows, also where
    a path has a blank.
    """
    fresh = Cli(str(tmp_path / "a folder" / "videos.db"), capsys)
    began = time.monotonic()
    program = tmp_path / "a program"
    program.write_text("from worker.__main__ import main; main()")
    done = demo(fresh.path.parent, str(program))
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
    assert [str(program), "import", "YOUR-LIST.csv"] == shlex.split(lines[-1])[-3:]
    assert 40 == len(fresh.sql("SELECT DISTINCT media_id FROM videos"))


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
    assert (78, refusal(f"{taken}: File exists")) == (said.code, said.err)


def test_the_demo_leaves_a_queue_that_is_there_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo refuses the folder of a queue, whose videos it would hand in to its imitation."""
    theirs = Cli(str(tmp_path / "videos.db"), capsys)
    assert 0 == theirs("add", "https://a.example.com/1.mp4").code
    said = theirs.bare("demo", "--keep", tmp_path)
    assert (78, refusal(f"{theirs.path}: File exists")) == (said.code, said.err)
    assert ["pending"] == theirs.sql("SELECT state FROM videos")


def test_a_machine_without_a_temporary_folder_is_one_sentence(tmp_path: Path) -> None:
    """The demo needs a folder to write into: where there is none, it says so, with exit 78."""
    writes_nothing = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh"]
    unmeasured = {n: each for n, each in surroundings().items() if not n.startswith("COVERAGE_")}
    done = subprocess.run(
        [*writes_nothing, sys.executable, "-m", "worker", "demo"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**unmeasured, "PYTHONPATH": str(CHECKOUT)},
        timeout=60,
        check=False,
    )
    assert (78, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "valossa-ingest: No usable temporary directory found in " in done.stderr


def refusal(problem: str) -> str:
    """Return the demo's refusal of a folder, as it is printed."""
    return f"valossa-ingest: {problem}: name a new folder with --keep\n"
