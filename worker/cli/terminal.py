"""Draw tables and progress on a terminal. Imported only there, because rich is slow to load."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box, progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.core.run_state import Counts


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
    columns = (progress.TextColumn("{task.description}"), progress.TimeElapsedColumn())
    with progress.Progress(*columns, console=Console(stderr=True)) as drawn:
        tasks: defaultdict[str, progress.TaskID] = defaultdict(lambda: drawn.add_task(""))

        def show(name: str, text: str) -> None:
            drawn.update(tasks[name], description=f"{name}: {text}" if text else name)

        yield show


@contextmanager
def bar(due: int) -> Iterator[Callable[[Counts], None]]:
    """Show a progress bar of ``due`` videos on stderr; yield a function that takes new counts."""
    numbers = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeElapsedColumn())
    text = progress.TextColumn
    columns = (text("submitting"), *numbers, text("{task.description}"))
    with progress.Progress(*columns, console=Console(stderr=True)) as drawn:
        task = drawn.add_task("", total=due)

        def watch(counts: Counts) -> None:
            ended = counts.submitted + counts.failed + counts.in_doubt
            others = f"{counts.failed} failed, {counts.in_doubt} in doubt"
            others += f", {counts.postponed} postponed"
            drawn.update(task, completed=ended, total=max(due, ended), description=others)
            drawn.tasks[task].finished_time = None  # a full bar's clock would stand still

        yield watch
