# ruff: noqa: ASYNC240 - reading a small file holds up nobody
"""Scenario 11: the canary, a key that is looked for wherever the program leaves anything, after
every failure; so is the password of a server, and the query of a signed link in every log.
"""

import asyncio
import gzip
import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.plain import is_server
from tests.processes.programs import LIMIT_FILES, Ended, execute
from tests.proof.ground import Ground, addresses, among_served, hand_in, times
from tests.wire import LOOPBACK, Line, Wire, answer, free_port, self_signed
from worker.db.schema import metadata
from worker.simulator import KINDS, Options, Simulator

SEVERAL = """\
import os, sys
from worker.cli import run
words = sys.argv[1:]
while words:
    end = words.index(";")
    said, words = words[:end], words[end + 1:]
    for name, _, value in (word.partition("=") for word in said if word.startswith("WORKER_")):
        os.environ[name] = value
    code = run([word for word in said if not word.startswith("WORKER_")], os.environ)
    print("exit", code, flush=True)
"""
"""Python that runs one command after the other, each ended by ";", with settings before it."""

UNTOLD = {"stall", "unasked", "same-id"}
"""Without an answer for long, or with one that names another job."""

TROUBLES = [kind.replace("STATUS", "503") for kind in KINDS if kind not in UNTOLD]

HUSH = f"hush-{secrets.token_hex(8)}"
"""The secret of the signed links."""

LINKS = (
    "https://b.s3.amazonaws.com/1.mp4?AWSAccessKeyId=A&Expires=4102444800&Signature=" + HUSH,
    "https://b.s3.amazonaws.com/2.mp4?AWSAccessKeyId=A&Expires=1000000000&Signature=" + HUSH,
    f"https://videos.example/3.mp4?token={HUSH}#{HUSH}",
    f"ftp://videos.example/5.mp4?token={HUSH}",
)

SHORTEST = 10
"""Characters of the key that are a part of it by no chance."""

ASKING = (("reconcile", "--dry-run", "--json"), ("audit",), ("check", "--online"), ("reconcile",))
"""Commands that request the list, with the key in the query."""

SENDING = (("drain",), *ASKING)

LOOKS = (("list",), ("export",), ("show", "2"), ("status", "--json"), *ASKING, ("audit", "--json"))
"""Everything that a person may look at afterwards."""

DOUBTED = secrets.token_hex(16)
"""The identifier that the doubts of a scene were sent with."""

BREAK = """\
CREATE TRIGGER broken BEFORE UPDATE OF state ON videos
BEGIN SELECT RAISE(ABORT, 'nobody has thought of this'); END
"""

REFUSE = """\
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'nobody has thought of this'; END $$
"""
REFUSE_ROWS = """\
CREATE TRIGGER broken BEFORE UPDATE OF state ON videos FOR EACH ROW EXECUTE FUNCTION refuse()
"""

CUT = 440
"""Bytes before an echo, so that it is cut off where errors are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A key that stands nowhere else, with what libraries spell in many ways, and all that was
    said while it was in use.
    """

    ground: Ground
    halves: tuple[str, str] = field(
        default_factory=lambda: (secrets.token_hex(12), secrets.token_hex(12))
    )
    password: str = field(default_factory=lambda: secrets.token_hex(16))
    ended: list[Ended] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)

    @property
    def key(self) -> str:
        """Return the whole of it."""
        return '+/&<"'.join(self.halves)

    async def run(self, *words: str, database_url: str, **more: Any) -> Ended:  # noqa: ANN401
        """Return a process of the program that has the key, to its end."""
        program = await self.ground.start(
            *words,
            variables={"VALOSSA_API_KEY": self.key},
            log_level="debug",
            database_url=self.entered(database_url),
            **more,
        )
        self.lines.append(Path(f"/proc/{program.pid}/cmdline").read_bytes())
        self.ended.append(await program.ended())
        return self.ended[-1]

    def entered(self, queue: str) -> str:
        """Return the address with a password, which the test server ignores."""
        if not is_server(queue):
            return queue
        return make_url(queue).set(password=self.password).render_as_string(hide_password=False)

    def leaks(self) -> list[str]:
        """Return each place of a part of a secret: output, command line, file or table."""
        parts = {
            half[at : at + SHORTEST].encode()
            for half in (*self.halves, self.password)
            for at in range(len(half) - SHORTEST + 1)
        }
        said = {
            f"{n}: {end}": getattr(done, end) for n, done in enumerate(self.ended) for end in ENDS
        }
        kept = {str(p): read(p) for p in self.ground.folder.rglob("*") if p.is_file()}
        looked = {**{name: text.encode() for name, text in said.items()}, **kept}
        looked |= {f"{n}: cmdline": line for n, line in enumerate(self.lines)}
        looked |= {queue: kept_by(queue) for queue in self.ground.made}
        assert any(self.lines)  # a process that is young has none yet
        return [
            f"{name}: {data[max(0, data.find(part) - 200) : data.find(part) + 80]!r}"
            for name, data in looked.items()
            for part in sorted(parts)
            if part in data
        ]


