# SPDX-License-Identifier: Apache-2.0
"""Serves the page: an event loop in a thread of its own, with every client bounded."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from face_tracking.errors import UserError
from face_tracking.server_access import is_loopback, require_token
from face_tracking.web.access_control import AccessControl
from face_tracking.web.connection_guard import ConnectionGuard
from face_tracking.web.live_feed import LiveFeed
from face_tracking.web.robot_port import PEOPLE_ACTIONS, RobotPort
from face_tracking.web.web_options import WebServerOptions

if TYPE_CHECKING:
    from aiohttp.typedefs import Middleware

_PAGES = {
    '/': ('index.html', 'text/html'),
    '/app.js': ('app.js', 'text/javascript'),
    '/style.css': ('style.css', 'text/css'),
    '/login': ('login.html', 'text/html'),
}
_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin',
    'Cache-Control': 'no-store',
}
_COOKIE = 'face_tracking_session'
_BOUNDARY = 'frame'
_MAX_BODY_BYTES = 16 * 1024
_MAX_INTEGER = 2**63 - 1
_WRITE_TIMEOUT = 10.0  # seconds in which a client must take what it is sent
_BUFFER = 256 * 1024  # bytes that may wait for a client
_STATE_PERIOD = 0.2
_IMAGE_TIMEOUT = 5.0


class WebServer:
    """Serves one robot.

    :param robot: what is shown and changed.
    :param options: how to listen.
    :ivar port: the port that it listens on.
    :raises UserError: the address cannot be used, or it needs a token.
    """

    def __init__(self, robot: RobotPort, options: WebServerOptions | None = None):
        self._options = options or WebServerOptions()
        require_token('the page', self._options.host, self._options.token)
        self._robot = robot
        self._access = AccessControl(self._options.token)
        self._streams = 0
        self._viewers = 0
        self._pool = ThreadPoolExecutor(4, 'web')
        static = resources.files('face_tracking.web').joinpath('static')
        self._pages = {
            path: (
                static.joinpath(name).read_bytes(),
                kind,
            )
            for path, (name, kind) in _PAGES.items()
        }
        self._ready: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name='web', daemon=True)
        self._thread.start()
        self.port = self._ready.result(10.0)

    @property
    def viewers(self) -> int:
        """How many clients watch the images."""
        return self._viewers

    def show_image(self, jpeg: bytes) -> None:
        """Pass the newest image; returns immediately. Thread-safe."""
        self._call(lambda: self._images.put(jpeg))

    def close(self, timeout: float = 3.0) -> bool:
        """Stop; return whether the thread has ended."""
        self._call(self._stop)
        self._thread.join(timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._thread.is_alive()

    def _call(self, action: Callable[[], None]) -> None:
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            pass  # the loop has ended

    # The thread of the server.

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            address = f'{self._options.host}:{self._options.port}'
            self._fail(
                UserError(
                    f'cannot listen on {address}: {error.strerror}',
                    'set another web_port or web_host, or stop the program that uses it',
                )
            )
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)

    def _stop(self) -> None:
        self._stopping.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping, self._state_watched = asyncio.Event(), asyncio.Event()
        self._images, self._states = LiveFeed(), LiveFeed()
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.5,
            keepalive_timeout=15.0,
        )
        await runner.setup()
        self._guard = ConnectionGuard(cast(Any, runner.server), self._options.max_connections)
        server = await self._loop.create_server(
            self._guard, self._options.host, self._options.port, backlog=32
        )
        self._ready.set_result(server.sockets[0].getsockname()[1])
        tasks = [asyncio.create_task(self._push_states()), asyncio.create_task(self._sweep())]
        await self._stopping.wait()
        for task in tasks:
            task.cancel()
        server.close()
        await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guarded], client_max_size=_MAX_BODY_BYTES)
        for path in self._pages:
            application.router.add_get(path, self._page)
        application.router.add_post('/login', self._login)
        application.router.add_get('/stream.mjpeg', self._stream)
        application.router.add_get('/snapshot.jpg', self._snapshot)
        application.router.add_get('/api/state', self._state)
        application.router.add_get('/api/live', self._live)
        application.router.add_get('/api/parameters', self._parameters)
        application.router.add_post('/api/parameters', self._set_parameter)
        application.router.add_post('/api/people/{action}', self._people)
        return application

    async def _push_states(self) -> None:
        """Refresh the state while a client reads it."""
        while True:
            await self._state_watched.wait()
            await asyncio.sleep(_STATE_PERIOD)
            try:
                self._states.put(self._state_text())
            except Exception:  # a state that cannot be shown must not end the page
                continue

    async def _sweep(self) -> None:
        while True:
            await self._guard.connected.wait()
            await asyncio.sleep(1.0)
            self._guard.sweep()

    def _state_text(self) -> bytes:
        return json.dumps(self._robot.state(), ensure_ascii=False, allow_nan=False).encode()

    # Access.

    @property
    def _guarded(self) -> Middleware:
        @web.middleware
        async def check(request: web.Request, handler: Callable[..., Awaitable[Any]]) -> Any:
            self._guard.note_request(request.protocol)
            try:
                refusal = self._refusal(request)
                response = refusal if refusal is not None else await handler(request)
            except UserError as error:
                response = web.json_response({'error': str(error)}, status=400)
            except web.HTTPException as error:
                response = _refuse(error.status, error.reason)
            except (TimeoutError, asyncio.TimeoutError):
                response = _refuse(408, 'the request took too long')
            finally:
                self._guard.note_answer(request.protocol)
            if not response.prepared:
                response.headers.update(_HEADERS)
            return response

        return check

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        """Return the answer to a request that is not allowed, None for one that is."""
        if not self._access.needs_token and not _is_local_host(request.host):
            # Else a foreign page could reach this one through a name of its own.
            return _refuse(403, 'use http://localhost')
        if request.method not in ('GET', 'HEAD') and not _is_same_origin(request):
            return _refuse(403, 'the request was sent by another page')
        if not self._access.needs_token or request.path in ('/login', '/style.css'):
            return None
        if self._access.has_session(request.cookies.get(_COOKIE, '')):
            return None
        return self._check_token(request)

    def _check_token(self, request: web.Request) -> web.StreamResponse | None:
        address = request.remote or ''
        if self._access.is_blocked(address):
            return _refuse(429, 'too many wrong tokens; wait a minute')
        token = _token_of(request)
        if token and self._access.try_token(token, address):
            return self._welcome() if request.path == '/' else None
        if request.path == '/':
            return web.Response(status=302, headers={'Location': '/login'})
        return _refuse(401, 'a token is needed')

    def _welcome(self) -> web.Response:
        """Return the answer to a right token: a session, and an address without the token."""
        response = web.Response(status=303, headers={'Location': '/'})
        response.set_cookie(
            _COOKIE, self._access.open_session(), httponly=True, samesite='Strict', path='/'
        )
        return response

    # Requests.

    async def _page(self, request: web.Request) -> web.Response:
        body, kind = self._pages[request.path]
        return web.Response(body=body, content_type=kind, charset='utf-8')

    async def _login(self, request: web.Request) -> web.Response:
        address = request.remote or ''
        if self._access.is_blocked(address):
            return _refuse(429, 'too many wrong tokens; wait a minute')
        fields = await asyncio.wait_for(request.post(), _WRITE_TIMEOUT)
        token = fields.get('token', '')
        if isinstance(token, str) and self._access.try_token(token, address):
            return self._welcome()
        return web.Response(status=303, headers={'Location': '/login'})

    async def _state(self, _: web.Request) -> web.Response:
        return web.Response(body=self._state_text(), content_type='application/json')

    async def _snapshot(self, _: web.Request) -> web.Response:
        self._admit()
        self._watch(1)
        try:
            jpeg = await asyncio.wait_for(self._next_image(), _IMAGE_TIMEOUT)
            return web.Response(body=jpeg, content_type='image/jpeg')
        except (TimeoutError, asyncio.TimeoutError):
            return _refuse(503, 'no image was received')
        finally:
            self._watch(-1)

    async def _next_image(self) -> bytes:
        """Return the next image that arrives."""
        before = self._images.value
        async for jpeg in self._images.values():
            if jpeg and jpeg is not before:
                return jpeg
        raise AssertionError('a feed never ends')

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        self._admit()
        response = web.StreamResponse(
            headers={
                **_HEADERS,
                'Content-Type': f'multipart/x-mixed-replace; boundary={_BOUNDARY}',
            }
        )
        self._watch(1)
        try:
            await self._prepare(response, request)
            async for jpeg in self._images.values():
                if jpeg:
                    await self._write(
                        response,
                        b'--%s\r\nContent-Type: image/jpeg\r\n'
                        b'Content-Length: %d\r\n\r\n%s\r\n'
                        % (_BOUNDARY.encode(), len(jpeg), jpeg),
                    )
        except (ConnectionError, asyncio.TimeoutError, TimeoutError):
            pass  # the client has gone, or does not read
        finally:
            self._watch(-1)
        return response

    async def _live(self, request: web.Request) -> web.StreamResponse:
        self._admit()
        response = web.StreamResponse(headers={**_HEADERS, 'Content-Type': 'text/event-stream'})
        self._count_stream(1)
        try:
            await self._prepare(response, request)
            await self._write(response, b'data: %s\n\n' % self._state_text())
            async for state in self._states.values():
                if state:
                    await self._write(response, b'data: %s\n\n' % state)
        except (ConnectionError, asyncio.TimeoutError, TimeoutError):
            pass
        finally:
            self._count_stream(-1)
        return response

    async def _parameters(self, _: web.Request) -> web.Response:
        return web.json_response(
            {'parameters': await self._in_thread(self._robot.page_parameters)}
        )

    async def _set_parameter(self, request: web.Request) -> web.Response:
        body = await _read_json(request)
        node, name, value = (body.get(key) for key in ('node', 'name', 'value'))
        if (
            not isinstance(node, str)
            or not isinstance(name, str)
            or not isinstance(value, (bool, int, float, str))
        ):
            raise UserError('the request has no node, name and value', 'send all three')
        if isinstance(value, int) and abs(value) > _MAX_INTEGER:
            raise UserError(f'{name[:40]} is too large', 'give a smaller number')
        if isinstance(value, str) and not value.isprintable():
            raise UserError(f'{name[:40]} is no text', 'use printable characters')
        await self._in_thread(self._robot.change_parameter, node, name, value)
        return web.json_response({'done': f'{name} is {value}'})

    async def _people(self, request: web.Request) -> web.Response:
        action = request.match_info['action']
        if action not in PEOPLE_ACTIONS:
            raise UserError(
                f'people cannot be {action[:20]!r}', f'use one of {", ".join(PEOPLE_ACTIONS)}'
            )
        body = await _read_json(request)
        arguments = {}
        for key in PEOPLE_ACTIONS[action]:
            value = body.get(key, '')
            if not isinstance(value, str) or len(value) > 64 or not (value.isprintable()):
                raise UserError(f'{key} is not a name', 'use up to 64 printable characters')
            arguments[key] = value.strip()
        done = await self._in_thread(self._robot.manage_people, action, arguments)
        return web.json_response({'done': done})

    # Clients.

    def _admit(self) -> None:
        if self._viewers + self._streams >= self._options.max_streams:
            raise web.HTTPServiceUnavailable(reason='too many people are watching')

    def _watch(self, change: int) -> None:
        before, self._viewers = self._viewers, self._viewers + change
        if (before > 0) != (self._viewers > 0):
            self._images.value = b''
            self._robot.watch_images(self._viewers > 0)

    def _count_stream(self, change: int) -> None:
        before, self._streams = self._streams, self._streams + change
        if (before > 0) != (self._streams > 0):
            self._robot.watch_state(self._streams > 0)
            self._state_watched.set() if self._streams else self._state_watched.clear()

    async def _prepare(self, response: web.StreamResponse, request: web.Request) -> None:
        await response.prepare(request)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(high=_BUFFER)

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        await asyncio.wait_for(response.write(data), _WRITE_TIMEOUT)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


async def _read_json(request: web.Request) -> dict[str, Any]:
    if request.content_type != 'application/json':
        raise web.HTTPUnsupportedMediaType(reason='send application/json')
    try:
        body = json.loads(await asyncio.wait_for(request.read(), _WRITE_TIMEOUT))
    except (ValueError, RecursionError):
        raise UserError('the request is not JSON', 'send an object') from None
    if not isinstance(body, dict):
        raise UserError('the request is not an object', 'send {"name": value}')
    return body


def _token_of(request: web.Request) -> str:
    scheme, _, token = request.headers.get('Authorization', '').partition(' ')
    return token.strip() if scheme.lower() == 'bearer' else request.query.get('token', '')


def _is_local_host(host: str) -> bool:
    name = host.rpartition(':')[0] if not host.endswith(']') and ':' in host else host
    return is_loopback(name.strip('[]'))


def _is_same_origin(request: web.Request) -> bool:
    origin = request.headers.get('Origin')
    return origin is None or origin.partition('://')[2] == request.host


def _refuse(status: int, reason: str) -> web.Response:
    return web.json_response({'error': reason}, status=status)
