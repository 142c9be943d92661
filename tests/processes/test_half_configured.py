"""Hold what a half-configured start prints: the thing, its value, its source, the way out."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.processes.programs import (
    LIMIT_FILES,
    OBEY_MODES,
    Ended,
    Programs,
    add_videos,
    execute,
    states,
    videos,
)
from tests.processes.test_disk import SMALLEST_BYTES, read_only
from worker.db.address import address_of
from worker.db.schema import SCHEMA
from worker.settings_sources import NO_KEY
from worker.simulator import Simulator

pytestmark = pytest.mark.slow

CHECK, ONLINE, DRAIN, RUN = ("check",), ("check", "--online"), ("drain",), ("run",)
STATUS, HEALTH, IMPORT = ("status",), ("health",), ("import", "list.csv")
EVERY = (CHECK, ONLINE, DRAIN, RUN, STATUS, HEALTH, IMPORT)
KEYLESS: Mapping[str, str | None] = {"VALOSSA_API_KEY": None}
NO_HOST = "https://api.no-such-host.invalid/core/1.0"
MISSING = "No such file or directory"
ANOTHER_FILE = "name a file that holds the key and that this user may read"

Commands = tuple[tuple[str, ...], ...]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    """Make the files that the commands name."""
    (tmp_path / "list.csv").write_text("url\nhttps://videos.example/new.mp4\n")
    (tmp_path / "empty").touch()
    (tmp_path / "typo.toml").write_text("concurency = 3\nmax_attempts = 'many'\n")
    (tmp_path / "torn.toml").write_text("rate == 5\n")


async def told(worker: Programs, commands: Commands, **more: object) -> list[Ended]:
    """Run each command until it ends with 78; return their outputs."""
    started = [await worker.start(*words, **more) for words in commands]  # type: ignore[arg-type]
    ended = list(await asyncio.gather(*(program.ended() for program in started)))
    for done in ended:
        assert (78, False) == (done.code, "Traceback" in done.err), done.err
    return ended


async def all_say(worker: Programs, commands: Commands, *sentences: str, **more: object) -> None:
    """Assert that each command prints exactly these sentences."""
    expected = [f"valossa-ingest: {sentence}" for sentence in sentences]
    for done in await told(worker, commands, **more):
        assert expected == done.sentences


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (None, NO_KEY),
        ("empty", "the file empty (VALOSSA_API_KEY_FILE) is empty: put the API key in it"),
        ("none", f"VALOSSA_API_KEY_FILE=none cannot be read: {MISSING}: {ANOTHER_FILE}"),
        ("", "VALOSSA_API_KEY_FILE is empty: name the file that holds the key, or unset it"),
    ],
)
async def test_a_key_that_is_not_there_is_asked_for(
    worker: Programs, simulator: Simulator, file: str | None, sentence: str
) -> None:
    """A missing key is reported with the variables to set, before any request."""
    commands = (CHECK, ONLINE, DRAIN, RUN) if file is None else (CHECK, DRAIN)
    await all_say(worker, commands, sentence, variables={**KEYLESS, "VALOSSA_API_KEY_FILE": file})
    assert [] == simulator.requests


async def test_a_wrong_folder_is_named_and_stays_empty(worker: Programs, tmp_path: Path) -> None:
    """A missing database is named by every command, and is not made."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    commands = (CHECK, DRAIN, RUN, STATUS, HEALTH)
    for done in await told(worker, commands, cwd=elsewhere, database_url=None):
        (sentence,) = done.sentences
        assert f"no database at {elsewhere}/videos.db" in sentence
        assert "--database or WORKER_DATABASE_URL" in sentence
        assert "(database_url: default)" in sentence
    assert [] == list(elsewhere.iterdir())


