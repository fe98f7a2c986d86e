"""A verdict in words: a sentence about what limits the run, and one about what to change."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .verdict import Change, Verdict


def in_words(verdict: "Verdict") -> str:
    """Plain text in one line. It says where each number goes, on the command line and in pipeline.py."""
    finding = f"{_finding(verdict)}."
    speed = f"about {rate(verdict.expected)} items a second instead of {rate(verdict.items_per_second)}"
    if verdict.reason == "serial":
        return f"{finding} With threads it should come to {speed}."
    if not verdict.changes:
        return finding
    then = f"; then {verdict.then} limits it" if verdict.then else ""
    return f"{finding} {_ways(verdict)} should bring {speed}{then}."


def rate(number: float) -> str:
    """Items a second, in at least two digits."""
    return f"{number:,.0f}" if number >= 9.95 else f"{number:.2g}"


def _finding(verdict: "Verdict") -> str:
    busy = ", ".join(f"{name} {share:.0%}" for name, share in verdict.busy)
    share = f"{verdict.busy[0][1]:.0%} of the time" if verdict.busy else ""
    match verdict.reason, verdict.part:
        case "unknown", _:
            few = "Too few items are done to say what limits the run"
            busiest = f"the busiest part, {verdict.busy[0][0]}, was busy {share}" if busy else ""
            return f"Nothing in particular limits the run: {busiest}" if busy else few
        case "balanced", _:
            return f"Nothing in particular limits the run: the slowest parts are busy alike ({busy})"
        case "hand-over", _:
            return "Handing items on takes more time than the work on them: let each item carry more"
        case "serial", part:
            return f"In the plain loop, {part} takes {share}"
        case _, "source":
            return f"The source limits the run: it was busy with the next item {share}"
        case _, "consumer":
            return f"The consumer limits the run: it was busy with results {share}"
    return _finding_of_stage(verdict, share)


def _finding_of_stage(verdict: "Verdict", share: str) -> str:
    stage = verdict.stage
    if stage is None:
        return f"{verdict.part} limits the run"
    several = "" if stage.workers == 1 else "s"
    workers = f"{stage.workers} {'sub-' if stage.pool else ''}worker{several}"
    limits = f"{stage.name} limits the run: its {workers} {'were' if several else 'was'} busy"
    cpu = f"({stage.computing:.0%} CPU)"
    match verdict.reason:
        case "order":
            longest = stage.service_times[-1][0] if stage.service_times else 0.0
            waits = f"{stage.waiting_for_order:.0%} of it for a slow item in front (up to {longest:.2g} s)"
            return f"{limits} {stage.busy:.0%} of the time, and results waited {waits}"
        case "window":
            few = f"{stage.window} item{'' if stage.window == 1 else 's'} in its window"
            return f"{limits} only {stage.busy:.0%} of the time, with no more than {few}"
        case "computes":
            how = "compute, under the GIL one at a time" if several else f"computes {cpu}"
            small = "" if verdict.changes else "; its calls are too short for child processes: let each item carry more"
            return f"{limits} {share}, and {how}{small}"
        case "cores":
            return f"{limits} {share}, and no core is free for more"
    return f"{limits} {share}, and wait{'' if several else 's'} {cpu}"


def _ways(verdict: "Verdict") -> str:
    if len(verdict.changes) == 1:
        return _way(verdict.changes[0], verdict)
    return f"More workers in each ({' '.join(map(_option, verdict.changes))}, or in pipeline.py)"


def _option(change: "Change") -> str:
    return f"--workers {change.part}={change.then}"


def _way(change: "Change", verdict: "Verdict") -> str:
    number, step = change.then, f"{change.setting}: {change.now} -> {change.then}"
    plural = "" if number == 1 else "es"
    match change.setting, change.part:
        case "workers", "source":
            return f"Let it give what is quick to get, such as paths; a first stage with {number} workers for the rest"
        case "workers", "consumer":
            return f"A last stage with {number} workers that does it"
        case "workers" | "sub_workers", _:
            return f"{step} ({_option(change)}, or in pipeline.py)"
        case "queue_size", _:
            return f"{step} (--queue-size {number}, or in pipeline.py), or ordered=False,"
        case "window", _:
            return f"{step} (among its worker_args in pipeline.py)"
        case _, "source" | "consumer":
            return f"A stage that does it in {number} child process{plural}"
    pool = f"executor='process' and sub_workers={number}"
    if verdict.stage is not None and verdict.stage.pool:
        return f"{pool} (in pipeline.py), or free-threaded Python,"
    released = f"if its calls release the GIL as NumPy's do, {_option(change)}"
    return f"A SubTaskPoolWorker with {pool}, or free-threaded Python, or, {released},"
