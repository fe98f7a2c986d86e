"""A verdict in words: a sentence about what was measured, and one about what to change and what that should bring."""

from .reading import Reading, StageReading
from .units import duration, rate
from .verdict import Change, Verdict, judge

FINDINGS = {  # By the reason of the verdict, or by its part. Those on a stage go on behind "STAGE limits the run: ".
    "unknown": "Nothing in particular limits the run: the busiest part, {name}, was busy {share}",
    "balanced": "Nothing in particular limits the run: the slowest parts are busy alike ({shares})",
    "hand-over": "Handing items on takes more time than the work on them: let each item carry more",
    "serial": "In the plain loop, {name} takes {share}",
    "source": "The source limits the run: it was busy with the next item {share}",
    "consumer": "The consumer limits the run: it was busy with results {share}",
    "waits": "{workers} busy {share}, and wait{s} ({stage.cpu:.0%} CPU)",
    "contention": "{workers} busy {share}, and wait{s} ({stage.cpu:.0%} CPU); a lock, a limiter or a server seems to hold "
    "them up: {stage.times.contention}",
    "computes": "{workers} busy {share}, and compute{s}{by_turns} ({stage.cpu:.0%} CPU){too_short}",
    "loop": "its event loop computes {stage.computing:.0%} of the time, and its calls wait for it{too_short}",
    "cores": "{workers} busy {share} ({stage.cpu:.0%} CPU), and no core is free for more",
    "room": "{workers} busy {share} ({stage.cpu:.0%} CPU), and the cluster has no room for more",
    "crowded": "{workers} busy {share} ({stage.cpu:.0%} CPU); other programs have the cores: threads waited for one "
    "{reading.crowded:.0%} of the time in which they could run",
    "rate": "its rate_limit holds it to {stage.rate_limit:g} calls a second, for which it waited {stage.waiting_for_rate:.0%} of the time",
    "retry-after": "what it calls has asked it to wait (RetryAfter), {stage.waiting_for_rate:.0%} of the time; more workers would not help",
    "order": "{workers} busy {share}, and results waited {stage.waiting_for_order:.0%} of it for a slow item in front "
    "(up to {longest}), with {stage.window} {items} in hand at most",
}
TOO_SHORT = "; its calls are too short for child processes: let each item carry more"
WAYS = {  # By the setting to change. `where` is the option of the command, if there is one, and the file.
    "workers": "{setting}: {now} -> {then} {where}",
    "queue_size": "{setting}: {now} -> {then} {where}, or ordered=False,",
    "window": "{setting}: {now} -> {then} (among its worker_args in pipeline.py)",
    "processes": "executor='process', workers={then} (in pipeline.py), or free-threaded Python,",
    "processes of a pool": "executor='process', sub_workers={then} among its worker_args (in pipeline.py), or "
    "free-threaded Python,",
    "workers of the source": "A source of what is quick to get, and a first stage with workers={then} for the rest",
    "workers of the consumer": "A last stage with workers={then} that does it",
    "processes of an event loop": "What it computes, in a stage of its own with executor='process', workers={then}, or "
    "in threads that release the GIL,",
    "rate_limit": "rate_limit: {now:g} -> {then:g} (in pipeline.py), if what it calls allows that,",
    "processes of the source": "A stage that does it, with executor='process', workers={then},",
    "processes of the consumer": "A stage that does it, with executor='process', workers={then},",
}


def advise(reading: Reading) -> str:
    """What limits the run, what to change, and which workers were replaced: plain text in one line."""
    return " ".join([_advice(reading), *(_replaced(stage) for stage in reading.stages if stage.replaced)])


def _replaced(stage: StageReading) -> str:
    workers = "1 worker" if stage.replaced == 1 else f"{stage.replaced:,} workers"
    left = "; what was left behind may still run" if stage.executor == "thread" else ""
    return f"{stage.name} replaced {workers} whose calls took longer than its timeout{left}."