async def test_a_typo_in_the_settings_file_stops_every_command(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A misspelt setting in the file stops every command."""
    await all_say(
        worker,
        EVERY,
        "concurency in typo.toml is no setting: did you mean concurrency?",
        "max_attempts = 'many' (typo.toml): must be a whole number below 1,000,000,000",
        config="typo.toml",
    )
    assert ([], {}) == (simulator.requests, states(url))


async def test_a_settings_file_that_cannot_be_used_is_named(worker: Programs) -> None:
    """A settings file that cannot be read is named, with the line of the error."""
    torn, none = (("drain", "--config", name) for name in ("torn.toml", "none.toml"))
    what = "is not TOML: Invalid value (at line 1, column 7): write it like config/worker.toml"
    await all_say(worker, (torn,), f"the settings file torn.toml (--config) {what}")
    what = f"cannot be read: {MISSING}: name another, or none"
    await all_say(worker, (none,), f"the settings file none.toml (--config) {what}")


async def test_a_read_only_database_is_told_before_the_first_request(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A read-only database is named with exit 78 by each command, before any request."""
    obeying = {"program": ("-c", OBEY_MODES, "-m", "worker"), "measured": False}
    add_videos(path, 1)
    sentence = f"valossa-ingest: database {path}: it is read-only: check the owner and the mode of"
    with read_only(path):
        ended = await told(worker, (RUN, STATUS, IMPORT), **obeying)
    ended += await told(worker, (CHECK,), **obeying)
    assert [[sentence]] * 4 == [[line[: len(sentence)] for line in x.sentences] for x in ended]
    assert all("(database_url: WORKER_DATABASE_URL)" in done.err for done in ended)
    assert ([], {"pending": 1}) == (simulator.requests, states(path))


@pytest.mark.usefixtures("remade")
async def test_a_database_of_a_newer_version_is_left_alone(
    worker: Programs, simulator: Simulator, url: str
) -> None:
    """A database of a newer version is refused, and is not changed."""
    add_videos(url, 1)
    before = videos(url)
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    await all_say(
        worker,
        (CHECK, DRAIN, RUN, STATUS, IMPORT),
        f"database {address_of(url)} has schema 9999, newer than this program's {SCHEMA}: "
        "install the newer program (database_url: WORKER_DATABASE_URL)",
    )
    assert ([], before) == (simulator.requests, videos(url))


async def test_a_full_disk_is_told_before_the_first_request(
    worker: Programs, simulator: Simulator, path: Path
) -> None:
    """A full disk is named with exit 78 by each command, before any request."""
    limited = {"program": ("-c", LIMIT_FILES, str(SMALLEST_BYTES - 1), "-m", "worker")}
    for done in await told(worker, (CHECK, IMPORT, STATUS), measured=False, **limited):
        (sentence,) = done.sentences
        assert f"database {path}: the disk" in sentence
        assert "free space" in sentence or "make room" in sentence
    assert ([], {}) == (simulator.requests, states(path))


async def test_an_address_that_does_not_resolve_is_named(worker: Programs, url: str) -> None:
    """``check`` names an address that does not resolve."""
    add_videos(url, 1)
    for done in await told(worker, (CHECK, ONLINE), api_url=NO_HOST):
        (sentence,) = done.sentences
        assert f"api_url {NO_HOST} (WORKER_API_URL): the host does not resolve (" in sentence
        assert sentence.endswith("): check the name and the network")
    done = await worker.run("drain", api_url=NO_HOST)
    assert (75, False) == (done.code, "Traceback" in done.err)
    why = "valossa-ingest: 1 postponed: valossa-ingest list --state pending says why"
    assert [why] == done.sentences
    (row,) = videos(url)
    assert ("pending", 0) == (row["state"], row["attempts"])
    assert "api.no-such-host.invalid" in str(row["error"])


async def test_an_address_without_tls_is_refused_by_every_command(worker: Programs) -> None:
    """Every command refuses an address without TLS (law 11)."""
    await all_say(
        worker,
        EVERY,
        "api_url = 'http://api-eu.valossa.com/core/1.0' (WORKER_API_URL): "
        "would send the key in the clear: write https://",
        api_url="http://api-eu.valossa.com/core/1.0",
    )


@asynccontextmanager
async def something_else(answer: bytes) -> AsyncIterator[str]:
    """Serve this answer to every request; yield the address."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/core/1.0"


ADDRESS, NETWORK = ": correct the address", ": check the network, api_url and proxy"
PAGE = b"HTTP/1.1 %s\r\nContent-Length: 9\r\nConnection: close\r\n\r\nIt works!"


@pytest.mark.parametrize(
    ("answer", "reason", "remedy"),
    [
        (PAGE % b"404 Not Found", "HTTP 404: It works!", ADDRESS),
        (PAGE % b"200 OK", "the answer is not JSON", ADDRESS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "HttpProcessingError: ", NETWORK),
    ],
)
async def test_a_port_where_something_else_answers_is_named(
    worker: Programs, answer: bytes, reason: str, remedy: str
) -> None:
    """``check --online`` names an address where another server answers."""
    async with something_else(answer) as url:
        (done,) = await told(worker, (ONLINE,), api_url=url)
    (sentence,) = done.sentences
    assert f"valossa-ingest: api_url {url} (WORKER_API_URL) does not list the jobs of" in sentence
    assert f"the key from VALOSSA_API_KEY: {reason}" in sentence
    assert sentence.endswith(remedy)


async def test_a_drain_at_another_server_names_the_address(worker: Programs, url: str) -> None:
    """A drain at another server ends with 78 and names the address."""
    add_videos(url, 9)
    async with something_else(PAGE % b"404 Not Found") as other:
        (done,) = await told(worker, (DRAIN,), api_url=other)
    expected = (
        f"what answers at api_url {other} (WORKER_API_URL) is not the API (HTTP 404: It works!"
    )
    assert expected in done.sentences[0]
    assert "correct api_url, look with valossa-ingest check --online" in done.sentences[1]
    assert {"pending": 9} == states(url)


async def test_all_that_is_wrong_is_said_at_once(worker: Programs, tmp_path: Path) -> None:
    """Every mistake is reported at once, by ``check``, ``drain`` and ``run``."""
    await all_say(
        worker,
        (CHECK, DRAIN, RUN),
        "WORKER_RATES is no setting: did you mean WORKER_RATE?",
        "concurency in typo.toml is no setting: did you mean concurrency?",
        "api_url = 'http://api.example/' (WORKER_API_URL): would send the key in the clear: "
        "write https://",
        "max_attempts = 'many' (typo.toml): must be a whole number below 1,000,000,000",
        f"no database at {tmp_path}/none.db: run valossa-ingest migrate to make one, or name "
        "another with --database or WORKER_DATABASE_URL (database_url: WORKER_DATABASE_URL)",
        f"VALOSSA_API_KEY_FILE=none cannot be read: {MISSING}: {ANOTHER_FILE}",
        variables={**KEYLESS, "VALOSSA_API_KEY_FILE": "none"},
        config="typo.toml",
        rates=5,
        api_url="http://api.example/",
        database_url="none.db",
    )
