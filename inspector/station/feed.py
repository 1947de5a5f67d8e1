"""What screens read: HTTP on a Unix socket, server-sent events, Prometheus metrics. It can be slow; the walk can't."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from inspector.parts import InspectionFault
from inspector.station.charts import SERIES
from inspector.station.health import health_json
from inspector.station.ledger import SEQ_MAX
from inspector.station.snapshot import Rooms, Snapshot
from inspector.wire import verdict_to_json

_log = logging.getLogger(__name__)

PAUSE_S = 0.1  # screens get at most ten updates a second
SILENCE_S = 1.0  # and at least one a second, so that silence means trouble
SCREENS_BOUND = 16
STUCK_S = 10.0  # a screen that reads nothing for so long makes room for another


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the station has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Events(Response):
    """Server-sent events for one screen, until it goes, reads nothing for too long, or the events end."""

    def __init__(self, events: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        super().__init__(media_type="text/event-stream")
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        gone = asyncio.create_task(self._gone(receive))
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await asyncio.wait_for(send(start), STUCK_S)
            async with contextlib.aclosing(self._events()) as events:
                async for data in events:
                    if gone.done():
                        return
                    body = {"type": "http.response.body", "body": data, "more_body": True}
                    await asyncio.wait_for(send(body), STUCK_S)
            await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), STUCK_S)
        except (asyncio.TimeoutError, OSError):
            _log.warning("a screen read nothing for %.0f s or is gone: it makes room for another", STUCK_S)
        finally:
            gone.cancel()

    @staticmethod
    async def _gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


class Feed:
    """The server and its pages."""

    def __init__(self, path: Path, rooms: Rooms, snapshot: Snapshot, acknowledge: Callable[[str], bool]) -> None:
        self._path = path
        self._rooms = rooms
        self._snapshot = snapshot
        self._acknowledge = acknowledge
        self._version = 0
        self._news = asyncio.Event()
        self._screens = 0
        self._made: tuple[int, float, bytes] = (-1, 0.0, b"")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(snapshot)
        self._registry = registry
        app = Starlette(
            routes=[
                Route("/v1/status", self._status),
                Route("/v1/events", self._events),
                Route("/v1/parts/{seq:int}", self._part),
                Route("/v1/pictures/{seq:int}", self._picture),
                Route("/v1/health", self._health),
                Route("/v1/health/relearn", self._relearn, methods=["POST"]),
                Route("/v1/alarms/{name:path}/ack", self._ack, methods=["POST"]),
                Route("/metrics", self._metrics),
            ]
        )
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1, access_log=False)
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Bind the socket and serve. Raises OSError."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(self._path))
        self._path.chmod(0o660)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="feed")

    def changed(self) -> None:
        """There is news for the screens."""
        self._version += 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def stop(self, limit_s: float) -> None:
        """Say good-bye to the screens."""
        self._closing = True
        self.changed()
        self._server.should_exit = True
        if self._task is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._task), limit_s)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._path.unlink(missing_ok=True)

    def _json(self) -> bytes:
        """The status as JSON, made once for all screens."""
        version, made_at, data = self._made
        if version != self._version or time.monotonic() - made_at > SILENCE_S / 2:
            data = json.dumps(self._snapshot.status(), separators=(",", ":")).encode()
            self._made = (self._version, time.monotonic(), data)
        return data

    async def _status(self, request: Request) -> Response:
        return Response(self._json(), media_type="application/json")

    async def _events(self, request: Request) -> Response:
        if self._screens >= SCREENS_BOUND:
            return JSONResponse({"error": f"{SCREENS_BOUND} screens are attached; close one"}, status_code=503)
        return _Events(self._stream)

    async def _stream(self) -> AsyncGenerator[bytes, None]:
        self._screens += 1
        try:
            while not self._closing:
                news = self._news
                yield b"event: status\ndata: " + self._json() + b"\n\n"
                await asyncio.sleep(PAUSE_S)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(news.wait(), SILENCE_S - PAUSE_S)
        finally:
            self._screens -= 1

    async def _part(self, request: Request) -> Response:
        seq = request.path_params["seq"]
        if seq > SEQ_MAX:
            return JSONResponse({"error": "no such verdict"}, status_code=404)
        try:
            row = await self._rooms.ledger.get(seq)
        except InspectionFault as fault:
            return JSONResponse({"error": fault.text}, status_code=503)
        if row is None or row.verdict is None:
            return JSONResponse({"error": "no such verdict"}, status_code=404)
        body: dict[str, Any] = {"t_ms": row.t_ms, "late": row.late, "picture": row.picture or ""}
        return JSONResponse({"verdict": json.loads(verdict_to_json(row.verdict)), **body})

    async def _picture(self, request: Request) -> Response:
        found = self._rooms.archive.preview(request.path_params["seq"])
        if found is None:
            return JSONResponse({"error": "no preview of this part"}, status_code=404)
        path, scale = found
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except OSError:
            return JSONResponse({"error": "the preview is gone"}, status_code=404)
        return Response(data, media_type="image/png", headers={"X-Preview-Scale": f"{scale:.6f}"})

    async def _ack(self, request: Request) -> Response:
        if not self._acknowledge(request.path_params["name"]):
            return JSONResponse({"error": "no such alarm"}, status_code=404)
        self.changed()
        return JSONResponse({"ok": True})

    async def _health(self, request: Request) -> Response:
        asked = request.query_params.get("series", str(SERIES))
        if not re.fullmatch(r"[0-9]{1,4}", asked) or int(asked) > SERIES:
            return JSONResponse({"error": f"series: found {asked[:20]}, allowed: 0 to {SERIES}"}, status_code=400)
        data = await asyncio.to_thread(health_json, self._snapshot.health(int(asked)))
        return Response(data, media_type="application/json")

    async def _relearn(self, request: Request) -> Response:
        if not self._rooms.health.relearn():
            return JSONResponse({"error": "no part has come yet"}, status_code=409)
        self.changed()
        return JSONResponse({"ok": True})

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
