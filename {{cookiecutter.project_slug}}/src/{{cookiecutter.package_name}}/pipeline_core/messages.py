"""Messages between a process and its children: pickled, and large buffers such as arrays beside the pickle, uncopied."""

import logging
import pickle
from multiprocessing.connection import Connection
from threading import Event
from typing import Any

BESIDE = b"\0"  # Begins a message that tells how many buffers follow. A pickle begins otherwise.


def packed(value: Any) -> list[Any]:
    """What to send of a value, one after the other. Raises what pickling it raises."""
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(value, 5, buffer_callback=buffers.append)
    if not buffers:
        return [message]
    return [BESIDE + len(buffers).to_bytes(4), message, *(buffer.raw() for buffer in buffers)]


def send(pipe: Connection, parts: list[Any]) -> None:
    for part in parts:
        pipe.send_bytes(part)


def receive(pipe: Connection) -> list[Any]:
    """The next pickle, and its buffers. Raises EOFError or OSError where the other side is gone."""
    message = pipe.recv_bytes()
    if message[:1] != BESIDE:
        return [message]
    number, message = int.from_bytes(message[1:]), pipe.recv_bytes()
    return [message, *(bytearray(pipe.recv_bytes()) for _ in range(number))]  # Else arrays could not be written.


def unpacked(parts: list[Any]) -> Any:
    """The value. Raises what unpickling it raises."""
    return pickle.loads(parts[0], buffers=parts[1:])


def told_of(spec: Any, index: int, method: str, thread: str) -> tuple[Any, ...]:
    """What a process elsewhere is told of its worker."""
    levels = {name: logging.getLogger(name).getEffectiveLevel() for name in ("", __package__ or "")}
    return spec.worker_class, spec.worker_args, spec.name, index, method, thread, levels


def heard(answer: Any, stop_event: Event) -> bool:
    """Whether this is no answer to a call but a log record, which is handled, or the wish to stop the run."""
    if isinstance(answer, logging.LogRecord):
        logger = logging.getLogger(answer.name)
        if logger.isEnabledFor(answer.levelno):
            logger.handle(answer)
        return True
    if isinstance(answer, str) and answer == "stop":
        stop_event.set()
        return True
    return False
