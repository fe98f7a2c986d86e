"""A headless Chromium, asked through its debugging pipe: what a page looks like, and what it does.

python browser.py PAGE PICTURE takes a picture of a page, as PNG.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",  # It opens nothing but pages of ours, and root has no sandbox.
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


@dataclass
class Tab:
    """A page that is open. `events` are those that the browser has told of, oldest first."""

    to_browser: Any
    from_browser: Any
    session: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the Chrome DevTools Protocol, and its result."""
        self.calls += 1
        session = {"sessionId": self.session} if self.session else {}
        message = {"id": self.calls, "method": method, "params": parameters, **session}
        self.to_browser.write(json.dumps(message).encode() + b"\0")
        self.to_browser.flush()
        while (answer := self._next()).get("id") != self.calls:
            self.events.append(answer)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def show(self, page: Path, *, width: int, dark: bool = False, height: int = 900) -> None:
        """Load the page into a window of that many CSS pixels, for a reader who likes it dark or not."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def ask(self, javascript: str) -> Any:
        """What an expression gives, as far as JSON can hold it."""
        answer = self.call("Runtime.evaluate", expression=javascript, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def of_kind(self, *methods: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] in methods]

    def screenshot(self, path: Path) -> None:
        """The whole page, as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self.from_browser.read(1)) != b"\0":
            assert byte, "the browser has gone"
            message += byte
        return dict(json.loads(message))


@contextmanager
def browser() -> Iterator[Tab]:
    """A tab in a browser of its own, which ends with the block. Only where there are file descriptors to hand on."""
    assert CHROMIUM is not None
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    # It reads commands from descriptor 3 and writes answers to 4.
    script = 'exec 3<&0 4>&1 0</dev/null 1>/dev/null 2>&1; exec "$@"'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = ["sh", "-c", script, "sh", CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
        process = subprocess.Popen(command, stdin=commands, stdout=answers, env=os.environ | {"HOME": folder})
        os.close(commands)
        os.close(answers)
        with open(to_browser, "wb") as writing, open(from_browser, "rb") as reading:
            tab = Tab(writing, reading)
            try:
                target = tab.call("Target.createTarget", url="about:blank")["targetId"]
                tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
                yield tab
                tab.session = ""
                tab.call("Browser.close")
                process.wait(10)
            finally:
                process.kill()
                process.wait()


if __name__ == "__main__":
    with browser() as window:
        window.show(Path(sys.argv[1]), width=1200)
        window.screenshot(Path(sys.argv[2]))
