"""``python -m worker`` is ``valossa-ingest``."""

from worker.cli import main

if __name__ == "__main__":
    main()
