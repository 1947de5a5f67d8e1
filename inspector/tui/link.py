"""The one connection to the station: its feed over a Unix socket. Losing it is normal and never an error.

Everything here is bounded: 2 s to connect, 3 s of silence, 20 tries for a preview, and a back-off that ends at 4 s.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import cv2
import httpx
import numpy as np
from textual.message import Message

from inspector.tui.health import Health, health_from_json
from inspector.tui.messages import PictureCame, StationGone, StatusCame
from inspector.tui.status import Judged, Picture, Status, judged_from_json, status_from_json

SILENCE_S = 3.0
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 4.0
PICTURE_TRIES = 20
PICTURE_BYTES = 4 * 1024 * 1024
EVENT_BYTES = 8 * 1024 * 1024


class Gone(Exception):
    """The station does not answer, in words for the operator."""


def socket_paths(option: Path | None) -> list[Path]:
    """Where the feed may be: the one place asked for, or the usual places in the order they are tried."""
    if option is not None:
        return [option]
    if os.environ.get("INSPECTOR_FEED"):
        return [Path(os.environ["INSPECTOR_FEED"])]
    runtime = [Path(p) / "feed.sock" for p in os.environ.get("RUNTIME_DIRECTORY", "").split(":") if p]
    return [*runtime, Path("/run/inspector/feed.sock"), Path("var/run/feed.sock")]


class Link:
    """Reads the feed for ever and posts what it hears; answers requests by the same socket."""

    def __init__(self, post: Callable[[Message], object], socket: Path | None, pictures: bool = True) -> None:
        self._post = post
        self._paths = socket_paths(socket)
        self._client: httpx.AsyncClient | None = None
        self._want_pictures = pictures
        self._wanted: tuple[int, ...] = ()
        self._tries: dict[int, int] = {}  # of the wanted pictures; PICTURE_TRIES when it is settled
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Connect, listen, and when it breaks try again; ends only by being cancelled."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                async for status in self._listen():
                    retry_s = FIRST_RETRY_S
                    self._post(StatusCame(status))
                    self._want(status)
                raise Gone("The station closed the connection.")
            except Gone as gone:
                self._post(StationGone(str(gone), retry_s))
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, LAST_RETRY_S)

    async def acknowledge(self, alarm_id: str) -> str:
        """Acknowledge an alarm at the station; returns "" or the reason why not."""
        if self._client is None:
            return "the station is not there"
        try:
            answer = await self._client.post(f"/v1/alarms/{quote(alarm_id, safe='')}/ack")
        except httpx.HTTPError as error:
            return f"the station did not answer ({type(error).__name__})"
        if answer.status_code == httpx.codes.NOT_FOUND:
            return "this alarm is no longer there"
        return "" if answer.is_success else f"the station refused ({answer.status_code})"

    async def part(self, seq: int) -> Judged:
        """One part's stored verdict. Raises :class:`Gone` with the reason when there is none to be had."""
        if self._client is None:
            raise Gone("the station is not there")
        try:
            answer = await self._client.get(f"/v1/parts/{seq}")
            if not answer.is_success:
                raise Gone(_reason(answer.content))
            return judged_from_json(answer.content)
        except httpx.HTTPError as error:
            raise Gone(f"the station did not answer ({type(error).__name__})") from error
        except ValueError as error:
            raise Gone(f"this terminal cannot read it: {error}") from error

    async def health(self) -> Health:
        """The pictures' health. Raises :class:`Gone` with the reason when there is none to be had."""
        if self._client is None:
            raise Gone("the station is not there")
        try:
            answer = await self._client.get("/v1/health")
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise Gone("this station is too old to tell")
            if not answer.is_success:
                raise Gone(_reason(answer.content))
            return health_from_json(answer.content)
        except httpx.HTTPError as error:
            raise Gone(f"the station did not answer ({type(error).__name__})") from error
        except ValueError as error:
            raise Gone(f"cannot read it: {error}") from error

    async def relearn(self) -> str:
        """Have the limits learned anew; returns "" or the reason why not."""
        if self._client is None:
            return "the station is not there"
        try:
            answer = await self._client.post("/v1/health/relearn")
        except httpx.HTTPError as error:
            return f"the station did not answer ({type(error).__name__})"
        return "" if answer.is_success else _reason(answer.content)

    async def picture(self, seq: int) -> Picture | None:
        """One part's preview, None when there is none."""
        if self._client is None or not self._want_pictures:
            return None
        try:
            return _picture(seq, await self._client.get(f"/v1/pictures/{seq}"))
        except httpx.HTTPError:
            return None  # the event stream says what is wrong with the station

    def _find(self) -> Path:
        for path in self._paths:
            try:
                found, open_to_us = path.is_socket(), os.access(path, os.R_OK | os.W_OK)
            except PermissionError:  # a folder above it is closed
                found, open_to_us = True, False
            if found and not open_to_us:
                raise Gone(f"This user may not open {path}: join the group that owns it.")
            if found:
                return path
        raise Gone(f"No station has opened {' or '.join(str(p) for p in self._paths)}.")

    async def _listen(self) -> AsyncIterator[Status]:
        path = self._find()
        transport = httpx.AsyncHTTPTransport(uds=str(path), verify=False)  # a Unix socket has no certificates
        timeout = httpx.Timeout(2.0, read=SILENCE_S)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://station", timeout=timeout, trust_env=False
        ) as client:
            self._client = client
            self._tries.clear()
            pictures = asyncio.create_task(self._fetch_pictures())
            try:
                async with client.stream("GET", "/v1/events") as response:
                    if response.status_code != httpx.codes.OK:
                        why = _reason(await response.aread())
                        raise Gone(f"The station answers {response.status_code}: {why}.")
                    async for data in _events(response):
                        yield status_from_json(data)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise Gone(f"Nobody answers at {path}: the station was ended or has crashed.") from error
            except httpx.ReadTimeout as error:
                raise Gone(f"No news for {SILENCE_S:.0f} s: the station hangs or is being stopped.") from error
            except httpx.HTTPError as error:
                raise Gone("The connection to the station broke.") from error
            except ValueError as error:
                raise Gone(f"The station says something this terminal cannot read: {error}") from error
            finally:
                self._client = None
                pictures.cancel()

    def _want(self, status: Status) -> None:
        if not self._want_pictures:
            return
        self._wanted = status.pictured()
        self._tries = {seq: self._tries.get(seq, 0) for seq in self._wanted}
        self._news.set()

    async def _fetch_pictures(self) -> None:
        """One preview at a time, the newest part's first; a missing one is tried again with each status."""
        while True:
            await self._news.wait()
            self._news.clear()
            asked: set[int] = set()
            while (seq := self._next_wanted(asked)) is not None:
                asked.add(seq)
                self._tries[seq] = self._tries.get(seq, 0) + 1
                picture = await self.picture(seq)
                if picture is not None:
                    self._tries[seq] = PICTURE_TRIES
                    self._post(PictureCame(picture))

    def _next_wanted(self, asked: set[int]) -> int | None:
        open_ = (s for s in self._wanted if s not in asked and self._tries.get(s, 0) < PICTURE_TRIES)
        return next(open_, None)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Lines as server-sent events have them; httpx would also cut at separators inside a JSON string."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > EVENT_BYTES:
            raise ValueError("a line longer than 8 MB")
        for line in lines:
            yield line.removesuffix(b"\r")


async def _events(response: httpx.Response) -> AsyncIterator[bytes]:
    """The data of each ``status`` event. Comments keep a connection open but are no news."""
    event, data, heard = b"message", b"", time.monotonic()
    async for line in _lines(response):
        if time.monotonic() - heard > SILENCE_S:
            raise Gone(f"No news for {SILENCE_S:.0f} s: the station is busy with something else.")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            event = value
        elif name == b"data":
            data = value
        elif not line:
            if event == b"status" and data:
                heard = time.monotonic()
                yield data
            event, data = b"message", b""


def _reason(body: bytes) -> str:
    """The error a feed gives with a status code that is not 200."""
    try:
        said = json.loads(body)
        return str(said["error"])[:200]
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _picture(seq: int, answer: httpx.Response) -> Picture | None:
    """The preview as grey or RGB pixels; None when the answer holds none."""
    if not answer.is_success or not 0 < len(answer.content) <= PICTURE_BYTES:
        return None
    try:
        image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.dtype != np.uint8 or image.ndim not in (2, 3):
        return None
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    try:
        scale = float(answer.headers.get("X-Preview-Scale", ""))
    except ValueError:
        return None
    return Picture(seq, np.asarray(image, np.uint8), scale) if 0 < scale <= 64 else None
