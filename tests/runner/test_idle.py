"""Count the wake-ups of a daemon with nothing to do: no busy machine makes them more."""

import asyncio
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, event

from tests.conftest import open_database
from worker import wiring
from worker.core.stop_conditions import RunOptions
from worker.settings import Key, Settings

POLL_SECONDS = 0.02
SETTLED = 20
"""Wake-ups after which a run has long begun."""
LOOKS = 25


@dataclass(frozen=True, slots=True)
class Wake:
    """One end of a sleep of the event loop: when, and how many turns and statements before it."""

    at: float
    turns: int
    statements: int


class Counting(selectors.DefaultSelector):
    """A selector that counts the sleeps of an event loop and calls ``enough`` after enough of
    them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wakes: list[Wake] = []
        self.enough: Callable[[], object] = lambda: None
        self._turns = 0
        self._statements = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Sleep, and note what ended a sleep that was one."""
        ready = super().select(timeout)
        self._turns += 1
        if timeout is None or timeout > 0:
            self.wakes.append(Wake(time.monotonic(), self._turns, self._statements))
            if len(self.wakes) == SETTLED + LOOKS + 1:
                self.enough()
        return ready

    def note_statement(self, *_: object) -> None:
        """Count a statement that SQLAlchemy sends to the database."""
        self._statements += 1


async def _run_idle(path: Path, counting: Counting) -> None:
    """Run a daemon as the program makes it, until there were enough wake-ups."""
    settings = Settings(database_url=str(path), poll_seconds=POLL_SECONDS)
    options = RunOptions(drain=False)
    key = Key("demo-key", "a test")
    async with (
        open_database(path) as database,
        wiring.runner(settings, key, database, options) as runner,
    ):
        counting.enough = runner.stop
        await runner.run()


def test_an_idle_daemon_wakes_for_its_look_alone(path: Path) -> None:
    """An idle daemon wakes only for its look at the table, and a look is one question."""
    counting = Counting()
    event.listen(Engine, "before_cursor_execute", counting.note_statement)
    try:
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(counting)) as event_loop:
            event_loop.run(_run_idle(path, counting))
    finally:
        event.remove(Engine, "before_cursor_execute", counting.note_statement)
    first, last = counting.wakes[SETTLED], counting.wakes[SETTLED + LOOKS]
    assert 0 < first.statements == last.statements
    assert last.at - first.at >= 0.99 * LOOKS * POLL_SECONDS
    assert last.turns - first.turns <= 3 * LOOKS
