"""A study served by a process of its own that can be killed and started again, and raters that answer it meanwhile."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
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


# imports once and forks a server for each start, so that twenty restarts cost no twenty imports of torch
LAUNCH = """
import os, signal, sys
from simulacra.evaluation.study import open_study
from simulacra.evaluation.study.server import serve
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for port in sys.stdin:
    if (child := os.fork()) == 0:
        try:
            serve(open_study(sys.argv[1]), host="127.0.0.1", port=int(port), say=lambda text: print(text, flush=True))
        except BaseException as fault:
            print("fault", fault, flush=True)
        os._exit(1)
    print("process", child, flush=True)
"""


class Served:
    """What ``simulacra study serve FOLDER`` does, in a process that is killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.process = folder, _port(), 0

    def __enter__(self) -> Served:
        line = [sys.executable, "-c", LAUNCH, str(self.folder)]
        self._launcher = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._launcher.kill()
        self._launcher.wait()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert self._launcher.stdin
        assert self._launcher.stdout
        self._launcher.stdin.write(f"{self.port}\n")
        self._launcher.stdin.flush()
        self.process, listens = 0, False
        for words in self._launcher.stdout:
            if words.startswith("fault"):
                raise RuntimeError(f"the server ended before it served: {words}")
            if found := re.match(r"process (\d+)", words):
                self.process = int(found[1])
            if found := re.search(r"http://127.0.0.1:(\d+)/", words):
                self.port, listens = int(found[1]), True
            if self.process and listens:
                return
        raise RuntimeError("the server ended before it served")

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        os.kill(self.process, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(self.process, 0)
                time.sleep(0.005)


def _port() -> int:
    """A free port below those that clients get: one of those, tried while nobody listens, may connect to itself."""
    for port in range(21000 + os.getpid() % 4000, 32000):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                tried.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("no free port from 21000 to 32000")


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


def under_fire(
    folder: Path, *, raters: int, kills: int, every: float, seconds: float, pause: float
) -> tuple[list[Any], float]:
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
            time.sleep(every)
            served.kill()
            served.start()
        for thread in threads:
            thread.join()
    if faults:
        raise faults[0]
    return sent, time.monotonic() - began
