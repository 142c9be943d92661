import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Screen, refusing
from worker.cli import output
from worker.core.redact import visible

KEY = "sk-0123456789abcdef"
CSI = "\x1b[31;7m"
HOSTILE = (
    f"{CSI}red\x1b]8;;https://evil.example\x07a\x1b]52;c;eA==\x07\x9b2J\u202eb\u2066\u200bc\x7f"
)
SHOWN = (
    "\\x1b[31;7mred\\x1b]8;;https://evil.example\\x07a\\x1b]52;c;eA==\\x07\\x9b2J"
    "\\u202eb\\u2066\\u200bc\\x7f"
)
"""The same, as a person sees it."""


def harmful(text: str) -> set[str]:
    """Return the characters of a text that act on a terminal, or hide."""
    own = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace(CSI, "\x07"))
    return {sign for sign in own if sign not in "\n\t\r" and not sign.isprintable()}


def answering(status: int) -> AbstractContextManager[str]:
    """Serve an API that says hostile words with this status, and lists a hostile job."""
    told = {"job_id": f"job{HOSTILE}", "status": HOSTILE, "video": {"url": HOSTILE}}
    return refusing(status, f"no {HOSTILE}", {"jobs": [told]})


def fill(cli: Cli) -> None:
    """Insert a video in each state whose every text is hostile, and a worker of that name."""
    claim = {"claim_token": "t", "claimed_by": HOSTILE, "lease_until": "2030-01-01 00:00:00"}
    for number, state in enumerate(("failed", "in_doubt", "submitting", "submitted"), 1):
        url, media_id = f"https://e.org/{number}{HOSTILE}.mp4", f"{number}{HOSTILE}"
        job = f"job-{number}{HOSTILE}" if state == "submitted" else None
        texts = {"title": HOSTILE, "description": HOSTILE, "error": HOSTILE, "request_id": media_id}
        more = {**texts, "job_id": job, "claims": 1, "attempts": 1, **claim}
        cli.insert(url=url, media_id=media_id, state=state, **more)
        cli.sql(
            "INSERT INTO history (video_id, attempt, at, who, fact, message)"
            " VALUES (?, 1, '2026-01-01 00:00:00', ?, 'in_doubt', ?)",
            *(number, HOSTILE, HOSTILE),
        )
    cli.sql(
        "INSERT INTO workers (id, host, pid, command, started_at, seen_at)"
        " VALUES (?, ?, 7, ?, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
        *(HOSTILE, HOSTILE, HOSTILE),
    )
    cli.sql("UPDATE account SET cool_down_until = ?, cool_down_reason = ?", "2026", HOSTILE)


COMMANDS = [
    *(("status",), ("workers",), ("list",), ("list", "--state", "failed"), ("why",), ("check",)),
    *(("show", f"id={number}") for number in range(1, 5)),
    *(("show", HOSTILE), ("show", f"https://{HOSTILE}"), ("retry", HOSTILE), ("list", HOSTILE)),
    *(("resolve", HOSTILE, "--give-up"), ("resolve", "2", "--job-id", HOSTILE)),
    *(("resolve", "2", "--job-id", "job"), ("pause", "--reason", HOSTILE), ("resume",)),
    *(("add", HOSTILE), ("add", "https://e.org/new.mp4", "--due-at", HOSTILE)),
    *(("list", "--state", HOSTILE), ("list", HOSTILE, f"--{HOSTILE}"), (f"x{HOSTILE}",)),
    *(("health",), ("cancel", "--state", "failed"), ("audit",), ("reconcile",)),
]


