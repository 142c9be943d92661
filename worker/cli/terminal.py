"""Draw tables and progress on a terminal. Imported only there, because rich is slow to load."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from worker.runner.orders import Counts


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
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: defaultdict[str, TaskID] = defaultdict(lambda: progress.add_task(""))

        def show(name: str, text: str) -> None:
            progress.update(tasks[name], description=f"{name}: {text}" if text else name)

        yield show


@contextmanager
def bar(due: int) -> Iterator[Callable[[Counts], None]]:
    """Show a progress bar of ``due`` videos on stderr; yield a function that takes new counts."""
    numbers = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    columns = (TextColumn("submitting"), *numbers, TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=due)

        def watch(counts: Counts) -> None:
            ended = counts.submitted + counts.failed + counts.in_doubt
            text = (
                f"{counts.failed} failed, {counts.in_doubt} in doubt, {counts.postponed} postponed"
            )
            progress.update(task, completed=ended, total=max(due, ended), description=text)

        yield watch
