"""The page's server: files, and a websocket for each person."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from sateen.errors import InputError, SateenError
from sateen.play.player import Player
from sateen.play.story import Story

__all__ = ["MOST_BYTES", "application"]

log = logging.getLogger(__name__)

FILES = Path(__file__).with_name("page")
TYPES = {"index.html": "text/html", "play.css": "text/css", "play.js": "text/javascript"}
HEADERS = {
    # Nothing from elsewhere, and in no other site's frame.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
MOST_BYTES = 20_000_000
"""Of a picture."""
WRONG_ORIGIN = 4403
"""Code with which a page of another site is sent away."""


class _Turns:
    """Who may use the device: one at a time, the others in the order in which they came."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.waiting = 0

    async def run(self, work: Any, waits: Any) -> Any:
        """Does blocking work when its turn comes; ``waits`` is called with the number of those before it."""
        ahead = self.waiting
        self.waiting += 1
        try:
            if ahead:
                await waits(ahead)
            async with self._lock:
                job = asyncio.ensure_future(asyncio.to_thread(work))
                try:
                    return await asyncio.shield(job)
                except asyncio.CancelledError:
                    # Who leaves does not leave the device in the middle of a run.
                    await asyncio.wait([job])
                    raise
        finally:
            self.waiting -= 1


def application(
    player: Player, *, hosts: Sequence[str] = ("127.0.0.1", "localhost"), story: Story | None = None
) -> Starlette:
    """The page's application (ASGI).

    Parameters
    ----------
    player
        The device and its models.
    hosts
        Names by which the page may be opened. Requests by other names, and websockets from pages of other sites, are
        refused: a site that somebody visits cannot use the device.
    story
        A language model that the page offers, too.
    """
    turns = _Turns()

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in TYPES:
            return Response("there is no such page", 404)
        return FileResponse(FILES / name, media_type=TYPES[name], headers=HEADERS)

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        if not _same_origin(socket):
            await socket.close(WRONG_ORIGIN, "open the page from its own address")
            return
        try:
            about = {"most_bytes": MOST_BYTES, "story": story and {"name": story.model.name, "where": story.where}}
            await socket.send_json({"type": "hello", **about, **player.describe()})
            await _Person(socket, player, turns).serve()
        except WebSocketDisconnect:
            log.info("a browser left")

    async def write(socket: WebSocket) -> None:
        await socket.accept()
        if not _same_origin(socket):
            await socket.close(WRONG_ORIGIN, "open the page from its own address")
            return
        assert story is not None
        try:
            await _write(socket, story)
        except WebSocketDisconnect:
            log.info("a browser left")

    routes = [Route("/", file), Route("/{name}", file), WebSocketRoute("/device", talk)]
    if story is not None:
        routes.append(WebSocketRoute("/story", write))
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])


def _same_origin(socket: WebSocket) -> bool:
    """Whether the page that opens the websocket is this server's own: browsers say where it is from."""
    origin, host = socket.headers.get("origin", ""), socket.headers.get("host", "")
    return urlsplit(origin).netloc == host != ""


async def _write(socket: WebSocket, story: Story) -> None:
    """One text: its prompt comes, and its pieces go as they are written, until it ends or the browser leaves."""
    try:
        prompt = await socket.receive_text()
        pieces = story.write(prompt)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            await socket.send_json({"type": "piece", "text": piece})
        await socket.send_json({"type": "end"})
    except (SateenError, KeyError) as error:
        text = str(error) if isinstance(error, SateenError) else "this page is of another version; load it again"
        await socket.send_json({"type": "error", "text": text})
    await socket.close()


class _Person:
    """One browser."""

    def __init__(self, socket: WebSocket, player: Player, turns: _Turns):
        self.socket, self.player, self.turns = socket, player, turns
        self.latest: tuple[dict[str, Any], Any] | None = None
        """What came last and is still to be run: of what comes while the device works, only the last counts."""
        self.came = asyncio.Event()

    async def serve(self) -> None:
        """Until the browser leaves."""
        tasks = [asyncio.ensure_future(self._listen()), asyncio.ensure_future(self._work())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()

    async def _listen(self) -> None:
        while True:
            await self._receive()

    async def _receive(self) -> None:
        try:
            asked = json.loads(await self.socket.receive_text())
            index = asked["model"]
            kind = self.player.models[index].kind if type(index) is int and index >= 0 else None
            if kind is None or type(asked["id"]) is not int:
                raise ValueError("no such model")
            given = asked["strokes"] if kind == "digit" else await self._file()
        except InputError as error:
            await self.socket.send_json({"type": "error", "id": asked["id"], "text": str(error)})
            return
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            await self.socket.send_json({"type": "error", "text": "this page is of another version; load it again"})
            return
        self.latest = asked, given
        self.came.set()

    async def _file(self) -> bytes:
        data = await self.socket.receive_bytes()
        if len(data) > MOST_BYTES:
            raise InputError(f"the picture has more than {MOST_BYTES // 1_000_000} MB; choose a smaller one")
        return data

    async def _work(self) -> None:
        while True:
            await self.came.wait()
            self.came.clear()
            assert self.latest is not None
            asked, given = self.latest
            try:
                found, recording = await self.turns.run(
                    lambda asked=asked, given=given: self.player.run(
                        asked["model"], given, record=asked.get("record") is True
                    ),
                    self._tell_waiting,
                )
            except (SateenError, ValueError) as error:
                await self.socket.send_json({"type": "error", "id": asked["id"], "text": str(error)})
                continue
            await self.socket.send_json({"type": "result", "id": asked["id"], **found})
            if recording is not None:
                await self.socket.send_bytes(recording)

    async def _tell_waiting(self, ahead: int) -> None:
        await self.socket.send_json({"type": "waiting", "ahead": ahead})