def _advice(reading: Reading) -> str:
    verdict = judge(reading)
    stage = next((stage for stage in reading.stages if stage.name == verdict.part), None)
    finding = f"{_finding(verdict, stage, reading)}."
    speed = f"about {rate(verdict.expected)} items a second instead of {rate(verdict.items_per_second)}"
    command = "" if verdict.part in ("source", "consumer") else reading.options.get("profile")
    profile = f"`{command}` tries it" if command else "try it"
    if verdict.reason == "serial":
        return f"{finding} With threads it should come to {speed}."
    if verdict.reason in ("contention", "crowded"):
        return f"{finding} Whether more workers help is unknown: {profile}."
    if not verdict.changes:
        return finding
    ways, then = _ways(verdict, stage, reading), f"; then {verdict.then} limits it" if verdict.then else ""
    if verdict.guess:
        return f"{finding} {ways} would bring {speed} if calls do not wait for one another{then}. That is a guess: {profile}."
    return f"{finding} {ways} should bring {speed}{then}."


def _finding(verdict: Verdict, stage: StageReading | None, reading: Reading) -> str:
    if not verdict.busy:
        return "Too few items are done to say what limits the run"
    name, busy = verdict.busy[0]
    words = {"name": name, "share": f"{busy:.0%} of the time", "reading": reading, "stage": stage}
    words["shares"] = ", ".join(f"{name} {share:.0%}" for name, share in verdict.busy)
    if not verdict.part or verdict.reason == "serial":
        return FINDINGS[verdict.reason].format(**words)
    if stage is None:
        return FINDINGS[verdict.part].format(**words)
    several, processes = stage.workers > 1, any(change.setting == "processes" for change in verdict.changes)
    words |= {
        "workers": f"its {_workers(stage)} {'were' if several else 'was'}",
        "s": "" if several else "s",
        "by_turns": ", under the GIL one at a time" if several and processes else "",
        "too_short": "" if verdict.changes or stage.room else TOO_SHORT,
        "longest": duration(stage.times.quantile(1.0)),
        "items": "item" if stage.window == 1 else "items",
    }
    reason = "loop" if (stage.executor, verdict.reason) == ("async", "computes") else verdict.reason
    return f"{name} limits the run: {FINDINGS[reason].format(**words)}"


def _workers(stage: StageReading) -> str:
    if stage.executor == "async":
        return f"{stage.workers} place{'s' * (stage.workers > 1)} in flight"
    kinds = {"ray": ("actor", "s")} | ({} if stage.pool else {"process": ("process", "es")})
    kind, plural = kinds.get(stage.executor, ("sub-worker" if stage.pool else "worker", "s"))
    return f"{stage.workers} {kind}{plural * (stage.workers > 1)}"


def _ways(verdict: Verdict, stage: StageReading | None, reading: Reading) -> str:
    if len(verdict.changes) > 1 and verdict.reason != "rate":
        plain = "{change.part}: {change.now} -> {change.then}"
        each = (_option(change, reading) or plain.format(change=change) for change in verdict.changes)
        return f"More workers in each ({' '.join(each)}{', or' if reading.options else ''} in pipeline.py)"
    return " and ".join(_way(change, stage, reading) for change in verdict.changes)


def _way(change: Change, stage: StageReading | None, reading: Reading) -> str:
    option, setting = _option(change, reading), change.setting.removeprefix("sub_")
    where = f"({option}, or in pipeline.py)" if option else "(in pipeline.py)"
    if stage is None:
        setting += f" of the {change.part}"
    elif stage.pool and setting == "processes":
        setting += " of a pool"
    elif stage.executor == "async" and setting == "processes":
        setting += " of an event loop"
    return WAYS[setting].format(**vars(change), where=where)


def _option(change: Change, reading: Reading) -> str:
    """How the command sets it; empty where it cannot."""
    return reading.options.get(change.setting.removeprefix("sub_"), "").format(**vars(change))
