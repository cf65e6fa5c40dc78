"""An HTTP server for one run: a page, /predict and /health, with limits and a bounded queue.

One thread runs the network. What comes while it works waits, up to a number; more is sent away with
503 and Retry-After. A photo stays in memory while it is answered, and neither it nor the name of
its file is written or logged.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import fastapi
import uvicorn
from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from dermssl.core.ports import CONNECTIONS
from dermssl.data import decode
from dermssl.studies.app.answer import NOTICE, Answer, Model
from dermssl.studies.app.page import Page

MIB = 2**20
MAX_BYTES = 20 * MIB  # of a photo; phones write 5 to 15
AROUND = 64 * 1024  # bytes of a request besides its photo
QUEUE = 32  # requests at a time, with the one that is answered
TIMEOUT = 30.0  # seconds to send a photo, and as many to wait for its answer
FIELD = "file"
LOCAL = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [FIELD],
                "properties": {FIELD: {"type": "string", "format": "binary"}},
            }
        }
    },
}
HOW = f"send one photo as multipart/form-data in the field '{FIELD}'"
TOO_LARGE = f"the photo has over {MAX_BYTES // MIB} MB; send a smaller one"

log = logging.getLogger("dermssl")


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer."""

    detail: str


@dataclass(frozen=True)
class Health:
    """That the server answers, with how many requests at a time, and with which run."""

    status: str
    waiting: int
    model: Model


class _InMemory(MultiPartParser):
    """Keeps a whole photo in memory, where Starlette would write what is over 1 MB to disk."""

    spool_max_size = MAX_BYTES + AROUND


class _Queue:
    """Counts requests up to a number, and times answers to say when to come again."""

    def __init__(self, most):
        self.most, self.waiting, self.seconds = most, 0, 1.0
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="network")

    @property
    def retry(self):
        return {"Retry-After": str(max(1, math.ceil(self.waiting * self.seconds)))}

    @contextmanager
    def place(self):
        if self.waiting >= self.most:
            raise fastapi.HTTPException(
                503, f"{self.waiting} photos are waiting; try again later", self.retry
            )
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    async def run(self, function, *arguments):
        def timed():
            begun = time.monotonic()
            try:
                return function(*arguments)
            finally:
                self.seconds = time.monotonic() - begun

        return await asyncio.get_running_loop().run_in_executor(self.worker, timed)


def create(
    answerer: Callable[[bytes, bool], Answer], page: Page, model: Model,
    hosts: Sequence[str] = LOCAL, queue: int = QUEUE, timeout: float = TIMEOUT,
) -> fastapi.FastAPI:  # fmt: skip
    """The server's application.

    Args:
        answerer: an `answer.Answerer`: takes a photo's bytes and whether pictures are wanted.
        page: the page's files.
        model: which model answers.
        hosts: answer only requests that call the server so; none: whatever they call it. A page
            of another site could else ask, by a name of its own that leads here.
        queue: requests at a time.
        timeout: seconds to send a photo, and as many to wait for its answer.
    """
    app = fastapi.FastAPI(
        title="dermssl", description=NOTICE, docs_url=None, redoc_url=None, version=_version()
    )
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    waiting = _Queue(queue)

    @app.middleware("http")
    async def with_headers(request: fastapi.Request, call_next):
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        return HTMLResponse(page.html)

    @app.get("/page.css", include_in_schema=False)
    async def style() -> Response:
        return Response(page.css, media_type="text/css")

    @app.get("/page.js", include_in_schema=False)
    async def script() -> Response:
        return Response(page.js, media_type="text/javascript")

    @app.get("/health")
    async def health() -> Health:
        """Whether the server answers, and with which run."""
        return Health("ok", waiting.waiting, model)

    refusals = {code: {"model": Refusal} for code in (400, 403, 408, 413, 422, 500, 503)}

    @app.post("/predict", responses=refusals, openapi_extra={"requestBody": BODY})  # type: ignore[arg-type]
    async def predict(request: fastapi.Request, pictures: bool = False) -> Answer:
        """What the run says of one photo: JPEG, PNG, BMP, WebP, TIFF, HEIC or DICOM, up to 20 MB.

        With `pictures` also what the network saw, its heat map and photos of similar lesions.
        """
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise fastapi.HTTPException(403, "pages of other sites may not ask here")
        with waiting.place():
            try:
                async with asyncio.timeout(timeout):
                    data = await _photo(request)
            except TimeoutError:
                raise fastapi.HTTPException(
                    408, f"the photo wasn't sent within {timeout:g} s; send it again"
                ) from None
            try:
                async with asyncio.timeout(timeout):
                    return await waiting.run(answerer, data, pictures)
            except TimeoutError:
                raise fastapi.HTTPException(
                    503, f"no answer within {timeout:g} s; try again later", waiting.retry
                ) from None
            except decode.BadImage as error:
                raise fastapi.HTTPException(
                    422, f"the file can't be used as a photo: {error.found}"
                ) from None
            except Exception as error:  # the server goes on; what failed has no name of a file
                log.warning("a photo could not be answered (%s)", type(error).__name__)
                raise fastapi.HTTPException(500, "the photo could not be answered") from None

    return app


def _version():
    from importlib import metadata

    return metadata.version("dermssl")


async def _photo(request: fastapi.Request) -> bytes:
    """The bytes of the one photo of a request."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise fastapi.HTTPException(400, HOW)
    try:
        parser = _InMemory(request.headers, _limited(request), max_files=1, max_fields=0)
        form = await parser.parse()
    except MultiPartException:
        raise fastapi.HTTPException(400, HOW) from None
    except ClientDisconnect:
        raise fastapi.HTTPException(400, "the connection was closed") from None
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        await form.close()
        raise fastapi.HTTPException(400, HOW)
    data = await file.read()
    await form.close()
    if len(data) > MAX_BYTES:
        raise fastapi.HTTPException(413, TOO_LARGE)
    return data


async def _limited(request: fastapi.Request) -> AsyncGenerator[bytes, None]:
    """The body of a request, which ends in an error beyond `MAX_BYTES`."""
    stated = request.headers.get("content-length", "0")
    left = MAX_BYTES + AROUND
    if stated.isdecimal() and int(stated) > left:
        raise fastapi.HTTPException(413, TOO_LARGE)
    async for chunk in request.stream():
        left -= len(chunk)
        if left < 0:
            raise fastapi.HTTPException(413, TOO_LARGE)
        yield chunk


def serving(app: fastapi.FastAPI) -> uvicorn.Server:
    """The server of an application; its `run(sockets=[...])` answers until it is stopped."""
    return uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="off",
            ws="none", limit_concurrency=CONNECTIONS, timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
        )
    )  # fmt: skip
