import gzip
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Beside, Cli, Said, Screen
from worker.simulator import Options, Simulator

Start = Callable[[Options], Beside]
AT = "2026-01-31 10:00:00"


@pytest.fixture
def folder(cli: Cli, tmp_path: Path) -> Path:
    """Return the folder of the results that the settings name."""
    made = tmp_path / "results"
    (made / "2026-01").mkdir(parents=True)
    cli.environment["WORKER_RESULTS_DIR"] = str(made)
    return made


def stored(cli: Cli, folder: Path, job_id: str = "j", data: bytes = b"data") -> Path:
    """Write a result as a run has stored it; return its file."""
    cli.insert(url=f"https://v/{job_id}", state="submitted", job_id=job_id, submitted_at=AT)
    cli.sql("UPDATE jobs SET ended_as = 'finished', ended_at = ? WHERE job_id = ?", AT, job_id)
    name = f"2026-01/{job_id}.core.json.gz"
    (folder / name).write_bytes(data)
    cli.sql(
        "INSERT INTO results (job_id, type, state, path, bytes, sha256, fetched_at) "
        "VALUES (?, 'core', 'stored', ?, ?, ?, ?)",
        *(job_id, name, len(data), hashlib.sha256(data).hexdigest(), AT),
    )
    return folder / name


def test_verify_says_what_is_missing_cut_or_changed(cli: Cli, folder: Path) -> None:
    """Every stored file is compared with its row by its hash; what differs is named."""
    stored(cli, folder, "right")
    assert (0, "1 checked: 1 as they were fetched, 0 wrong") == (
        (said := cli("results", "verify")).code,
        said.out.splitlines()[-1],
    )
    stored(cli, folder, "cut").write_bytes(b"dat")
    stored(cli, folder, "changed").write_bytes(b"DATA")
    stored(cli, folder, "missing").unlink()
    said = cli("results", "verify")
    faults = {(word, f"2026-01/{word}.core.json.gz") for word in ("cut", "changed", "missing")}
    assert faults == {tuple(row) for row in said.rows() if len(row) == 2 and row[0] != "fault"}
    last = "4 checked: 1 as they were fetched, 3 wrong"
    assert (1, last) == (said.code, said.out.splitlines()[-1])
    assert "results fetch --missing" in said.err
    shown = cli("results", "verify", "--json").json()
    assert (1, faults) == (shown["verified"], {(e["fault"], e["path"]) for e in shown["wrong"]})


def test_list_shows_every_result(cli: Cli, folder: Path) -> None:
    """Each result is a line, or an object with its video, its job and its file."""
    assert [] == cli("results", "list", "--json").json()
    stored(cli, folder)
    (row,) = cli("results", "list", "--json").json()
    assert (1, "j", "core", "stored", 4) == tuple(
        row[name] for name in ("video_id", "job_id", "type", "state", "bytes")
    )
    assert [["1", "j", "core", "stored"]] == [r[:4] for r in cli("results", "list").rows()[1:]]


@pytest.mark.parametrize("columns", [120, 80, 50])
def test_a_terminal_of_any_width_shows_a_result_whole(
    cli: Cli, folder: Path, screen: Callable[..., Screen], columns: int
) -> None:
    """A result is a line on 120 columns and a block on fewer, with its video and its whole path."""
    job_id, kind = "246dd397-3300-4aaf-9adb-4af3d70b3110", "speech_to_text_avid_txt"
    path = f"2026-01/{job_id}.{kind}.txt"
    stored(cli, folder, job_id)
    cli.sql("UPDATE results SET type = ?, path = ?", kind, path)
    cli.sql("INSERT INTO results (job_id, type) VALUES (?, 'core')", job_id)
    program = screen("results", "list", "--database", cli.url, columns=columns)
    assert 0 == program.ended()
    shown = re.sub(r"\x1b\[[0-9;]*m|─", "", program.shown).split()
    as_lines = f"video_id state bytes result error 1 wanted {job_id} core 1 stored 4 {path}"
    first, second = f"video_id 1 state wanted result {job_id} core", f"bytes 4 result {path}"
    as_blocks = f"{first} video_id 1 state stored {second}"
    assert (as_lines if columns == 120 else as_blocks).split() == shown


def test_many_results_are_read_by_pages(cli: Cli, folder: Path) -> None:
    """Each result is listed and verified once, however many pages they fill."""
    stored(cli, folder)
    more = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
    cli.sql(f"INSERT INTO results (job_id, type) {more} SELECT 'j', 't' || i FROM n")
    cli.sql(
        "UPDATE results SET state = 'stored', path = 'p', sha256 = 's', bytes = 1 WHERE type > 't'"
    )
    listed = [row["type"] for row in cli("results", "list", "--json").json()]
    assert (1201, sorted({*listed})) == (len(listed), listed)
    assert 1202 == len(cli("results", "list").rows())
    last = "1,201 checked: 1 as they were fetched, 1,200 wrong"
    assert last == cli("results", "verify").out.splitlines()[-1]


def fetch(cli: Cli, api: Simulator, *words: str) -> Said:
    """Fetch by the imitation."""
    settings = {"WORKER_API_URL": api.url, "WORKER_RATE": "1000", "VALOSSA_API_KEY": "demo-key"}
    return cli("results", "fetch", *words, "--json", **settings)


