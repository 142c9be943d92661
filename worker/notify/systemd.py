"""Tell systemd the state of this process, in datagrams (``sd_notify``)."""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import inf


@dataclass(slots=True)
class Systemd:
    """The service manager of this process; none if ``address`` is empty. Its watchdog gets a sign
    each ``feed_seconds`` at most.
    """

    address: str
    feed_seconds: float
    monotonic: Callable[[], float]
    _fed_at: float | None = None

    def turned(self) -> None:
        """Report the first turn of the claim loop, and feed the watchdog by the others."""
        now = self.monotonic()
        if self._fed_at is None or now - self._fed_at >= self.feed_seconds:
            self.send("READY=1" if self._fed_at is None else "WATCHDOG=1")
            self._fed_at = now

    def stopping(self, grace: float) -> None:
        """Report a stop, which may take its grace, and half a minute for the database."""
        self.send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={(grace + 30) * 1e6:.0f}")

    def send(self, message: str) -> None:
        """Send a datagram, unless nobody takes it at once."""
        if self.address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(0)
                sender.sendto(message.encode(), self.address)


def of(environment: Mapping[str, str], pid: int, monotonic: Callable[[], float]) -> Systemd:
    """Return the service manager that the environment names."""
    address = environment.get("NOTIFY_SOCKET", "")
    watched = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    usec = environment.get("WATCHDOG_USEC", "") if watched else ""
    feed_seconds = int(usec) / 4e6 if usec.isdecimal() else inf
    return Systemd(f"\0{address[1:]}" if address[:1] == "@" else address, feed_seconds, monotonic)
