"""The same by hand, with asyncio: python api.py python by_hand.py records.jsonl by_hand.jsonl"""

import asyncio
import json
import os
import sys
import time
from typing import Any

import httpx

IN_FLIGHT, RATE, ATTEMPTS, TIMEOUT = 32, 350, 5, 1.0


class Rate:
    def __init__(self, per_second: float) -> None:
        self.between, self.next = 1 / per_second, 0.0

    async def wait(self) -> None:
        now = time.monotonic()
        self.next = max(self.next + self.between, now)
        await asyncio.sleep(self.next - now)


async def enrich(client: httpx.AsyncClient, rate: Rate, places: asyncio.Semaphore, record: Any) -> Any:
    for attempt in range(ATTEMPTS):
        async with places:
            await rate.wait()
            try:
                response = await client.get(f"/products/{record['product']}")
            except httpx.TransportError as error:
                problem: Exception = error
                pause = 0.1 * 2**attempt
            else:
                if response.is_success:
                    return {**record, **response.json()}
                problem = httpx.HTTPStatusError(str(response.status_code), request=response.request, response=response)
                if response.status_code == 429:
                    pause = float(response.headers["Retry-After"])
                elif response.is_server_error:
                    pause = 0.1 * 2**attempt
                else:
                    break
        await asyncio.sleep(pause)
    raise problem


async def main(source: str, target: str) -> None:
    with sys.stdin if source == "-" else open(source) as lines:
        records = [json.loads(line) for line in lines]
    rate, places = Rate(RATE), asyncio.Semaphore(IN_FLIGHT)
    async with httpx.AsyncClient(base_url=os.environ["API_URL"], timeout=TIMEOUT) as client:
        calls = [enrich(client, rate, places, record) for record in records]
        results = await asyncio.gather(*calls, return_exceptions=True)
    with open(target, "w") as done, open(f"{target}.failed", "w") as failed:
        for record, result in zip(records, results, strict=True):
            if isinstance(result, BaseException):
                failed.write(json.dumps({**record, "error": repr(result)}) + "\n")
            else:
                done.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
