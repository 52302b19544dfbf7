"""The study over HTTP: one page and five addresses, none of which says anything about a stimulus but what it shows.

    GET  /                    the page
    POST /api/begin           after consent: a token
    GET  /api/trial           the trial this rater is at, and what to load in advance
    POST /api/answer          one answer
    GET  /stimulus/ID         a stimulus, under the meaningless name it has in the study

Needs the extra ``study`` (fastapi, uvicorn).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from simulacra.evaluation.study.page import policy, served_page
from simulacra.evaluation.study.protocol import Study
from simulacra.evaluation.study.store import Refused, Store

LONGEST = 86_400_000.0  # ms: a day; what claims to have taken longer is no measurement

Milliseconds = Annotated[float, Field(ge=0, le=LONGEST, allow_inf_nan=False)]


class Measured(BaseModel):
    """What a page measured of one trial.

    response_ms  from the question's appearance to the answer.
    shown_ms     for how long the stimulus was on the screen, by the screen's own frames; frames: how many of them.
    frame_ms     one frame of this screen; hidden: whether the page was out of sight meanwhile; plays: of a sound.
    """

    model_config = ConfigDict(extra="forbid")

    response_ms: Milliseconds
    shown_ms: Milliseconds | None = None
    frames: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    frame_ms: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None
    hidden: bool = False
    plays: Annotated[int, Field(ge=0, le=10_000)] = 0


class Given(BaseModel):
    """One answer as it is sent."""

    model_config = ConfigDict(extra="forbid")

    trial: Annotated[str, Field(max_length=64)]
    choice: Annotated[str, Field(max_length=64)]
    measured: Measured


def make_app(study: Study, store: Store) -> FastAPI:
    """The application that serves a study into a store."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page, known = served_page(study), {i.id for i in study.plan.items}
    headers = {"Content-Security-Policy": f"{policy(served=True)}; frame-ancestors 'none'"}

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        return JSONResponse({"error": error.text}, error.status)

    @app.exception_handler(HTTPException)
    def missing(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": "There is nothing here."}, error.status_code)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        return JSONResponse({"error": f"{'.'.join(str(p) for p in fault['loc'])}: {fault['msg']}"}, 422)

    @app.middleware("http")
    async def unstored(request: Request, go_on: Callable[[Request], Any]) -> Response:
        response = await go_on(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        if not request.url.path.startswith("/stimulus/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/")
    def index() -> Response:
        return HTMLResponse(page, headers=headers)

    @app.post("/api/begin")
    def begin() -> dict[str, str]:
        return {"token": store.begin()}

    @app.get("/api/trial")
    def trial(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
        now, exposure, ahead = store.next(authorization.removeprefix("Bearer "))
        if now is None:
            return {"done": True, "of": study.plan.length}
        return {
            "done": False, "trial": now.id, "position": now.position, "of": study.plan.length, "items": now.items,
            "exposure_ms": exposure, "ahead": [item for t in ahead for item in t.items],
        }  # fmt: skip

    @app.post("/api/answer")
    def answer(given: Given, authorization: Annotated[str, Header()] = "") -> dict[str, int]:
        token = authorization.removeprefix("Bearer ")
        return {"answered": store.answer(token, given.trial, given.choice, given.measured.model_dump())}

    @app.get("/stimulus/{item}")
    def stimulus(item: str) -> Response:
        if item not in known:
            raise HTTPException(404)
        path = study.file_of(item)
        if not path.is_file():
            raise Refused(503, "The study was moved while it was served.")
        # from its bytes alone: neither a date nor an entity tag made of it
        return Response(path.read_bytes(), media_type=study.mime, headers={"Cache-Control": "private, max-age=86400"})

    return app


def serve(study: Study, *, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve a study until stopped. ValueError of one line where the port is taken or the answers cannot be opened."""
    store = Store(study)
    try:
        with listening(host, port) as listener:
            begun, finished, answers = store.progress()
            say(
                f"{study.folder}: {begun} raters began, {finished} of {study.raters} finished, {answers:,} answers kept"
            )
            say(f"registered as SHA-256 {study.digest}")
            say(f"serving on http://{host}:{listener.getsockname()[1]}/ (stop with Ctrl-C; nothing is lost)")
            config = uvicorn.Config(
                make_app(study, store), access_log=False, log_level="warning", server_header=False, date_header=False
            )
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        store.close()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; ValueError where the port is taken or not allowed. Port 0 takes any that is free."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use" if taken else f"cannot be listened on ({getattr(error, 'strerror', None) or error})"
        raise ValueError(f"port {port} of {host} {why}; give another with --port, or 0 for any that is free") from error
    return listener