@pytest.mark.usefixtures("path")
@pytest.mark.slow  # two lists of jobs are half a minute apart
def test_no_command_prints_what_acts_on_a_terminal(cli: Cli, tmp_path: Path) -> None:
    """Whatever stands in rows, arguments and answers, people get every text as it may be read."""
    fill(cli)
    listed = tmp_path / f"list{CSI}.csv"
    listed.write_text(f"url,{HOSTILE}\nftp://{HOSTILE},{HOSTILE}\n")
    with answering(400) as url:
        cli.environment.update(WORKER_API_URL=url, VALOSSA_API_KEY=KEY)
        lists = [("import", str(listed)), ("import", f"no{HOSTILE}")]
        for words in (*COMMANDS, *lists):
            said = cli(*words)
            assert set() == harmful(said.out + said.err), words
        assert SHOWN in cli("show", "id=1").out
        assert SHOWN in cli("workers").out
    bad = {"WORKER_RATE": HOSTILE, "WORKER_API_URL": HOSTILE, "WORKER_CONFIG": HOSTILE}
    for name, value in bad.items():
        said = cli("check", **{name: value})
        assert set() == harmful(said.out + said.err), name
    assert set() == harmful(cli.bare("status", "--database", f"/no{HOSTILE}/v.db").err)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("status", [400, 401, 404, 408, 429, 502])
def test_no_answer_of_the_api_acts_on_a_terminal(cli: Cli, status: int, form: str) -> None:
    """A drain's last lines and its log, on a terminal or not, show a hostile message escaped."""
    cli.insert_many({"url": f"https://e.org/{number}.mp4"} for number in range(21))
    first = () if status in {400, 401, 404} else ("--limit", 1, "--max-seconds", 0.2)
    with answering(status) as url:
        variables = {"WORKER_API_URL": url, "VALOSSA_API_KEY": KEY, "WORKER_RATE": "1000"}
        said = cli("drain", *first, WORKER_LOG_FORMAT=form, **variables)
    assert set() == harmful(said.out + said.err)
    assert "red" in said.err


@pytest.mark.usefixtures("path")
def test_a_terminal_gets_an_export_escaped_and_a_pipe_as_it_is(
    cli: Cli, screen: Callable[..., Screen]
) -> None:
    """An export is exact in a file, and harmless on a terminal."""
    fill(cli)
    assert HOSTILE in cli("export").out
    assert {HOSTILE} == {
        json.loads(row)["title"] for row in cli("export", "--json-lines").out.splitlines()
    }
    for words in (
        ("export",),
        ("export", "--json-lines"),
        ("list",),
        ("show", "id=1"),
        ("workers",),
    ):
        program = screen(*words, "--database", cli.url, columns=80)
        assert 0 == program.ended()
        assert set() == harmful(program.shown), words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b\x07\r\x7f\x9b\x00", "\\x1b\\x07\\r\\x7f\\x9b\\x00"),
        (
            "\u202a\u202e\u2066\u2069\u200e\u200f\u061c",
            "\\u202a\\u202e\\u2066\\u2069\\u200e\\u200f\\u061c",
        ),
        (
            "\u200b\u200c\u200d\u2060\ufeff\xad\u2028",
            "\\u200b\\u200c\\u200d\\u2060\\ufeff\\xad\\u2028",
        ),
        ("\udcff\U000e0041", "\\udcff\\U000e0041"),
        ("Ää 日本 فيلم 🎬\n\t\\x1b", "Ää 日本 فيلم 🎬\n\t\\x1b"),
    ],
)
def test_what_acts_or_hides_is_an_escape(text: str, shown: str) -> None:
    """Letters of any language, line ends and tabs stay; nothing else does that is not seen."""
    assert shown == visible(text)


def test_the_commands_print_by_one_module() -> None:
    """Only ``simulate``, which shows no row, and the file of rejects are written to directly."""
    commands = Path(output.__file__).parent / "commands"
    direct = [
        (file.name, line)
        for file in sorted(commands.glob("*.py"))
        for line in re.findall(r"(?<![.\w])print\([^)].*", file.read_text())
        if file.name != "simulate.py" and "file=current.rejects" not in line
    ]
    assert [] == direct
