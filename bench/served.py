"""A study served by a process of its own that can be killed and started again, and raters that answer it meanwhile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEASURED = {"response_ms": 900.0, "shown_ms": 500.0, "frames": 30, "frame_ms": 16.7, "hidden": False, "plays": 0}


def bearer(token: str) -> dict[str, str]:
    """The header by which a rater is known."""
    return {"Authorization": f"Bearer {token}"}


def given(trial: str, choice: str, **measured: Any) -> dict[str, Any]:
    """An answer as the page sends it."""
    return {"trial": trial, "choice": choice, "measured": {**MEASURED, **measured}}


class Served:
    """``simulacra study serve FOLDER`` on a port of its choice, which it keeps from one start to the next."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        line = [sys.executable, "-m", "simulacra", "study", "serve", str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout
        said = []
        for words in self.process.stdout:
            said.append(words)
            if found := re.search(r"http://127.0.0.1:(\d+)/", words):
                self.port = int(found[1])
                return
        raise RuntimeError(f"the server ended before it served: {''.join(said)[-500:]}")

    def kill(self) -> None:
        """``kill -9``."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def rate(port: int, number: int, sent: list[tuple[str, str]], until: float, pause: float = 0.0) -> None:
    """One rater answers a whole study whatever becomes of the server; what was acknowledged is added to ``sent``."""
    import httpx

    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:

        def ask(method: str, path: str, headers: Mapping[str, str] | None = None, json: Any = None) -> Any:
            while time.monotonic() < until:
                try:
                    reply = http.request(method, path, headers=headers, json=json)
                except httpx.TransportError:
                    time.sleep(0.05)  # it is down, or the reply was lost: the same again
                    continue
                if reply.status_code != 200:
                    raise RuntimeError(f"{path}: {reply.status_code} {reply.text}")
                return reply.json()
            raise RuntimeError("the server did not come back")

        token = ask("POST", "/api/begin")["token"]
        while not (now := ask("GET", "/api/trial", bearer(token)))["done"]:
            body = given(now["trial"], ("left", "right")[(number + now["position"]) % 2])
            ask("POST", "/api/answer", bearer(token), body)
            sent.append((body["trial"], body["choice"]))
            time.sleep(pause)


def under_fire(folder: Path, *, raters: int, kills: int, seconds: float, pause: float) -> tuple[list[Any], float]:
    """Raters answer at once while the server is killed; the acknowledged answers, and how long it took."""
    sent: list[tuple[str, str]] = []
    faults: list[BaseException] = []
    began = time.monotonic()

    def one(number: int) -> None:
        try:
            rate(port, number, sent, began + seconds, pause)
        except BaseException as fault:
            faults.append(fault)

    with Served(folder) as served:
        port = served.port
        threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(raters)]
        for thread in threads:
            thread.start()
        for _ in range(kills):
            time.sleep(pause + 0.3)
            served.kill()
            served.start()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]
    return sent, time.monotonic() - began
