"""Which part limits a run, why, what to change, and what that should bring: derived from one reading of the run."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Any, Literal

from .reading import Reading, StageReading

Reason = Literal[
    "unknown", "serial", "waits", "contention", "computes", "cores", "room", "crowded", "order", "hand-over", "balanced",
    "rate", "retry-after",
]  # fmt: skip
Setting = Literal["workers", "sub_workers", "processes", "queue_size", "window", "rate_limit"]
NO_PART = ("unknown", "balanced", "hand-over")  # Reasons that blame no part in particular.

# Shares of the time, from 0 to 1, and ratios. They are choices: how sure a verdict wants to be.
WORTH = 1.15  # A change that brings less is not advised, and parts whose loads differ by less are balanced.
COMPUTES = 0.5  # Share of CPU time in the time of calls: a stage above it computes, and one below it waits.
IDLE = 0.5  # Below this load no part limits the run: each waits more than half of the time for something unseen.
MOST_RISE, FROM_ONE = 4, 8  # The most times as many workers as there are; the number that may always be tried.
MOST_WINDOW = 8192  # Results that may wait for their turn: more would fill the memory rather than the cores.
CROWDED = 0.2  # Share of the time that threads could run and wait for a core: above it the machine is crowded.
FULL = 0.9  # Share of the cores that are at work: above it, none is free.
# Cores at work in this process. Under the GIL, Python takes at most 1.0; C code that releases it adds to that.
GIL_TAKEN, GIL_RELEASED = 0.9, 1.2
LITTLE = 0.25  # Cores that a part keeps at work: below this, it waits for something other than the GIL.
# Seconds of CPU time in this process, from `benchmarks/bench.py --only hop workers procs` of the template, on two cores.
HAND_OVER = 5e-6  # Of a shorter call, most is hand-over: 0.8 µs a stage, 3 with 4 workers; measuring it takes as much.
LOOP_HAND_OVER = 1.2e-4  # Of a call in an event loop, twice what one takes that does `await asyncio.sleep(0)`.
ROUND_TRIP = 1e-4  # A chunk to a child process and its outcomes back: 80 to 105 µs, where a call of 1 ms is a chunk.
SENT = 6e-6  # Each item of a chunk of many: 6 µs, where calls do nothing.
CHUNK = 1e-3  # Seconds of calls in one chunk, as in pipeline_core/children.py.


@dataclass(frozen=True)
class Change:
    """A setting of a part, and the number that it should have.

    "workers" of the source or the consumer are those of a stage that takes over its work, and those of an async stage the
    calls that it has in flight. "processes" are the workers of a stage with executor="process"; for an async stage that
    computes, of one that takes over what it computes. A "rate_limit" is in calls a second; all others are whole numbers.
    """

    part: str
    setting: Setting
    now: Any
    then: Any


@dataclass(frozen=True)
class Verdict:
    """What limits a run.

    `part`      the name of a stage, "source", "consumer", or "": nothing in particular
    `reason`    "waits"      its calls wait, for example for a network or a disk: more can run at a time
                "contention" its calls wait for one another: for a lock, a limiter, a server at its limit
                "computes"   its calls compute; under the GIL, or in an event loop, only one at a time
                "cores"      no core is free for more of its calls
                "room"       the cluster that makes its calls has no room for more workers
                "crowded"    other programs use the cores that it needs
                "order"      its results are ready, and wait for a slow item in front of them
                "rate"       its `rate_limit` allows no more calls
                "retry-after"
                             what it calls has asked it to wait, with a RetryAfter
                "hand-over"  handing an item on takes more time than the work on it
                "balanced"   several parts are equally slow
                "serial"     the run was the plain loop, and this part took the largest share of it
                "unknown"    too few items are done, or no part was busy
    `items_per_second`, `expected`
                items of the source: in this run, and with all the changes
    `changes`   what to change
    `then`      the part that should limit the run then, or "the CPU", or "the cluster"; "" if none is known
    `guess`     whether `expected` assumes that calls do not wait for one another
    `busy`      the slowest parts, with the share of the time that each was busy, or waited for its rate
    """

    part: str
    reason: Reason
    items_per_second: float = 0.0
    expected: float = 0.0
    changes: tuple[Change, ...] = ()
    then: str = ""
    guess: bool = False
    busy: tuple[tuple[str, float], ...] = ()


def judge(reading: Reading) -> Verdict:
    """What limits this run, or has limited it so far."""
    parts = list(_parts(reading))
    done = sum(stage.processed + stage.filtered for stage in reading.stages)
    if not parts or done < 2 or not reading.items_per_second:
        return Verdict("", "unknown")
    return _Run(reading, parts).verdict()


def _workers(stage: StageReading) -> Setting:
    return "sub_workers" if stage.pool else "workers"


def whole_workers(workers: float) -> int:
    """The least number of workers that is enough; 2% of a worker too few are accepted, since all measurements vary."""
    return max(1, ceil(workers - 0.02))


@dataclass(frozen=True)
class _Part:
    """One part of the run. The source and the consumer stand as stages of one worker, with `is_stage` False.

    `load`   share of the time in which it cannot take more: it is busy, its results wait for their turn, or it waits for
             its rate; or the share of its rate, or of its event loop, that it uses
    `busy`   share of the time in which it is busy
    `cores`  cores that its calls keep at work
    `ready`  share of the time in which it is busy, or its results wait for their turn
    """

    stage: StageReading
    load: float
    busy: float
    cores: float = 0.0
    ready: float = 0.0
    is_stage: bool = True

    @property
    def in_loop(self) -> bool:
        return self.stage.executor == "async"

    @property
    def computes(self) -> bool:
        return self.stage.computing >= (GIL_TAKEN if self.in_loop else COMPUTES)

    @property
    def in_children(self) -> bool:
        return self.stage.executor == "process"

    @property
    def here(self) -> bool:
        """Whether its calls are made in this process."""
        return not (self.in_children or self.stage.room)

    @property
    def waits_for_order(self) -> bool:
        return self.ready > WORTH * self.busy

    @property
    def waits_for_rate(self) -> bool:
        return self.stage.rate_used * WORTH >= 1 or self.stage.waiting_for_rate > self.busy


def _parts(reading: Reading) -> Iterator[_Part]:
    """The source, the stages and the consumer, as far as any item has come, at the speed that the run has.

    How long a part worked on an item is taken from the whole run: it may have finished before the last stage began.
    """
    whole, rate = reading.whole, reading.items_per_second

    def other(name: str, busy: float, items: float) -> _Part:
        share = min(1.0, busy * whole.seconds / items * rate)
        stage = StageReading(name, 1, whole.read, 0, 0, 0, 0, 0, 0, share, 0.0, 0.0)
        return _Part(stage, share, share, is_stage=False)

    if not whole.read:
        return
    yield other("source", whole.source_busy, whole.read)
    visits = 1 - whole.source_failed / whole.read  # Items that reach a stage for each item of the source.
    for stage, told in zip(reading.stages, whole.stages, strict=True):
        done = stage.processed + stage.filtered + stage.failed + stage.passed
        if not visits or not done:
            return
        scale = stage.seconds * visits / done * rate  # From a share of the whole run to one at this speed.
        in_loop, busy = told.executor == "async", told.busy * scale
        ready = busy + told.waiting_for_order * scale
        cores = told.computing * scale if in_loop else busy * stage.computing * stage.workers
        load = max(ready + told.waiting_for_rate * scale, told.rate_used * scale, cores if in_loop else 0.0)
        yield _Part(stage, min(1.0, load), min(1.0, busy), cores, min(1.0, ready))
        visits *= stage.emitted / done
    if visits and whole.delivered:
        yield other("consumer", whole.consumer_busy, whole.delivered / visits)


class _Run:
    """What is known of a run, and which case it is. A `rise` is a speed as a multiple of the speed of this run."""

    def __init__(self, reading: Reading, parts: list[_Part]) -> None:
        self.reading, self.parts = reading, parts
        self.limit = max(parts, key=lambda part: part.load)
        # Cores at work: in this process, in calls in this process, and with child processes.
        self.used, self.calls = reading.cores_used, sum(part.cores for part in parts if part.here)
        self.total = self.used + sum(part.cores for part in parts if part.in_children)
        self.one_core = reading.gil and self.used < GIL_RELEASED
        # The share of a cluster that computes.
        self.cluster = sum(part.cores / part.stage.room for part in parts if part.stage.room)

    def verdict(self) -> Verdict:
        limit, reading, crowded = self.limit, self.reading, self.reading.crowded or 0.0
        if reading.serial:
            return self._about([limit], "serial", *self._bound())
        if self.one_core and self.used > GIL_TAKEN:
            return self._one_core()
        if limit.load < IDLE:
            return self._about([limit], "unknown")
        if limit.waits_for_rate:
            return self._at_its_rate(limit)
        computing = limit.stage.computing if limit.is_stage else self.used - self.calls
        needs_core = computing / max(1e-9, 1 - crowded)  # Share of its time in which it computes, or waits for a core.
        free = self.total < FULL * reading.cores and not limit.stage.room
        if crowded >= CROWDED and needs_core >= COMPUTES and free:
            return self._about([limit], "crowded")
        if self._computes_alone(limit):
            return self._computes(limit)
        return self._late(limit) if limit.waits_for_order else self._busy(limit)

    def _about(self, parts: list[_Part], reason: Reason, rise: float = 1, then: str = "", *changes: Change) -> Verdict:
        """The verdict on the slowest parts, the first of which is the limit unless the reason is one of NO_PART."""
        now = self.reading.items_per_second
        name = "" if reason in NO_PART else parts[0].stage.name
        busy = tuple((part.stage.name, part.stage.busy + part.stage.waiting_for_rate) for part in parts)
        expected = now * max(1.0, rise) if rise < inf else now
        return Verdict(name, reason, now, expected, changes, then, busy=busy)

    def _bound(self, *without: _Part) -> tuple[float, str]:
        """How far the other parts can follow, and which of them is the first that cannot. The CPU is one of them."""
        loads = [(part.load, part.stage.name) for part in self.parts if part not in without]
        cpu = max(self.used if self.one_core else 0.0, self.total / self.reading.cores)
        load, name = max([*loads, (cpu, "the CPU"), (self.cluster, "the cluster")])
        return (1 / load, name) if load else (inf, "")

    def _rate(self, part: _Part) -> float:
        """Items a second that this part works on."""
        received = max(0, part.stage.received - part.stage.passed)
        return self.reading.items_per_second * received / max(1, self.reading.read)

    def _computes_alone(self, part: _Part) -> bool:
        """Whether its calls compute, and take no more than one core together: with one worker they never take more."""
        if part.in_loop and part.computes:
            return True
        if not self.reading.gil or not part.here:
            return False
        if self.one_core:
            return part.computes
        return part.stage.workers > 1 and GIL_TAKEN < part.cores < GIL_RELEASED

    def _busy(self, limit: _Part) -> Verdict:
        """More workers, in all stages that are as slow as the slowest."""
        near = [part for part in self.parts if part.load * WORTH >= limit.load]
        for part in near:
            if part.cores < COMPUTES and part.stage.times.contention:
                return self._about([part], "contention")
        most = min(self._most(part) / part.stage.workers for part in near)
        rise, then = min(self._bound(*near), (most, ""))
        several = len(near) > 1
        waits = any(part.waits_for_order or part.waits_for_rate for part in near)
        stuck = waits or any(not part.is_stage or self._computes_alone(part) for part in near)
        if rise < WORTH or (several and stuck):
            full = then == "the cluster" or (not then and near[0].stage.room)
            return self._about(near, "balanced" if several else "room" if full else "cores")
        changes = []
        for stage in (part.stage for part in near):
            changes.append(Change(stage.name, _workers(stage), stage.workers, whole_workers(stage.workers * rise)))
        reason: Reason = "balanced" if several else "computes" if limit.computes else "waits"
        guess = not all(part.computes for part in near)
        return replace(self._about(near, reason, rise, then, *changes), guess=guess)

    def _at_its_rate(self, limit: _Part) -> Verdict:
        """A higher rate, if it is the stage's own, and the workers that it needs."""
        stage, near = limit.stage, [part for part in self.parts if part.load * WORTH >= limit.load]
        if stage.rate_limit is None or stage.rate_used * WORTH < 1:
            return self._about([limit], "retry-after")
        rise, then = min((MOST_RISE, ""), self._bound(limit))
        if rise < WORTH:
            return self._about(near, "balanced") if len(near) > 1 else self._about([limit], "rate")
        higher = Change(stage.name, "rate_limit", stage.rate_limit, float(f"{stage.rate_limit * rise:.3g}"))
        workers = Change(stage.name, _workers(stage), stage.workers, whole_workers(stage.workers * limit.busy * rise))
        return self._about([limit], "rate", rise, then, *[workers] * (workers.then > workers.now), higher)

    def _most(self, part: _Part) -> float:
        """How many workers to extrapolate to: beyond that, limits may show that no measurement tells of yet."""
        workers, room = part.stage.workers, part.stage.room
        most: float = max(FROM_ONE, MOST_RISE * workers)
        if part.in_loop:
            most = min(most, workers / max(part.cores, 1e-9))
        elif part.computes:
            most = room or self.reading.cores
        return max(workers, min(most, room or most))

    def _late(self, limit: _Part) -> Verdict:
        """Let more results wait for a slow item: as many as are ready while it is worked on."""
        stage = limit.stage
        most = limit.load / max(limit.busy, limit.load / FROM_ONE)
        full, then = min((most, ""), self._bound(limit))
        needed = stage.workers + ceil(full * self._rate(limit) * stage.times.quantile(1.0))
        needed = max(2 * stage.window, needed)
        size = min(1 << (needed - 1).bit_length(), max(MOST_WINDOW, stage.window))  # The next power of 2.
        rise = 1 + (full - 1) * min(1.0, (size - stage.window) / (needed - stage.window))
        if rise < WORTH:
            return self._about([limit], "order")
        setting: Setting = "window" if stage.pool else "queue_size"
        now = stage.window if stage.pool else stage.queue_size
        return self._about([limit], "order", rise, then, Change(stage.name, setting, now, size))

    def _one_core(self) -> Verdict:
        """One core is always at work, and the GIL allows no more: the part that computes most limits the run."""
        most = max((part for part in self.parts if part.here), key=lambda part: part.cores)
        times = most.stage.times
        if self.calls >= self.used / 2 and times.call_seconds > HAND_OVER * times.calls:
            return self._computes(most)
        if not self.limit.is_stage and self.limit.load >= IDLE:
            return self._computes(self.limit)
        return self._about([self.limit], "hand-over")

    def _computes(self, limit: _Part) -> Verdict:
        """Child processes for it: the other parts share the GIL, and all share the cores."""
        cores, rate = self.reading.cores, self._rate(limit)
        if limit.stage.room:  # Event loops on a cluster.
            return self._about([limit], "computes")
        if limit.in_loop and limit.cores < LOOP_HAND_OVER * rate:
            return self._about([limit], "hand-over")
        own = limit.cores if limit.is_stage else self.used - self.calls
        chunks = min(1.0, own / max(rate, 1e-9) / CHUNK)  # Chunks an item; a long call is a chunk of its own.
        sent = rate * max(SENT, ROUND_TRIP * chunks)  # Cores that are busy with sending its items.
        cpu = max(1 / cores, (self.total + sent) / cores, self.used - own + sent)
        # A part that computes looks busy while it waits for the GIL. What it needs is in the CPU time of the others.
        others = [part for part in self.parts if part is not limit and part.cores < LITTLE]
        load, then = max([(cpu, "the CPU"), *((part.load, part.stage.name) for part in others)])
        rise = 1 / load
        if rise >= WORTH:
            processes = Change(limit.stage.name, "processes", 0, min(cores, whole_workers(own * rise)))
            return self._about([limit], "computes", rise, then, processes)
        if then == "the CPU":
            return self._about([limit], "cores" if self.total > FULL * cores else "computes")
        return self._about([limit, *(part for part in others if part.stage.name == then)], "balanced")
