"""What rich draws on a terminal: tables and bars. Not loaded elsewhere: rich takes its time."""

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

from worker.core.run_state import Counts


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], title: str, whole: Sequence[str]
) -> None:
    """Rows on stdout, a line a row; long cells end in an ellipsis, but for those of ``whole``."""
    drawn = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for name in columns:
        drawn.add_column(name, no_wrap=name in whole)
    for row in rows:
        drawn.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    Console().print(drawn)


@contextmanager
def lines() -> Iterator[Callable[[str, str], None]]:
    """Lines on stderr, each with a name; to be called with a name and its news."""
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, told: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name)
            progress.update(tasks[name], description=f"{name}: {told}" if told else name)

        yield show


@contextmanager
def bar(due: int) -> Iterator[Callable[[Counts], None]]:
    """A bar on stderr of what was due when the run began; to be called with each new tally."""
    columns = (
        TextColumn("submitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=due)

        def watch(counts: Counts) -> None:
            ended = counts.submitted + counts.failed + counts.in_doubt
            told = (
                f"{counts.failed} failed, {counts.in_doubt} in doubt, {counts.postponed} postponed"
            )
            progress.update(task, completed=ended, total=max(due, ended), description=told)

        yield watch
