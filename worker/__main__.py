"""``valossa-ingest`` and ``python -m worker``. Ctrl-C ends it from its first line on."""

import os
import signal


def main() -> None:
    """Load the program, while Ctrl-C has nothing to close, and run its command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from worker import cli  # noqa: PLC0415 - it takes the longest of the first moments

    cli.main()


if __name__ == "__main__":
    main()
