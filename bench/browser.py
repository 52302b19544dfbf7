"""A real browser, driven over the pipe of Chromium's own DevTools protocol: what the study's page is tried with.

Needs a ``chromium`` (or ``google-chrome``) on the path and nothing besides Python's own library.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# the browser reads commands from 3 and writes to 4; which of ours those are, only the child can arrange
START = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execvp(a[3], a[3:])"


def executable() -> str | None:
    """The browser on this machine, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One tab. ``with Browser() as tab: tab.open(url)``; a missing browser is a RuntimeError."""

    def __init__(self, *, width: int = 1100, height: int = 800, seconds: float = 60) -> None:
        self.size, self.seconds = (width, height), seconds
        self._number = itertools.count(1)
        self._rest = b""

    def __enter__(self) -> Browser:
        program = executable()
        if program is None:
            raise RuntimeError("no chromium on the path")
        self._profile = tempfile.mkdtemp(prefix="browser")
        self.downloads = Path(self._profile) / "downloads"
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        pair = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]
        line = [
            program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--hide-scrollbars", "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={self._profile}",
            f"--window-size={self.size[0]},{self.size[1]}", "about:blank",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(pair[0]), str(pair[1]), *line],
            pass_fds=pair, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (*pair, theirs_in, theirs_out):
            os.close(fd)
        self._in, self._out, self._session = ours_in, ours_out, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads), at_browser=True)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self.call("Browser.close", at_browser=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, *, at_browser: bool = False, **parameters: Any) -> dict[str, Any]:
        """One command and its result; RuntimeError with the browser's words where it fails."""
        number = next(self._number)
        message = {"id": number, "method": method, "params": parameters}
        if self._session and not at_browser:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise; RuntimeError where it throws."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"].get("exception", {}).get("description", "the script failed"))
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Wait until an expression is true; its value. TimeoutError after ``seconds``."""
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            with contextlib.suppress(RuntimeError):  # between two pages there is nothing to ask
                if value := self.run(script):
                    return value
            time.sleep(0.02)
        raise TimeoutError(f"never true: {script}")

    def press(self, key: str) -> None:
        """A key goes down and up: "ArrowLeft", " ", "3"."""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def touch(self, selector: str) -> None:
        """A finger on the middle of an element."""
        x, y = self.run(
            f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screenshot(self, path: Path) -> None:
        """What is seen, as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def device(self, width: int, height: int, *, mobile: bool = False, dark: bool = False) -> None:
        """Another screen."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def _message(self) -> dict[str, Any]:
        end = time.monotonic() + self.seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0, end - time.monotonic()))
            chunk = os.read(self._in, 1 << 16) if ready else b""
            if not chunk:
                raise TimeoutError("the browser says nothing")
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
