"""Which item of a stage an output came from, and so which item of the source."""

from bisect import bisect
from collections.abc import Iterable
from math import inf

KEPT = 10_000  # Entries: far more than there are items in a pipeline. What is older is forgotten.


class Lineage:
    """Which item each output of a stage came from, by their positions, from 0. One thread notes; any thread may ask.

    Most outputs come from the item at the same distance. Only where that distance changes, at an item that gives none or
    several outputs, is something noted; and for each item, if they are not handed on in the order in which they came in.

    `ordered`  whether they are
    """

    def __init__(self) -> None:
        self._distances: list[tuple[int, float]] = [(0, 0)]  # From which output on; the item is so much further.
        self._order: dict[int, int] = {}  # The position in which an item was handed on, and in which it came in.
        self.ordered, self._handed_on = True, 0

    def note(self, output: int, item: float) -> None:
        """From this output on, the next item is this one; infinity: they come from no item.

        Without order, `item` is the position in which it was handed on.
        """
        if item - output != self._distances[-1][1]:
            if len(self._distances) > 2 * KEPT:
                self._distances = self._distances[-KEPT:]  # A new list: another thread may search the old one.
            self._distances.append((output, item - output))

    def handed_on(self, items: Iterable[int]) -> None:
        """Of these items, in this order, something is handed on next: all that they gave, or one output of many."""
        for item in items:
            self._order[self._handed_on] = item
            self._order.pop(self._handed_on - 2 * KEPT, None)
            self._handed_on += 1

    def item_of(self, output: int) -> int | None:
        """None if it came from no item, as what `finish` gives, or if that is not known."""
        distances = self._distances
        number = bisect(distances, (output, inf)) - 1
        item = inf if number < 0 else output + distances[number][1]
        if item == inf:
            return None
        return int(item) if self.ordered else self._order.get(int(item))
