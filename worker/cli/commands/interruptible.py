"""Read lists so that a signal ends the reading, however long no data comes.

A handler that raised could do so while a lock is held or an exception is handled. So a signal is
only noted, and reading waits for data and for the signal together. A second signal cancels the
task, since a wait for the database may never end. A third kills.
"""

import asyncio
import io
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from worker.cli import signals

BUFFER_BYTES = 1 << 17


@dataclass(slots=True)
class StopSignal:
    """The signal that stops an import: its number, 0 if none has come. The file descriptor
    ``heard`` can be read from then on.
    """

    heard: int
    signal: int = 0
    _cancel: Callable[[], object] | None = None

    def note(self, number: int, _: object) -> None:
        """Note the first signal. At the second one, cancel the task that is under way."""
        if not self.signal:
            self.signal = number
        elif self._cancel:
            self._cancel()
            for each in signals.stops():
                signal.signal(each, signal.SIG_DFL)

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Let a second signal cancel the current task."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._cancel = partial(loop.call_soon_threadsafe, task.cancel)
        try:
            yield
        finally:
            self._cancel = None


class StoppedError(Exception):
    """A signal came, and the list is read no further."""


@contextmanager
def stoppable() -> Iterator[StopSignal]:
    """Listen to the signals that stop. Works in the main thread only, as Python's handlers do.
    Handlers of the event loop would not run while the thread waits for a list.
    """
    heard, caller = os.pipe()
    os.set_blocking(caller, False)
    stop = StopSignal(heard)
    before = {each: signal.signal(each, stop.note) for each in signals.stops()}
    woken = signal.set_wakeup_fd(caller, warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(heard)
        os.close(caller)


class _Raw(io.RawIOBase):
    """Read the file descriptor ``source`` when it has data, until ``stop`` is heard."""

    def __init__(self, source: int, stop: StopSignal) -> None:
        super().__init__()
        self._source, self._heard = source, stop.heard
        self._poll = select.poll()
        self._poll.register(source, select.POLLIN)
        self._poll.register(stop.heard, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read into ``buffer``; return 0 at the end. Raises StoppedError, OSError."""
        if any(self._heard == descriptor for descriptor, _ in self._poll.poll()):
            raise StoppedError
        return os.readv(self._source, [buffer])


def interruptible(stream: BinaryIO, stop: StopSignal) -> BinaryIO:
    """Return a stream whose reading raises StoppedError once ``stop`` is heard."""
    return io.BufferedReader(_Raw(stream.fileno(), stop), BUFFER_BYTES)
