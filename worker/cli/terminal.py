"""Draw tables and progress on a terminal. Imported only there, because rich is slow to load."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich import box, progress
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.core.progress import Progress
from worker.core.progress import block as lines_of
from worker.core.redact import visible
from worker.core.verdict import VerdictState

SHORTEST = 10
"""Columns that are left of a cell that is cut."""


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str, whole: Sequence[str]
) -> bool:
    """Print rows, one line each; long cells are cut, except in the first column and the columns
    ``whole``. Return False, with nothing printed, where the terminal is too narrow for that.
    """
    console, whole = Console(), (columns[0], *whole)
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
    least = (w if n in whole else min(w, SHORTEST) for n, w in zip(columns, widths, strict=True))
    if sum(least) + 3 * len(columns) + 1 > console.width:  # with the margins of this box
        return False
    drawn = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for name in columns:
        drawn.add_column(name, no_wrap=name in whole)
    for row in rows:
        drawn.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    console.print(drawn)
    return True


@contextmanager
def lines() -> Iterator[Callable[[str, str], None]]:
    """Show lines on stderr; yield a function that sets the text of the line with a name."""
    described = progress.TextColumn("{task.description}", markup=False)
    columns = (described, progress.TimeElapsedColumn())
    with progress.Progress(*columns, console=Console(stderr=True)) as drawn:
        tasks: defaultdict[str, progress.TaskID] = defaultdict(lambda: drawn.add_task(""))

        def show(name: str, text: str) -> None:
            drawn.update(tasks[name], description=visible(f"{name}: {text}" if text else name))

        yield show


@contextmanager
def block() -> Iterator[Callable[[Progress], None]]:
    """Yield a function that draws a run at the end of the terminal, if it looks different now. What
    is written to stderr meanwhile scrolls above it.
    """
    console, drawn = Console(stderr=True), list[str]()
    live = Live(console=console, auto_refresh=False, redirect_stdout=False)

    def draw(shown: Progress) -> None:
        if (lines := lines_of(shown, console.width)) != drawn:
            live.start()
            drawn[:] = lines
            live.update(Group(*map(_styled, lines)), refresh=True)

    try:
        yield draw
    finally:
        live.stop()


_BREAKS = str.maketrans("\n\r\t", "   ")
"""What a text may bring that would move the lines below."""


def _styled(line: str) -> Text:
    urgent = line.startswith((VerdictState.NEEDS_PERSON, VerdictState.STALLED))
    shown = visible(line).translate(_BREAKS)
    styled = Text(shown, "bold yellow" * urgent, no_wrap=True, overflow="ellipsis")
    styled.highlight_regex(r"^\[#+", "green")
    return styled
