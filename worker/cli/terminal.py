"""Draw tables and progress on a terminal. Imported only there, because rich is slow to load."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box, progress
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from worker.core.progress import NEEDS
from worker.core.redact import visible


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str, whole: Sequence[str]
) -> None:
    """Print rows, one line each; long cells are cut, except in the columns ``whole``."""
    drawn = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for name in columns:
        drawn.add_column(name, no_wrap=name in whole)
    for row in rows:
        drawn.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    Console().print(drawn)


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


def abilities() -> tuple[bool, bool]:
    """Return whether stderr is a terminal, and whether its cursor can be moved, as rich sees it."""
    console = Console(stderr=True)
    return console.is_terminal, console.is_interactive


@contextmanager
def block() -> Iterator[Callable[[Callable[[int], list[str]]], None]]:
    """Keep lines at the end of a terminal; what is written to stderr meanwhile scrolls above them.
    Yield a function that draws what another one returns for the width, if that has changed. The
    end of the context gives the cursor back.
    """
    console, drawn = Console(stderr=True), list[str]()
    with Live(console=console, auto_refresh=False, redirect_stdout=False) as live:

        def draw(lines_at: Callable[[int], list[str]]) -> None:
            if (lines := lines_at(console.width)) != drawn:
                drawn[:] = lines
                live.update(Group(*map(_styled, lines)), refresh=True)

        yield draw


def _styled(line: str) -> Text:
    style = "bold yellow" if line.startswith(NEEDS) else ""
    styled = Text(visible(line), style, no_wrap=True, overflow="ellipsis")
    styled.highlight_regex(r"^\[#+", "green")
    return styled
