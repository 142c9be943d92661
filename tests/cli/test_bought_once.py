"""An address is bought once (law 17), seen by a person: drain, why, show, retry, status."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Beside, Cli, Said
from worker.simulator import Options, Simulator

Start = Callable[[Options], Beside]

URL = "https://videos.example/1.mp4"
AGAIN = "to buy it a second time: valossa-ingest retry id={} --may-buy-twice"


def drain(cli: Cli, simulator: Simulator, *words: str) -> Said:
    """Drain against a simulator."""
    variables = {"WORKER_API_URL": simulator.url, "VALOSSA_API_KEY": "demo-key"}
    return cli("drain", *words, WORKER_ON_DOUBT="hold", WORKER_RATE="1000", **variables)


def insert(cli: Cli, *urls: str) -> None:
    """Insert rows as any program can."""
    for url in urls:
        cli.sql("INSERT INTO videos (url) VALUES (?)", url)


def test_law_17_a_second_row_of_an_address_is_told_and_bought_only_by_its_own_flag(
    cli: Cli, beside: Start
) -> None:
    """Law 17: a second row of an address fails with the way out, again after a plain retry, and is
    bought after ``retry --may-buy-twice``; status counts it then.
    """
    with beside(Options()) as simulator:
        insert(cli, URL, URL)
        assert 1 == drain(cli, simulator).code
        (job,) = [each.job_id for each in simulator.accepted]
        sentence = f"url: is that of video 1, which has job {job}; {AGAIN.format(2)}"
        (told,) = cli.sql("SELECT error FROM videos WHERE id = 2")
        assert told in {sentence, sentence.replace(f"has job {job}", "is in flight")}
        assert f"nothing by itself; {sentence}" == cli("show", 2, "--json").json()[0]["next"]
        (group,) = cli("why", "--json").json()
        assert "retry ID --may-buy-twice buys it a second time" in group["what_helps"]
        assert 0 == cli("retry", 2).code
        expected = f"it will be refused without a request: {sentence}"
        assert expected == cli("show", 2, "--json").json()[0]["next"]
        assert 1 == drain(cli, simulator).code
        assert [sentence] == cli.sql("SELECT error FROM videos WHERE id = 2")
        assert 0 == cli("status", "--json").json()["possibly_bought_twice"]
        assert 0 == cli("retry", 2, "--may-buy-twice").code
        assert "it is due" == cli("show", 2, "--json").json()[0]["next"]
        assert 0 == drain(cli, simulator).code
        assert 2 == len(simulator.accepted)
    assert 1 == cli("status", "--json").json()["possibly_bought_twice"]


def test_law_17_why_has_one_group_for_all_bought_addresses(cli: Cli, beside: Start) -> None:
    """Rows that are closed for their addresses are one group, whatever their jobs."""
    with beside(Options()) as simulator:
        links = [URL.replace("1", str(number)) for number in range(12)]
        insert(cli, *links)
        drain(cli, simulator)
        insert(cli, *links)
        drain(cli, simulator)
    assert [12] == [group["videos"] for group in cli("why", "--json").json()]


@pytest.mark.usefixtures("path")
def test_law_14_a_drain_names_the_row_that_a_trigger_refuses(cli: Cli, beside: Start) -> None:
    """Law 14: a drain beside somebody's trigger sends the others, and names the row and why."""
    with beside(Options()) as simulator:
        insert(cli, *(URL.replace("1", str(number)) for number in range(6)))
        cli.sql(
            "CREATE TRIGGER theirs BEFORE UPDATE ON videos WHEN NEW.id = 3 "
            "BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
        said = drain(cli, simulator, "--json")
        assert 5 == len(simulator.accepted)
    assert (1, 5, 1) == (said.code, said.json()["submitted"], said.json()["failed"])
    assert '"video": 3' in said.err
    assert "the database refuses to write this row: not this one" in said.err
    assert "Traceback" not in said.err


def test_law_17_an_export_brings_the_job_of_an_address_whichever_row_has_it(
    cli: Cli, beside: Start, tmp_path: Path
) -> None:
    """Law 17: an export with a closed row and a bought row of one address buys nothing elsewhere,
    also where the closed row is there before; that job is a reject until --update brings it.
    """
    with beside(Options()) as simulator:
        insert(cli, URL, URL)
        cli.sql("UPDATE videos SET priority = id")  # the second one is bought
        assert 1 == drain(cli, simulator).code
        exported = cli("export").out
        cli.sql("DELETE FROM videos")
        file = tmp_path / "all.csv"
        file.write_text(exported, encoding="utf-8")
        assert {"inserted": 1, "rejected": {}}.items() <= cli(
            "import", file, "--json"
        ).json().items()
        assert ["submitted"] == cli.sql("SELECT state FROM videos")
        cli.sql("DELETE FROM videos")
        insert(cli, URL)
        said = cli("import", file)
        (there,) = cli.sql("SELECT id FROM videos")
        told = f"is not that of video {there}, which has this url or media_id; import --update"
        assert (1, True) == (said.code, told in said.err)
        assert 0 == cli("import", file, "--update").code
        assert 0 == drain(cli, simulator).code
        assert 1 == len(simulator.accepted)
