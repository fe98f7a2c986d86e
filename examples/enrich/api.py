"""An HTTP API on this machine, as others are: slow, with a limited rate, and broken now and then.

python api.py COMMAND [ARGUMENT…]   # serves while the command runs, which finds the address in two variables
python api.py --records             # prints 2,000 records to enrich, as JSON Lines
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterator
from time import perf_counter

RECORDS = 2000
SECONDS = 0.02  # That an answer takes.
LIMIT = 400  # Requests in any second, and 429 for those beyond.
OVERLOADED = (600, 1300)  # After so many requests, it answers 429 to all for a second.
DRIP = 20, 0.3  # Pieces of an answer that hangs, and the seconds between them.


def records() -> Iterator[dict[str, int]]:
    for number in range(RECORDS):
        yield {"order": number, "product": number * 7919 % 10_000}


def product(number: int) -> dict[str, object]:
    return {"name": f"Product {number}", "price": number % 97 + 0.99}


def trouble(number: int) -> str:
    """What is wrong with a product: nothing, at the first request, or always."""
    always = {11: "unknown", 13: "always broken"}.get(number % 1000, "")
    return always or ("broken once" if number % 89 == 3 else "hangs once" if number % 401 == 5 else "")


class Api:
    def __init__(self) -> None:
        self.asked = Counter[int]()  # How often, by product.
        self.statuses = Counter[int]()
        self.moments = deque[float]()  # Of the requests in the last second.
        self.until = 0.0  # The end of being overloaded.
        self.longest = 0.0  # Seconds that somebody waited for an answer.

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2):
                await self.answer(int(request[1].rpartition(b"/")[2]), writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, number: int, writer: asyncio.StreamWriter) -> None:
        start, (status, hangs) = perf_counter(), self.status(number)
        self.statuses[status] += 1
        if status != 429:
            await asyncio.sleep(SECONDS)
        body = json.dumps(product(number) if status == 200 else {"error": status}).encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        writer.write((head + "Retry-After: 1\r\n" * (status == 429) + "\r\n").encode())
        pieces, seconds = DRIP if hangs else (0, 0.0)
        try:
            for piece in range(pieces):
                writer.write(body[piece : piece + 1])
                await asyncio.sleep(seconds)
                await writer.drain()
            writer.write(body[pieces:])
            await writer.drain()
        finally:
            self.longest = max(self.longest, perf_counter() - start)

    def status(self, number: int) -> tuple[int, bool]:
        """The status of the answer, and whether it hangs."""
        now = perf_counter()
        while self.moments and self.moments[0] < now - 1:
            self.moments.popleft()
        if self.statuses.total() in OVERLOADED:
            self.until = now + 1
        self.moments.append(now)
        if now < self.until or len(self.moments) > LIMIT:
            return 429, False
        self.asked[number] += 1
        found, first = trouble(number), self.asked[number] == 1
        if found == "unknown":
            return 404, False
        if found == "always broken" or (found == "broken once" and first):
            return 500, False
        return 200, found == "hangs once" and first


async def serve_while(command: list[str]) -> int:
    """Serve while the command runs. Returns its exit code."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command.
    api, start = Api(), perf_counter()
    async with await asyncio.start_server(api.connected, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        told = dict.fromkeys(("API_URL", "MY_PIPELINE_SET_URL"), f"http://{host}:{port}")  # By hand, and the pipeline.
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | told)
        code, seconds = await process.wait(), perf_counter() - start
    answers = ", ".join(f"{number} x {status}" for status, number in sorted(api.statuses.items())) or "nobody asked"
    print(f"api: {answers}; the longest in {api.longest:.1f} s; all in {seconds:.1f} s", file=sys.stderr)
    return code


if __name__ == "__main__":
    if sys.argv[1:] == ["--records"]:
        for record in records():
            print(json.dumps(record))
    else:
        sys.exit(asyncio.run(serve_while(sys.argv[1:])))
