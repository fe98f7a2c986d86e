"""Bad arguments are refused at the call, in one line that names the argument."""

from typing import Any


def check_count(name: str, value: Any, *, at_least: int = 1, optional: bool = False) -> None:
    if not (optional and value is None) and not (type(value) is int and value >= at_least):
        raise ValueError(f"{name} must be a whole number of {at_least} or more, not {value!r}")


def check_seconds(name: str, value: Any) -> None:
    if value is not None and not (type(value) in (int, float) and value > 0):
        raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")


def check_choice(name: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}")
