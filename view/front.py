# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The only door to the page: looks at Host, Origin and token, then serves page, state and scene.

viser serves its scene to whoever connects, from whatever page (measured with 1.1.1). So it listens
on loopback alone, takes only connections that bear this process's secret, and browsers come through
here. A page of another origin, a name that was made to point here (DNS rebinding) and another user
of the machine are refused: they lack the origin, the name, or the token, which is in the address
that the command prints and then in a cookie.

Nothing on the page comes from elsewhere, and a Content-Security-Policy forbids that it would.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import io
import ipaddress
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import viser
from aiohttp import WSMsgType, web

from g2vlm_model.interface.words import plain

from .drawing import PAGE
from .session import RefusedError, Session

__all__ = ["Front", "close_viser", "guarded_viser"]

_LOG = logging.getLogger(__name__)
_PAGE = Path(__file__).resolve().parent / "page"
_SCENE = Path(viser.__file__).resolve().parent / "client" / "build" / "index.html"
_SECRET = "X-G2VLM-View"
_POLL_S = 0.2  # of the state, which is sent where it changed
_COMMAND_BYTES = 64 * 1024
_SCENE_BYTES = 64 * 1024 * 1024
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' {script}; worker-src 'self' blob:; connect-src 'self' {socket} data: blob:; "
    "font-src 'self' data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
_VISER = "'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:"  # one file, with its workers
# viser's panel has nothing that the page does not have; what it notifies of stands lower down.
_HIDDEN = (
    "<style>.mantine-Paper-root:not(.mantine-Notification-root) { display: none; } "
    ".mantine-Notifications-root { top: auto !important; bottom: 64px !important; }</style></head>"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "no-store",
}


def guarded_viser(secret: str) -> viser.ViserServer:
    """Viser's server on a free port of loopback, which turns away who lacks the secret.

    Args:
        secret: That the front sends.
    """
    with socket.socket() as probe:  # viser takes the next one where somebody was faster
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with contextlib.redirect_stdout(io.StringIO()):  # its banner names the port behind this door
        server = viser.ViserServer("127.0.0.1", port, verbose=False)
    inner: Any = server._websock_server  # it has no public place to look at a request

    async def look(connection: Any) -> None:
        live = inner._live_connections[connection.client_id]
        given = live.request.headers.get(_SECRET, "")
        if not hmac.compare_digest(given.encode(), secret.encode()):
            await live.close(1008, "only g2vlm view connects here")

    inner.on_client_connect(look)
    return server


