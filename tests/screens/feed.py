"""A feed that speaks the station's protocol over a real Unix socket, driven by the test."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class Feed:
    """Serves ``status`` (a dict or raw text) and ``pictures``; remembers the acknowledgements it got."""

    def __init__(self, path: Path, status: dict[str, Any] | str) -> None:
        self.path = path
        self.status = status
        self.pictures: dict[int, bytes] = {}
        self.parts: dict[int, dict[str, Any] | str] = {}
        self.scales: dict[int, str] = {}
        self.asked: list[int] = []
        self.acknowledged: list[str] = []
        self.health: dict[str, Any] | str | None = None
        self.health_asked = 0
        self.relearned = 0
        self.relearn_code = 200
        self.refusal = ""
        self.ack_code = 200
        self.mute = False  # keep connections open, say nothing
        self.chatter = False  # with mute: send comments, which are no news
        self.sent = 0
        self._version = 0
        self._ends = False
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Feed:
        routes = [
            Route("/v1/events", self._events),
            Route("/v1/pictures/{seq:int}", self._picture),
            Route("/v1/parts/{seq:int}", self._part),
            Route("/v1/health", self._health),
            Route("/v1/health/relearn", self._relearn, methods=["POST"]),
            Route("/v1/alarms/{alarm:str}/ack", self._ack, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), uds=str(self.path), log_level="error", lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._ends = False
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="feed", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline, "the feed did not start"
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        if self._server is None or self._thread is None:
            return
        self._ends = True
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._server = self._thread = None
        self.path.unlink(missing_ok=True)

    def say(self, status: dict[str, Any] | str) -> None:
        """The next status; sent at the next 10 ms tick."""
        self.status = status
        self._version += 1

    async def _events(self, request: Request) -> Response:
        if self.refusal:
            return Response(self.refusal, 503)
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        said, when = -1, 0.0
        while not self._ends:
            if self.mute:
                if self.chatter:
                    yield ": still here\n\n"
                    await asyncio.sleep(0.1)
            elif said != self._version or time.monotonic() - when >= 1.0:
                said, when = self._version, time.monotonic()
                self.sent += 1
                data = self.status if isinstance(self.status, str) else json.dumps(self.status, ensure_ascii=False)
                yield f"event: status\ndata: {data}\n\n"
            await asyncio.sleep(0.01)

    async def _picture(self, request: Request) -> Response:
        seq = request.path_params["seq"]
        self.asked.append(seq)
        if seq not in self.pictures:
            return Response(status_code=404)
        headers = {"X-Preview-Scale": self.scales.get(seq, "0.25")}
        return Response(self.pictures[seq], media_type="image/png", headers=headers)

    async def _part(self, request: Request) -> Response:
        part = self.parts.get(request.path_params["seq"])
        if part is None:
            return JSONResponse({"error": "no such verdict"}, status_code=404)
        return Response(part) if isinstance(part, str) else JSONResponse(part)

    async def _health(self, request: Request) -> Response:
        self.health_asked += 1
        if self.health is None:
            return Response(status_code=404)
        return Response(self.health if isinstance(self.health, str) else json.dumps(self.health))

    async def _relearn(self, request: Request) -> Response:
        if self.relearn_code != 200:
            return JSONResponse({"error": "no part has come yet"}, status_code=self.relearn_code)
        self.relearned += 1
        return JSONResponse({"ok": True})

    async def _ack(self, request: Request) -> Response:
        alarm = request.path_params["alarm"]
        if self.ack_code != 200:
            return Response(status_code=self.ack_code)
        if isinstance(self.status, str) or alarm not in {a["id"] for a in self.status["alarms"]}:
            return Response(status_code=404)
        self.acknowledged.append(alarm)
        alarms = [{**a, "state": "ACK"} if a["id"] == alarm else a for a in self.status["alarms"]]
        self.say({**self.status, "alarms": alarms})
        return JSONResponse({"ok": True})
