"""Name the signals that stop a command in order, those that ask a run for a line, and the rest."""

import os
import signal

ASKS = signal.SIGUSR1
"""It asks a run how it gets on."""

IGNORED = (signal.SIGALRM, signal.SIGUSR2)
"""By default each would end a run amid its requests."""


def prepare() -> None:
    """Ignore what asks for nothing. A container's first process has no default for SIGTERM."""
    for number in (ASKS, *IGNORED):
        signal.signal(number, signal.SIG_IGN)
    if os.getpid() == 1:  # else a stop before the loop would be lost
        signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))


def stops() -> tuple[signal.Signals, ...]:
    """Return the signals that stop in order. SIGHUP is none under nohup, which has it ignored."""
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hangs_up else ()))
