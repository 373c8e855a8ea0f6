"""An HTTP client that speaks JSON with one server, by the standard library: connections stay open, and are retried."""

import contextlib
import http.client
import json
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import final
from urllib.parse import urlsplit

import attrs

from lap.errors import ModelError
from tsmg import InvalidArgumentError

KEY_VARIABLE = "TSMG_ENGINE_KEY"
_BUSY = (429, 500, 502, 503, 504)
_HEALTH = 5.0  # seconds within which a server that is well says so
_SHOWN = 300  # characters of a server's own words


class EngineError(ModelError):
    """An inference server does not do what was asked of it; the message names the server."""


class ServerDownError(EngineError):
    """A server does not answer, or keeps failing; another one may be asked instead.

    Attributes:
      status: of HTTP, if it answered: 429, or between 500 and 504.
    """

    status: int | None = None


class RequestRefusedError(EngineError):
    """A server rejects the request, so repeating it would not help.

    Attributes:
      status: of HTTP, between 400 and 499.
    """

    status: int = 400


@final
@attrs.frozen
class Address:
    """The address of a server, and the name of the model that it serves.

    Attributes:
      url: scheme, host, port and perhaps a path; without ``/v1``.
      model: the name under which it serves the model; the only model that it serves unless given.
    """

    url: str
    model: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The address in a text of the form ``URL`` or ``URL#MODEL``.

        Raises:
          InvalidArgumentError: it has no scheme, no host, or holds what must not be written into a run folder.

        Example:
          >>> Address.parse("http://127.0.0.1:8000/v1#qwen")
          Address(url='http://127.0.0.1:8000', model='qwen')
        """
        has_secret, is_complete = "@" in text or "?" in text, False
        try:
            parts = urlsplit(text)
            has_secret = "@" in parts.netloc or bool(parts.query)
            named = bool(parts.hostname) and parts.port != 0
            is_complete = named and parts.scheme in ("http", "https")
        except ValueError:  # of brackets or the port
            pass
        if has_secret:  # not shown
            raise InvalidArgumentError(
                f"'engine' must be a URL without a user name, a password or a query; a key is read from {KEY_VARIABLE}"
            )
        if not is_complete:
            raise InvalidArgumentError(
                f"'engine' must be a URL such as http://127.0.0.1:8000, with its scheme (got {text!r})"
            )
        path = parts.path.rstrip("/").removesuffix("/v1")
        return cls(f"{parts.scheme}://{parts.netloc}{path}", parts.fragment)

    @classmethod
    def parse_all(cls, text: str) -> "tuple[Address, ...]":
        """The addresses in a text, separated by commas.

        Raises:
          InvalidArgumentError: one is malformed, or two are equal.
        """
        addresses = tuple(cls.parse(part.strip()) for part in text.split(","))
        if len({address.url for address in addresses}) < len(addresses):
            raise InvalidArgumentError(f"'engine' must name each server once (got {text!r})")
        return addresses


@final
class JsonClient:
    """Asks one server; several threads may do so at once.

    Args:
      url: its address.
      timeout: seconds that an answer may take.
      retries: how often a request that failed for a transient reason is repeated.
      pause: seconds before the first repetition; doubled before each further one.

    Raises:
      InvalidArgumentError: the key in the environment cannot be sent.

    Attributes:
      url: its address.
    """

    def __init__(
        self, url: str, *, timeout: float = 300.0, retries: int = 2, pause: float = 0.5
    ) -> None:
        self.url = url
        self._timeout, self._retries, self._pause = timeout, retries, pause
        parts = urlsplit(url)
        self._is_secure, self._netloc, self._path = (
            parts.scheme == "https",
            parts.netloc,
            parts.path,
        )
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close_all, self._idle)
        self._key = _key()
        self._headers = {"Content-Type": "application/json"}
        self._headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def get(self, path: str) -> object:
        """The JSON at a path; see ``post``."""
        return self._asked("GET", path, b"")

    def post(self, path: str, body: object) -> object:
        """The JSON that a server answers to JSON; ``None`` if it answers with nothing or with plain text.

        Raises:
          ServerDownError: it does not answer in time, or still fails after all repetitions.
          RequestRefusedError: it refuses the request.
        """
        return self._asked("POST", path, json.dumps(body).encode())

    def answers(self) -> bool:
        """Whether the server reports in time that it is healthy."""
        connection = self._connection(min(_HEALTH, self._timeout))
        try:
            connection.request("GET", f"{self._path}/health", headers=self._headers)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that are open; others are opened when they are needed."""
        with self._lock:
            _close_all(self._idle)

    def _asked(self, method: str, path: str, body: bytes) -> object:
        reason, failed_with = "", None
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                status, data = self._once(method, path, body)
            except TimeoutError as error:  # it would take as long again
                raise ServerDownError(
                    f"the engine at {self.url} did not answer {method} {path} within {self._timeout:g} s"
                ) from error
            except (OSError, http.client.HTTPException) as error:
                reason, failed_with = f"{type(error).__name__}: {error}", None
                continue
            if status < http.client.BAD_REQUEST:
                return _parsed(data)
            reason, failed_with = f"{status}: {self._said(data)}", status
            if status not in _BUSY:
                refused = RequestRefusedError(
                    f"the engine at {self.url} answers {method} {path} with {reason}"
                )
                refused.status = status
                raise refused
        down = ServerDownError(f"the engine at {self.url} fails at {method} {path} ({reason})")
        down.status = failed_with
        raise down

    def _said(self, data: bytes) -> str:
        """What a server says of an error, without the key, which some repeat."""
        said = _message(data)
        return (said.replace(self._key, "(the key)") if self._key else said)[:_SHOWN]

    def _once(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """One request; over a connection that had gone stale it is made again at once."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            connection = kept or self._connection(self._timeout)
            try:
                with _closed_on_error(connection):
                    connection.request(method, self._path + path, body, self._headers)
                    answer = connection.getresponse()
                    status, data = answer.status, answer.read()
            except ConnectionError:
                if kept is None:
                    raise
                continue
            with self._lock:
                self._idle.append(connection)
            return status, data

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._is_secure else http.client.HTTPConnection
        return kind(self._netloc, timeout=timeout)


def _key() -> str:
    """The key of servers, from the environment; empty if there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):  # not shown
        raise InvalidArgumentError(
            f"the environment's {KEY_VARIABLE} must be one line of printable ASCII characters"
        )
    return key


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


@contextlib.contextmanager
def _closed_on_error(connection: http.client.HTTPConnection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _parsed(data: bytes) -> object:
    try:
        parsed: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return parsed


def _message(data: bytes) -> str:
    """What a server says of an error, in one line."""
    parsed = _parsed(data)
    if isinstance(parsed, dict):
        inner = parsed.get("error", parsed)
        said = inner.get("message", inner) if isinstance(inner, dict) else inner
    else:
        said = data.decode(errors="replace")
    return " ".join(str(said).split()) or "no reason"
