"""Messages between a process and its children: pickled, and large buffers such as arrays beside the pickle, uncopied."""

import pickle
from multiprocessing.connection import Connection
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
