"""Which part limits a run, why, what to change, and what that should bring: read off its report."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any, Literal

from .advice import in_words

if TYPE_CHECKING:
    from .report import PipelineReport, StageReport

Reason = Literal["unknown", "serial", "waits", "computes", "cores", "order", "window", "hand-over", "balanced"]
Setting = Literal["workers", "sub_workers", "processes", "queue_size", "window"]

WORTH = 1.15  # A change that brings less is not told; and parts that are this near to each other are balanced.
HAND_OVER = 5e-6  # seconds: calls that are shorter cost less than what hands their items on
ROUND_TRIP = 1e-4  # seconds of CPU time that it takes to send an item to a child process and its result back
HELD_UP = 1.3  # So much longer is the window of a pool full than its workers are busy, where they lack items.
MOST_WINDOW = 8192  # results that wait for their turn: more would fill the memory rather than the cores


@dataclass(frozen=True)
class Change:
    """A setting of a part, and the number that it should have.

    "workers" of the source or the consumer are those of a stage that does its work. "processes" are child processes that
    do the work of a part which computes.
    """

    part: str
    setting: Setting
    now: int
    then: int


@dataclass(frozen=True)
class Verdict:
    """What limits a run. `text` says it in a sentence or two, and so does `str`.

    `part`      the name of a stage, "source", "consumer", or "": nothing in particular
    `reason`    "waits"      its calls wait, for a network or a disk: more of them at a time
                "computes"   its calls compute, under the GIL no more than one at a time
                "cores"      no core is free for more of it
                "order"      results are done, and wait for a slow one in front of them
                "window"     a sub-task pool may not have enough items in hand to keep all its workers at work
                "hand-over"  handing an item on takes more time than the work on it
                "balanced"   several parts are as slow as each other
                "serial"     it was the plain loop, and this part took the largest share of it
                "unknown"    too little was done, or nobody was busy
    `items_per_second`, `expected`
                items of the source: in this run, and with all the changes
    `changes`   what to change
    `then`      the part that should limit it then, or "the CPU"; "": none that is known
    `busy`      the slowest parts, with the share of the time that each was occupied
    `stage`     the report of the stage that `part` names
    """

    part: str
    reason: Reason
    items_per_second: float = 0.0
    expected: float = 0.0
    changes: tuple[Change, ...] = ()
    then: str = ""
    busy: tuple[tuple[str, float], ...] = ()
    stage: "StageReport | None" = None

    @property
    def text(self) -> str:
        return in_words(self)

    def __str__(self) -> str:
        return self.text

    @property
    def tuning(self) -> dict[str, Any]:
        """Those changes that need no other code, as the arguments of `PipelineManager.tune`."""
        stages = [change for change in self.changes if change.part not in ("source", "consumer")]
        workers = {change.part: change.then for change in stages if change.setting in ("workers", "sub_workers")}
        sizes = [change.then for change in stages if change.setting == "queue_size"]
        return {"workers": workers, "queue_size": max(sizes, default=None)}


def judge(report: "PipelineReport") -> Verdict:
    """What limits this run, or has limited it up to now. Computed from what was measured, and from nothing else."""
    parts = list(_parts(report))
    limit = max(parts, key=lambda part: part.held, default=None)
    if limit is None or limit.items < 2 or not any(stage.processed + stage.filtered for stage in report.stages):
        return Verdict("", "unknown")
    return _Judge(report, parts, limit).verdict()


@dataclass(frozen=True)
class _Part:
    """What one part does for an item of the source, in seconds on average."""

    name: str
    items: float  # How many of the source's it is done with,
    seconds: float  # in how many seconds.
    work: float  # Its workers share the items: with twice as many it would be half of this.
    held: float  # The same, and what they waited for the order.
    cpu: float = 0.0  # CPU time, of all its workers together.
    stage: "StageReport | None" = None

    @property
    def occupied(self) -> float:
        return min(1.0, self.held * self.items / self.seconds)

    @property
    def workers(self) -> int:
        return 1 if self.stage is None else self.stage.workers

    @property
    def setting(self) -> Setting:
        return "sub_workers" if self.stage is not None and self.stage.pool else "workers"

    @property
    def in_children(self) -> bool:
        return self.stage is not None and self.stage.pool == "process"

    @property
    def computes(self) -> bool:
        return self.stage is not None and self.stage.computing >= 0.5

    @property
    def call(self) -> float:
        """Seconds of a call, on average."""
        times = () if self.stage is None else self.stage.service_times
        return sum(seconds * calls for seconds, calls in times) / max(1, sum(calls for _, calls in times))

    @property
    def held_up(self) -> bool:
        return self.held > (HELD_UP if self.setting == "sub_workers" else WORTH) * self.work


def _parts(report: "PipelineReport") -> Iterator[_Part]:
    """The source, the stages and the consumer, as far as any item has come."""
    if not report.read or not report.seconds:
        return
    each = report.source_busy * report.seconds / report.read
    yield _Part("source", report.read, report.seconds, each, each)
    visits = 1 - report.source_failed / report.read  # How many items come to a stage for one of the source.
    for stage in report.stages:
        if not visits or not stage.received or not stage.seconds:
            return
        done = max(1, stage.processed + stage.filtered + stage.failed)
        items = done / visits
        taken = 1 - stage.waiting_for_input - stage.waiting_for_output  # Of a pool: by what is in its window.
        work, held = (share * stage.seconds / items for share in (stage.busy, max(stage.busy, taken)))
        cpu = stage.computing * sum(seconds * calls for seconds, calls in stage.service_times) / items
        yield _Part(stage.name, items, max(stage.seconds - stage.first_wait, 1e-9), work, held, cpu, stage)
        visits *= stage.emitted / done
    if visits and report.delivered:
        items = report.delivered / visits
        each = report.consumer_busy * report.seconds / items
        yield _Part("consumer", items, max(report.seconds - report.first_wait, 1e-9), each, each)


class _Judge:
    """What is known about a run, and the cases that it may be."""

    def __init__(self, report: "PipelineReport", parts: list[_Part], limit: _Part) -> None:
        self.report, self.parts, self.limit = report, parts, limit
        self.now = limit.items / limit.seconds
        in_children = sum(part.cpu for part in parts if part.in_children)
        working = report.cpu_seconds - sum(stage.setup_cpu_seconds for stage in report.stages)
        self.threads_cpu = max(0.0, working) / limit.items  # For an item, without what child processes do;
        self.stages_cpu = sum(part.cpu for part in parts) - in_children  # and of that, in calls of the stages.
        self.cpu = self.threads_cpu + in_children
        # With clearly more than one core at work, what computes lets go of the GIL.
        self.one_core = report.gil and self.threads_cpu * self.now < 1.2

    def verdict(self) -> Verdict:
        limit = self.limit
        if self.report.serial:
            expected, then = self._bound()
            return self._verdict(limit, "serial", expected, then=then)
        if self.one_core and self.threads_cpu * self.now > 0.9:
            return self._one_core()
        if limit.occupied < 0.5:
            return self._verdict(None, "unknown", near=[limit])
        if self._holds_the_gil(limit):
            return self._computes(limit)
        return self._held_up(limit) if limit.held_up else self._busy(limit)

    def _verdict(
        self,
        part: _Part | None,
        reason: Reason,
        expected: float = 0.0,
        *changes: Change,
        then: str = "",
        near: list[_Part] | None = None,
    ) -> Verdict:
        busy = tuple((one.name, one.occupied) for one in near or [part or self.limit])
        name, stage = ("", None) if part is None else (part.name, part.stage)
        return Verdict(name, reason, self.now, max(expected, self.now), changes, then, busy, stage)

    def _bound(self, *without: _Part) -> tuple[float, str]:
        """Items a second that the other parts can do, and the slowest of them. The CPU is one of them."""
        costs = [(part.held, part.name) for part in self.parts if part not in without]
        costs += [(self.threads_cpu / (1 if self.one_core else self.report.cores), "the CPU")]
        costs += [(self.cpu / self.report.cores, "the CPU")]
        slowest, name = max(costs)
        return (1 / slowest, name) if slowest else (inf, "")

    def _busy(self, limit: _Part) -> Verdict:
        """More workers, in all stages that are as slow as the slowest."""
        near = [part for part in self.parts if part.held * WORTH >= limit.held]
        bound, then = self._bound(*near)
        most = self.now * min(self._most(part) / part.workers for part in near)
        expected, then = min((bound, then), (most, ""))
        if len(near) == 1 and expected < WORTH * self.now:
            return self._verdict(limit, "cores")
        if len(near) > 1 and (
            expected < WORTH * self.now
            or any(part.stage is None or part.held_up or self._holds_the_gil(part) for part in near)
        ):
            return self._verdict(None, "balanced", near=near)
        # Near to all of the GIL, who has waited for something waits for that, too.
        slack = 1.5 if self.one_core and expected * self.threads_cpu > 0.75 else 1.0
        factor = min(most, expected * slack) / self.now
        changes = [Change(part.name, part.setting, part.workers, ceil(part.workers * factor - 0.02)) for part in near]
        if len(near) > 1:
            return self._verdict(None, "balanced", expected, *changes, then=then, near=near)
        return self._verdict(limit, "computes" if limit.computes else "waits", expected, *changes, then=then)

    def _most(self, part: _Part) -> int:
        """How far measured times are trusted: with more workers, limits show that nothing tells of yet."""
        return max(part.workers, self.report.cores) if part.computes else max(8, 4 * part.workers)

    def _held_up(self, limit: _Part) -> Verdict:
        """Let more results wait for a slow one: as many as come while it is done."""
        assert limit.stage is not None
        stage, (bound, then) = limit.stage, self._bound(limit)
        full, then = min((1 / max(limit.work, limit.held / 8), ""), (bound, then))
        longest = max((seconds for seconds, _ in stage.service_times), default=0.0)
        needed = max(2 * stage.window, stage.workers + ceil(full * longest * stage.received / limit.items))
        size = min(1 << (needed - 1).bit_length(), max(MOST_WINDOW, stage.window))
        share = min(1.0, (size - stage.window) / (needed - stage.window)) if stage.window else 0.0
        expected = self.now + (full - self.now) * share
        reason: Reason = "order" if stage.waiting_for_order > 0.1 else "window"
        if expected < WORTH * self.now:
            return self._verdict(limit, reason)
        change = Change(limit.name, "window" if stage.pool else "queue_size", stage.window, size)
        return self._verdict(limit, reason, expected, change, then=then)

    def _holds_the_gil(self, part: _Part) -> bool:
        """It computes, and no more than one core at a time, as far as can be seen: one worker never has more."""
        if not self.report.gil or part.stage is None or part.in_children:
            return False
        own = part.cpu * self.now
        return part.computes if self.one_core else 0.8 < own < 1.1 and part.workers > 1

    def _one_core(self) -> Verdict:
        """One core is at work all the time, and no more can be: who computes most limits the run."""
        most = max((part for part in self.parts if not part.in_children), key=lambda part: part.cpu)
        if self.stages_cpu >= self.threads_cpu / 2 and most.call > HAND_OVER:
            return self._computes(most)
        if self.limit.stage is None and self.limit.occupied >= 0.5:
            return self._computes(self.limit)
        return self._verdict(None, "hand-over")

    def _computes(self, limit: _Part) -> Verdict:
        """Child processes for it. The rest keeps the GIL, and all share the cores."""
        cores, sent = self.report.cores, ROUND_TRIP
        own = limit.cpu if limit.stage is not None else self.threads_cpu - self.stages_cpu
        if limit.stage is not None:
            sent *= limit.stage.received / limit.items
        cpu = max(1 / (self.now * cores), (self.cpu + sent) / cores, self.threads_cpu - own + sent)
        # Who computes looks busy while it waits for the GIL: what it needs of that is in the rest's CPU time.
        others = [part for part in self.parts if part is not limit and part.cpu * self.now < 0.25]
        slowest, then = max([(cpu, "the CPU"), *((part.held, part.name) for part in others)])
        expected = 1 / slowest
        if expected < WORTH * self.now:
            if then == "the CPU":
                return self._verdict(limit, "cores" if self.cpu * self.now > 0.9 * cores else "computes")
            return self._verdict(None, "balanced", near=[limit, *(part for part in others if part.name == then)])
        processes = Change(limit.name, "processes", 0, max(1, min(cores, ceil(own * expected - 0.02))))
        return self._verdict(limit, "computes", expected, processes, then=then)