def test_fetch_missing_wants_what_is_not_there(cli: Cli, folder: Path, beside: Start) -> None:
    """A finished job that nobody has fetched, a failure and a lost file are fetched; what is there
    is not. Without --missing only what is wanted is.
    """
    with beside(Options(finished_share=1.0)) as api:
        env = {"WORKER_API_URL": api.url, "VALOSSA_API_KEY": "demo-key", "WORKER_RATE": "1000"}
        for number in range(3):
            cli.insert(url=f"https://videos.example/{number}.mp4")
        assert 0 == cli("drain", WORKER_FOLLOW="off", **env).code
        cli.sql("UPDATE jobs SET ended_as = 'finished', ended_at = ?", AT)
        assert {"stored": 0, "wanted": 0, "failed": 0} == fetch(cli, api).json()

        assert {"stored": 3, "wanted": 0, "failed": 0} == fetch(cli, api, "--missing").json()

        kept, lost, _ = sorted(folder.rglob("*.gz"))
        before = kept.stat().st_mtime_ns
        lost.unlink()
        names = [str(each.relative_to(folder)) for each in (kept, lost)]
        cli.sql("UPDATE results SET state = 'failed' WHERE path NOT IN (?, ?)", *names)
        assert 0 == fetch(cli, api, "--missing").code
        assert before == kept.stat().st_mtime_ns
        assert 3 == len([gzip.decompress(each.read_bytes()) for each in folder.rglob("*.gz")])
        assert 0 == cli("results", "verify").code


def test_what_fails_or_waits_has_a_code_of_its_own(cli: Cli, folder: Path, beside: Start) -> None:
    """A result that has failed exits by 1, one that is still wanted by 75."""
    with beside(Options()) as api:
        stored(cli, folder).unlink()
        cli.sql("UPDATE results SET state = 'failed'")
        assert 75 == fetch(cli, api, "--missing").code  # the API knows no such job
        cli.sql("UPDATE results SET state = 'failed'")
        assert 1 == fetch(cli, api).code


def test_a_refused_key_has_a_code_of_its_own(cli: Cli, folder: Path, beside: Start) -> None:
    """A key that is refused exits by 77, and is named; a fetch by one that is taken does not."""
    with beside(Options(keys=frozenset({"another"}))) as api:
        stored(cli, folder).unlink()
        said = fetch(cli, api, "--missing")
        assert (77, 1) == (said.code, said.json()["wanted"])
        assert "valossa-ingest: HTTP 401: " in said.err
        assert "valossa-ingest check --online" in said.err
        cli.sql("UPDATE results SET next_try_at = ?", AT)
        api.options = Options()
        assert 75 == fetch(cli, api).code  # the API knows no such job


def test_a_folder_that_is_gone_is_said(cli: Cli, folder: Path, beside: Start) -> None:
    """A folder that cannot be written ends the command with the reason and the way out."""
    with beside(Options()) as api:
        stored(cli, folder).unlink()
        folder.joinpath("2026-01").rmdir()
        folder.rmdir()
        cli.sql("UPDATE results SET state = 'wanted', next_try_at = ?", AT)
        said = fetch(cli, api)
    assert 1 == said.code
    assert "No such file or directory: make room, or mend the folder" in said.err


def test_a_disk_that_is_not_mounted_is_not_fetched_anew(
    cli: Cli, folder: Path, beside: Start
) -> None:
    """Without any folder of what is stored nothing is wanted or asked for, unless a person makes
    one of them.
    """
    with beside(Options()) as api:
        for name in ("a", "b"):
            stored(cli, folder, name)
        folder.rename(folder.with_name("disk"))
        folder.mkdir()
        said = fetch(cli, api, "--missing")
        assert 1 == said.code
        assert f"results_dir = {folder} has none of the results that are stored" in said.err
        assert f"mkdir -p {folder}/2026-01 first" in said.err
        assert [] == api.questions
        assert {"stored"} == {row["state"] for row in cli("results", "list", "--json").json()}

        (folder / "2026-01").mkdir()
        assert 75 == fetch(cli, api, "--missing").code
        assert 2 == len(api.questions)


@pytest.mark.parametrize("state", ["failed", "wanted"])
def test_what_is_there_is_not_fetched_again(
    cli: Cli, folder: Path, beside: Start, state: str
) -> None:
    """A result whose file is what its row says is stored, whatever became of it meanwhile; one
    whose file is another is asked for.
    """
    with beside(Options()) as api:
        stored(cli, folder, "right")
        stored(cli, folder, "changed").write_bytes(b"DATA")
        cli.sql("UPDATE results SET state = ?, error = 'HTTP 404', tries = 10", state)
        cli.sql(
            "INSERT INTO results (job_id, type, state) VALUES ('right', 'speech_to_text_srt', ?)",
            state,
        )
        fetch(cli, api, "--missing")
        rows = cli("results", "list", "--json").json()
        found = {(row["job_id"], row["type"]): row["state"] for row in rows}
        assert "stored" == found.pop(("right", "core"))
        assert {"wanted"} == {*found.values()}
        assert b"DATA" == (folder / "2026-01/changed.core.json.gz").read_bytes()
        (right,) = (row for row in rows if row["state"] == "stored")
        assert (0, None, None) == (right["tries"], right["error"], right["next_try_at"])


def test_words_that_do_not_fit_are_refused(cli: Cli) -> None:
    """--missing belongs to fetch, a folder must be named, and another word is none."""
    assert 2 == cli("results", "verify", "--missing").code
    assert 2 == cli("results", "burn").code
    said = cli("results", "verify")
    assert (78, True) == (said.code, "results_dir is not set: name the folder" in said.err)
