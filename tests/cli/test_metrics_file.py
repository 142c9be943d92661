from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from worker.cli import run


def status(path: Path, file: Path) -> int:
    """Run ``status`` with a metrics file and return its exit code."""
    return run(["status", "--database", str(path), "--metrics-file", str(file)], {})


def test_status_writes_the_metrics_of_the_queue(path: Path, tmp_path: Path) -> None:
    """The file has the queue's numbers, and says which queue it is."""
    assert 0 == status(path, tmp_path / "x.prom")
    text = (tmp_path / "x.prom").read_text()
    assert f'\nvalossa_ingest_videos{{queue="{path}",state="pending"}} 0.0\n' in text
    assert f'\nvalossa_ingest_verdict{{queue="{path}",state="idle"}} 1.0\n' in text


def test_status_says_why_it_cannot_write(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be written is named with its reason, after the status."""
    file = tmp_path / "no" / "x.prom"
    assert 78 == status(path, file)
    out, err = capsys.readouterr()
    assert "idle" in out
    problem = f"{file} cannot be written: No such file or directory: name another --metrics-file"
    assert f"valossa-ingest: {problem}\n" == err


@pytest.mark.parametrize("flag", ["--metrics-file", "--html"])
def test_a_file_that_cannot_be_replaced_leaves_no_part(cli: Cli, tmp_path: Path, flag: str) -> None:
    """A file that cannot get its name is taken away."""
    folder = tmp_path / "out"
    (folder / "queue").mkdir(parents=True)
    said = cli("status", flag, folder / "queue")
    assert "queue cannot be written: Is a directory" in said.err
    assert [folder / "queue"] == [*folder.iterdir()]
