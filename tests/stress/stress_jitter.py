"""Random little pauses at every step of a hand-over, so that threads meet in ways that they seldom would."""

import functools
import os
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from pipeline_core import channel, policy, ports

_random = random.Random(0)  # Its random() is atomic, so threads may share it.
_yield = getattr(os, "sched_yield", lambda: time.sleep(0))


def nudge() -> None:
    draw = _random.random()
    if draw < 0.01:
        time.sleep(draw * 0.05)
    elif draw < 0.05:
        time.sleep(0)
    elif draw < 0.1:
        _yield()


def nudged(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nudge()
        try:
            return call(*args, **kwargs)
        finally:
            nudge()

    return wrapper


class NudgedDeque(deque[Any]):
    """Stands for the channel's deque: it pauses between the looks and the changes of which a hand-over is made."""

    append = nudged(deque.append)
    popleft = nudged(deque.popleft)
    __len__ = nudged(deque.__len__)
    __bool__ = nudged(lambda self: deque.__len__(self) > 0)


PLACES: list[tuple[type, str]] = [
    (channel.Channel, "put"),
    (channel.Channel, "get"),
    (channel.Channel, "close"),
    (channel.Channel, "cancel"),
    (channel.Channel, "ready"),
    (channel.Channel, "room"),
    (channel.Channel, "wake_reader"),
    (channel.Channel, "_wake_writer"),
    (channel.Signal, "wait"),
    (channel.Signal, "set"),
    (ports.Port, "take"),
    (ports.Port, "take_batch"),
    (ports.Port, "fail"),
    (ports.Outlet, "put"),
    (ports.Outlet, "release"),
    (ports.Outlet, "_must_wait"),
    (ports.Outlet, "close"),
]


@contextmanager
def jitter(seed: int) -> Iterator[None]:
    """Within the block, hand-overs are nudged, and pauses between attempts are short."""
    _random.seed(seed)
    with (
        mock.patch.object(channel, "deque", NudgedDeque),
        mock.patch.object(policy.Policy, "delay", return_value=0.0002),
    ):
        originals = [(owner, name, owner.__dict__[name]) for owner, name in PLACES if name in owner.__dict__]
        for owner, name, original in originals:
            setattr(owner, name, nudged(original))
        try:
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)
