"""The report of a run for a terminal: a table with a row a stage, and what limits the run."""

from collections.abc import Iterator

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from .advice import advise
from .columns import Columns, counts, times
from .reading import Reading
from .units import duration, rate

BETWEEN = 2  # Columns of the terminal between two columns of a table.
NAME = 16  # Columns of the terminal that a name has at least; a longer one is folded where there is no more room.


class ReportTable:
    """Renders a reading: one table if the terminal is wide enough, otherwise one of counts and one of times, or more."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        reading, names = self.reading, [stage.name for stage in self.reading.stages]
        speed = f", {rate(reading.items_per_second)} items/s" if reading.items_per_second else ""
        dropped = sum(stage.filtered for stage in reading.stages)
        filtered = f", {dropped:,} filtered" if dropped else ""
        counted = f"{reading.delivered:,} delivered{filtered}, {reading.failed:,} failed{speed}"
        yield Text(f"{reading.name}: {reading.state} after {duration(reading.seconds)}, {counted}")
        room = options.max_width - min(max(map(cell_len, names), default=0), max(NAME, options.max_width // 3))
        of_items, of_time = counts(reading.stages), times(reading.stages)
        together = list(_parts(of_items | of_time, room))
        for columns in together if len(together) == 1 else (*_parts(of_items, room), *_parts(of_time, room)):
            yield table(names, columns)
        if reading.items_per_second:
            yield Text(advise(reading))


def _parts(columns: Columns, room: int) -> Iterator[Columns]:
    """The columns, cut where the terminal ends."""
    part, used = Columns(), 0
    for heading, texts in columns.items():
        width = BETWEEN + max(map(len, (*heading.split("\n"), *texts)))
        if part and used + width > room:
            yield part
            part, used = Columns(), 0
        part, used = part | {heading: texts}, used + width
    yield part


def table(names: list[str], columns: Columns) -> Table:
    """A row for each name, with what each column says of it."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("stage", overflow="fold", min_width=min(max(map(len, names), default=0), NAME), vertical="bottom")
    for heading in columns:
        grid.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for texts in zip(names, *columns.values(), strict=True):
        grid.add_row(*texts)
    return grid


def bar(share: float, width: int = 8) -> str:
    """A bar that is filled to this share of its width."""
    full = min(width, round(share * width))
    return "█" * full + "·" * (width - full)