def close_viser(server: viser.ViserServer) -> None:
    """Stop it without a word."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


class Front:
    """Serves in a thread of its own, from `start` to `close`.

    Args:
        session: What it serves; another may take its place at any time.
        scene_port: viser's.
        secret: For viser.
        host: Address to bind to.
        port: To bind to; 0 for a free one.
        token: Of the address; made where empty.
    """

    def __init__(
        self,
        session: Session,
        scene_port: int,
        secret: str,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str = "",
    ) -> None:
        self.session, self._secret = session, secret
        self._scene = f"ws://127.0.0.1:{scene_port}/"
        self.host, self.port = host, port
        self.token = token or secrets.token_urlsafe(16)
        self.viewers = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="g2vlm-front", daemon=True)

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        host = self.host
        if _is_any(host):
            host = socket.gethostname()
        elif ":" in host:
            host = f"[{host}]"
        return f"http://{host}:{self.port}/?token={self.token}"

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address cannot be had.
        """
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def settle(self) -> None:
        """Wait until open pages have been told what has just changed."""
        if self.viewers:
            time.sleep(3 * _POLL_S)

    def close(self) -> None:
        """Close all connections and listen no more."""
        stop, loop = self._stop, self._loop
        if stop is not None and loop is not None and self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(stop.set)
            self._thread.join(5.0)

    def _run(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve())
        finally:
            self._ready.set()
            loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(middlewares=[self._guard], client_max_size=_COMMAND_BYTES)
        app.router.add_get("/", self._index)
        app.router.add_get("/scene/{page}/", self._scene_page)
        app.router.add_get("/scene/{page}", self._bridge)  # viser leaves the slash out
        app.router.add_get("/live", self._live)
        app.router.add_get("/picture/{name}", self._picture)
        app.router.add_get("/page/{name}", self._file)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        try:
            await site.start()
        except OSError as error:
            self._failure = error
            await runner.cleanup()
            return
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    # Who may come in.

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        why = self.refusal(
            request.headers.get("Host", ""),
            request.headers.get("Origin"),
            request.query.get("token") or request.cookies.get(self._cookie, ""),
        )
        if why:
            return web.Response(status=403, text=f"g2vlm view: {why}\n", headers=_HEADERS)
        response = await handler(request)
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    def refusal(self, host: str, origin: str | None, token: str) -> str:
        """Why a request is turned away; "" where it is let in.

        Args:
            host: Header of that name: by which name the browser knows this server.
            origin: Of the page that asks; None where none is said, as of a page that is opened.
            token: Of the address or the cookie.
        """
        if not self._is_own_name(host):
            return "the request names another host"
        if origin is not None and urlsplit(origin).netloc.casefold() != host.casefold():
            return "the request comes from another page"
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return "open the address that the command printed, with its token"
        return ""

    def _is_own_name(self, host: str) -> bool:
        parts = urlsplit(f"//{host}")
        try:
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port:
            return False
        if name in {"127.0.0.1", "localhost", "::1", self.host.casefold()}:
            return True
        if _is_loopback(self.host):
            return False
        # A number cannot be made to point elsewhere; a name can.
        return _is_number(name) or name == socket.gethostname().casefold()

    @property
    def _cookie(self) -> str:
        return f"g2vlm_view_{self.port}"  # cookies do not tell ports apart

    # What they get.

    async def _index(self, request: web.Request) -> web.StreamResponse:
        if "token" in request.query:
            answer = web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict", path="/")
            return answer
        return self._html(request, _PAGE / "index.html", "")

    async def _scene_page(self, request: web.Request) -> web.StreamResponse:
        return self._html(request, _SCENE, _VISER, _HIDDEN)

    def _html(
        self, request: web.Request, path: Path, script: str, head_end: str = "</head>"
    ) -> web.Response:
        policy = _POLICY.format(script=script, socket=f"ws://{request.headers['Host']}")
        text = path.read_text(encoding="utf-8").replace("</head>", head_end, 1)
        headers = {"Content-Security-Policy": policy}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        kinds = {"app.js": "text/javascript", "style.css": "text/css"}
        name = request.match_info["name"]
        if name not in kinds:
            raise web.HTTPNotFound
        text = (_PAGE / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kinds[name])

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        made = await asyncio.to_thread(self.session.picture, request.match_info["name"])
        if made is None:
            raise web.HTTPNotFound
        return web.Response(body=made, content_type="image/jpeg")

    async def _live(self, request: web.Request) -> web.StreamResponse:
        """The state as it changes, and commands with their answers."""
        line = web.WebSocketResponse(heartbeat=20.0, max_msg_size=_COMMAND_BYTES)
        await line.prepare(request)
        self.viewers += 1
        telling = asyncio.create_task(self._tell(line))
        try:
            async for message in line:
                if message.type == WSMsgType.TEXT:
                    await line.send_json(await asyncio.to_thread(self._do, message.data))
        finally:
            self.viewers -= 1
            telling.cancel()
        return line

    async def _tell(self, line: web.WebSocketResponse) -> None:
        told = ""
        with contextlib.suppress(ConnectionError):
            while not line.closed and self._stop is not None and not self._stop.is_set():
                state = await asyncio.to_thread(self.session.state)
                now = json.dumps({"state": {**state, "viewers": self.viewers}})
                if now != told:
                    await line.send_str(now)
                    told = now
                await asyncio.sleep(_POLL_S)
        await line.close()

    def _do(self, words: str) -> dict[str, Any]:
        """Carry out a command as it came; its answer."""
        number: object = None
        try:
            given = json.loads(words)
            number = given.pop("id", None)
            return {"id": number, "ok": True, "text": self.session.do(given.pop("do"), given)}
        except RefusedError as error:
            return {"id": number, "ok": False, "text": plain(str(error))}
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"id": number, "ok": False, "text": "that is no command"}
        except Exception as error:
            _LOG.exception("a command failed")
            return {"id": number, "ok": False, "text": plain(f"{type(error).__name__}: {error}")}

    async def _bridge(self, request: web.Request) -> web.StreamResponse:
        """Hand a connection of viser's page on to viser."""
        asked = request.headers.get("Sec-WebSocket-Protocol", "")
        protocols = [word.strip() for word in asked.split(",") if word.strip()]
        outer = web.WebSocketResponse(
            protocols=protocols, max_msg_size=_SCENE_BYTES, compress=False, heartbeat=20.0
        )
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                self._scene,
                protocols=protocols,
                headers={_SECRET: self._secret, PAGE: request.match_info["page"]},
                max_msg_size=_SCENE_BYTES,
                compress=0,
            ) as inner,
        ):
            await outer.prepare(request)
            ways = [
                asyncio.create_task(_hand_on(*pair)) for pair in ((outer, inner), (inner, outer))
            ]
            stop = asyncio.create_task(self._stop.wait() if self._stop else asyncio.sleep(0))
            await asyncio.wait([*ways, stop], return_when=asyncio.FIRST_COMPLETED)
            for task in (*ways, stop):
                task.cancel()
            await outer.close()
        return outer


async def _hand_on(
    one: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    other: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
) -> None:
    with contextlib.suppress(ConnectionError):
        async for message in one:
            if message.type == WSMsgType.BINARY:
                await other.send_bytes(message.data)
            elif message.type == WSMsgType.TEXT:
                await other.send_str(message.data)


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_any(host: str) -> bool:
    return host == "" or (_is_number(host) and ipaddress.ip_address(host).is_unspecified)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_number(host) and ipaddress.ip_address(host).is_loopback)
