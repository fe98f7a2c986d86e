"""What child processes do for the workload `procs`: they import it by its name."""

import math
from collections.abc import Callable
from typing import Any

from pipeline_core import BaseWorker, SubTaskPoolWorker


def same(item: Any) -> Any:
    return item


def count_primes(item: Any) -> Any:
    """Pure Python: about a millisecond."""
    sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2000, 3200))
    return item


class Same(BaseWorker[Any, Any]):  # type: ignore[misc]
    process_item = staticmethod(same)


class CountPrimes(BaseWorker[Any, Any]):  # type: ignore[misc]
    process_item = staticmethod(count_primes)


class SameInAPool(SubTaskPoolWorker[Any, Any, Any, Any]):  # type: ignore[misc]
    process_sub_task = staticmethod(same)


class CountPrimesInAPool(SubTaskPoolWorker[Any, Any, Any, Any]):  # type: ignore[misc]
    process_sub_task = staticmethod(count_primes)


STAGES: dict[Callable[[Any], Any], type[Any]] = {same: Same, count_primes: CountPrimes}
POOLS: dict[Callable[[Any], Any], type[Any]] = {same: SameInAPool, count_primes: CountPrimesInAPool}
