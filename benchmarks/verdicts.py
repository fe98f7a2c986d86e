"""What must hold of the medians of a workload, and whether it does, in words."""

from collections.abc import Callable

X = float | None  # The value of what a workload varies, if it varies something.
Medians = dict[tuple[str, X], float]  # By peer, and by that value.
Verdicts = Callable[[Medians], list[str]]


def ratio_of_hop(m: Medians) -> list[str]:
    limits = {"chain": 3, "pypeln": 10, "streamable": 4, "spdl": 100}
    found = {peer: m[peer, None] / m["ours", None] for peer in limits if (peer, None) in m and ("ours", None) in m}
    return [f"{peer}: {ratio:.1f} times ours; {limits[peer]} asked for" for peer, ratio in found.items()]


def ideal(wanted: str) -> Verdicts:
    """What a pipeline costs is what it takes off bare threads: they, too, sleep longer than they are told."""

    def verdicts(m: Medians) -> list[str]:
        return [
            f"ours{'' if x is None else f' with {x}'}: {m['ours', x]:.1%} of the ideal, and "
            f"{m['ours', x] / m['bare', x]:.1%} of what threads without a pipeline reach; {wanted} asked for"
            for peer, x in m
            if peer == "bare" and ("ours", x) in m
        ]

    return verdicts


def two_cores(m: Medians) -> list[str]:
    if not {("ours", None), ("loop", None), ("bare", None)} <= set(m):
        return []
    ours, loop, bare = (m[peer, None] for peer in ("ours", "loop", "bare"))
    reached = (
        f"ours: {loop / ours / 2:.1%} of two cores, and {bare / ours:.1%} of what threads without a pipeline reach"
    )
    return [f"{reached}; 95% asked for"]


def faster_with_cores(m: Medians) -> list[str]:
    found = [peer for peer in ("ours", "loop") if {(peer, 1), (peer, 2)} <= set(m)]
    return [f"{peer}: {m[peer, 1] / m[peer, 2]:.2f} times as fast with two cores as with one" for peer in found]


def as_fast_as_chain(m: Medians) -> list[str]:
    return [f"ours: {m['ours', None] / m['chain', None]:.2f} of the chain; 1 asked for"] if ("chain", None) in m else []


def cost_of_watching(m: Medians) -> list[str]:
    limits = {0: "10%", 10: "2%"}
    return [
        f"with a stage of {x} ms: {m['watched', x] / m['unwatched', x] - 1:.1%} more; under {limits[int(x)]} asked for"
        for peer, x in m
        if peer == "watched" and x is not None
    ]


def beside(peer: str, wanted: float) -> Verdicts:
    """How many times as fast as that peer ours is."""

    def verdicts(m: Medians) -> list[str]:
        return [
            f"{peer}{_at(x)}: {value / m['ours', x]:.1f} times ours; {wanted:g} asked for"
            for (name, x), value in m.items()
            if name == peer and ("ours", x) in m and not x
        ]

    return verdicts


def _at(x: X) -> str:
    return "" if x is None else f" with {x} ms"


def beside_imap(m: Medians) -> list[str]:
    found = []
    for ours, x in m:
        if ours in ("ours", "ours-pool") and {("imap-1", x), ("imap-64", x)} <= set(m):
            many, one = m[ours, x] / m["imap-64", x], m["imap-1", x] / m[ours, x]
            if x:
                found.append(f"{ours} with {x} ms: {1 / many:.1%} of the rate of imap-64; 92% asked for")
            else:
                found.append(
                    f"{ours}: {many:.1f} times as long as imap-64, 5 allowed; imap-1 {one:.1f} times, 3 asked for"
                )
    return found


def beside_gather(m: Medians) -> list[str]:
    if not {("ours", None), ("gather", None)} <= set(m):
        return []
    return [f"ours: {m['gather', None] / m['ours', None]:.1%} of the rate of gather; 95% asked for"]


def beside_the_loop(m: Medians) -> list[str]:
    if not {("ours", None), ("loop", None)} <= set(m):
        return []
    return [f"ours: {m['ours', None] / m['loop', None]:.2f} times as long as the loop; 1.5 allowed"]


def speed_up(m: Medians) -> list[str]:
    return [
        f"{peer}: {m[peer, 2] / m[peer, 1]:.2f} times as fast with two workers; 1.8 asked for of ours"
        for peer in ("ours", "window")
        if {(peer, 1), (peer, 2)} <= set(m)
    ]