ENDS = ("out", "err")


def read(path: Path) -> bytes:
    """Return what a file says."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def kept_by(queue: str) -> bytes:
    """Return everything that stands in its tables."""
    tables = (execute(queue, f"SELECT * FROM {name}") for name in metadata.tables)
    return "".join(map(str, tables)).encode()


Echo = Callable[[str, str], bytes]
"""An answer made of what was asked, which has the key and perhaps a link, and of the key."""


def named(target: str, key: str) -> bytes:
    """Return a list in which everything that may be shown is the key."""
    entry = {"id": key, "status": key, "customer_media_info": {"id": DOUBTED}}
    more = {"next": target, key: {"total": 9}, "api_key": key}
    return answer(json.dumps({"jobs": [entry], **more}).encode())


ECHOES: dict[str, Echo] = {
    "refused": lambda t, _: answer(json.dumps({"errors": [{"message": t}]}).encode(), "400 Bad"),
    "cut off": lambda t, _: answer(f"{'x' * CUT}{t}".encode(), "500 Internal Server Error"),
    "named": named,
    "unauthorized": lambda t, k: answer(f"<p>{t} {k}</p>".encode(), "401 Unauthorized"),
    "moved": lambda t, _: answer(b"", "307 Moved", Location=t),
    "no JSON": lambda t, k: answer(f"{t} {k}".encode()),
    "no HTTP": lambda t, k: f"HTTP/1.1 {t} {k}\r\n\r\n".encode(),
}


def echoing(echo: Echo, key: str) -> Wire:
    """Return a server that answers every request so, where it says what came and has the key."""

    async def say(line: Line) -> None:
        head, body = (await line.request()).split(b"\r\n\r\n")
        line.say(echo(head.split(b" ", 2)[1].decode() + body.decode(), key))

    return Wire(say)


async def every_trouble(canary: Canary) -> None:
    """Send requests that meet every kind of trouble, at the API and on the way to it."""
    urls = addresses("any", len(TROUBLES))
    queue = canary.ground.database("every-trouble", among_served(urls))
    hand_in(queue, LINKS)
    script = {2 * place: kind for place, kind in enumerate(TROUBLES, 1)}
    options = Options(book=canary.ground.book, keys=frozenset({canary.key}), script=script)
    async with Simulator(options) as api:
        worker: dict[str, Any] = {
            "database_url": queue,
            "api_url": api.url,
            "concurrency": 1,
        }
        await canary.run("drain", **worker, log_format="console")
        assert len(TROUBLES) < len(api.requests)
        await canary.run(*several(LOOKS), program=("-c", SEVERAL), **worker)


async def every_echo(canary: Canary) -> None:
    """Request lists that are answered with an echo of the key."""
    queue = canary.ground.database("every-echo")
    echoes = dict(islice(ECHOES.items(), times(1, len(ECHOES))))
    for what in echoes:
        name = what.replace(" ", "-")
        hand_in(queue, addresses(name, 1), state="in_doubt", request_id=DOUBTED)
    hand_in(queue, LINKS)
    async with AsyncExitStack() as stack:
        words: list[str] = []
        for echo in echoes.values():
            wire = await stack.enter_async_context(echoing(echo, canary.key))
            words += several((f"WORKER_API_URL={wire.url}", *each) for each in SENDING)
        await canary.run(*words, program=("-c", SEVERAL), database_url=queue)
    assert len(echoes) * len(SENDING) == canary.ended[-1].out.count("exit ")


async def every_result(canary: Canary) -> None:
    """Fetch a result that comes, and one whose question is answered with an echo of the key."""
    urls = addresses("result", 1)
    queue, folder = canary.ground.database("every-result", urls), canary.ground.folder / "results"
    folder.mkdir()
    how: dict[str, Any] = {"database_url": queue, "results_dir": folder, "log_format": "console"}
    fetch = ("results", "fetch", "--missing")
    options = Options(keys=frozenset({canary.key}), finished_share=1.0)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Simulator(options))
        await canary.run("drain", api_url=api.url, **how)
        execute(queue, "UPDATE jobs SET ended_as = 'finished', ended_at = accepted_at")
        for echo in ECHOES.values():
            wire = await stack.enter_async_context(echoing(echo, canary.key))
            await canary.run(*fetch, api_url=wire.url, **how)
            assert "result_failed" in canary.ended[-1].err
            execute(queue, "DELETE FROM results")
        await canary.run(*fetch, api_url=api.url, **how)
        assert 0 == canary.ended[-1].code
    await canary.run("results", "list", "--json", **how)
    assert 1 == len([*folder.rglob("*.json.gz")])


async def on_the_way(canary: Canary) -> None:
    """Run against an API that cannot be reached."""
    queue = canary.ground.database("on-the-way", [*addresses("on-the-way", 4), *LINKS])
    hand_in(queue, addresses("doubted-too", 1), state="in_doubt")
    context, _ = self_signed(canary.ground.folder)

    async def reset(line: Line) -> None:
        await line.request()
        line.reset()

    async with Wire(reset, tls=context) as distrusted, Wire(reset) as resetting:
        with free_port() as closed:
            urls = (
                f"http://{LOOPBACK}:{closed}/core/1.0",
                "https://api.invalid/core/1.0",
                distrusted.url,
                resetting.url,
            )
            words = several((f"WORKER_API_URL={url}", *each) for url in urls for each in SENDING)
            await canary.run(*words, program=("-c", SEVERAL), database_url=queue)
    assert len(urls) * len(SENDING) == canary.ended[-1].out.count("exit ")


async def at_the_database(canary: Canary) -> None:
    """Run on a database that is missing, full, unreachable or failing."""
    on_server = canary.ground.databases.kind == "postgresql"
    await (at_the_server if on_server else at_the_disk)(canary)


async def at_the_server(canary: Canary) -> None:
    """Run on a server without the database or user, on no server, and with a refused row."""
    broken = canary.ground.database("broken", LINKS)
    execute(broken, REFUSE)
    execute(broken, REFUSE_ROWS)
    where = make_url(broken)
    folder = str(canary.ground.folder)
    others = (
        where.set(database="none"),
        where.set(username="none"),
        where.set(query={"host": folder}),
    )
    async with Simulator(Options(keys=frozenset({canary.key}))) as api:
        queues = [broken, *(other.render_as_string(hide_password=False) for other in others)]
        runs = (canary.run("drain", database_url=queue, api_url=api.url) for queue in queues)
        done = await asyncio.gather(*runs)
    assert [1, 78, 78, 78] == [each.code for each in done]
    assert "nobody has thought of this" in done[0].err


async def at_the_disk(canary: Canary) -> None:
    """Run on a full disk, on a file that is no database, and with a trigger that raises."""
    full, broken = (canary.ground.database(name, LINKS) for name in ("full", "broken"))
    execute(broken, BREAK)
    none = canary.ground.folder / "none.db"
    none.write_bytes(b"no database" * 999)
    async with Simulator(Options(keys=frozenset({canary.key}))) as api:
        worker = {"api_url": api.url, "grace_seconds": 0.2}
        limited = ("-c", LIMIT_FILES, "32768", "-m", "worker")
        done = await asyncio.gather(
            canary.run("drain", **worker, database_url=full, program=limited),
            canary.run("drain", **worker, database_url=str(none)),
            canary.run("drain", **worker, database_url=broken, log_format="console"),
        )
    assert [78, 78, 1] == [each.code for each in done]
    assert "nobody has thought of this" in done[-1].err


def several(commands: Iterable[Sequence[str]]) -> list[str]:
    """Return the words of many commands for ``SEVERAL``."""
    return [word for command in commands for word in (*command, ";")]


@pytest.mark.timeout(300)
async def test_the_canary(ground: Ground) -> None:
    """Whatever goes wrong, neither the key nor a part of it stands in an output, a log, a
    traceback, a file or a process list, and no secret of a link in a log.
    """
    canary = Canary(ground=ground)
    scenes = (every_trouble, every_echo, every_result, on_the_way, at_the_database)
    async with asyncio.TaskGroup() as playing:
        for scene in scenes:
            playing.create_task(scene(canary))
    assert [] == canary.leaks()
    assert [] == [line for done in canary.ended for line in done.err.splitlines() if HUSH in line]
    ground.judged(11, "the key, in every trouble", addresses("any", len(TROUBLES)))
