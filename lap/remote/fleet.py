"""Several servers as one: whole groups are assigned to them, and those of a server that fails are assigned again."""

import itertools
import threading
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import final

import attrs

from lap.remote.client import EngineError, ServerDownError
from lap.remote.server import CompletionRequest, DrawnTokens, EngineServer

CONCURRENCY = 128
"""How many requests a server has at once, unless told."""


@final
@attrs.frozen(kw_only=True)
class Job:
    """A request, and the group that it belongs to; a group is asked of one server, whose cache knows its prompts."""

    group: Hashable
    request: CompletionRequest


@final
class Fleet:
    """Servers that serve the same model.

    Args:
      servers: the servers, at least one.
      concurrency: how many requests each of them has at once.

    Attributes:
      servers: all of them, those that failed included.
    """

    def __init__(self, servers: Sequence[EngineServer], *, concurrency: int = CONCURRENCY) -> None:
        self.servers = tuple(servers)
        self._concurrency = concurrency
        self._dealt: dict[Hashable, EngineServer] = {}
        self._turn = itertools.count()
        self._notes: list[str] = []
        self._lock = threading.Lock()  # of who is alive, and of the notes on it

    @property
    def alive(self) -> list[EngineServer]:
        """The servers that are in use.

        Raises:
          EngineError: all have failed; the message says why.
        """
        alive = [server for server in self.servers if server.is_alive]
        if not alive:
            faults = "; ".join(server.fault for server in self.servers)
            raise EngineError(f"no engine is left to play on: {faults}")
        return alive

    def deal_anew(self) -> None:
        """Forget which server has which group."""
        self._dealt.clear()
        self._turn = itertools.count()

    def drop(self, server: EngineServer, error: ServerDownError) -> None:
        """Stop using a server; several threads may find at once that it failed."""
        with self._lock:
            if server.is_alive:
                server.fault, server.is_alive = str(error), False
                self._notes.append(
                    f"{error}: it is no longer used, and its requests go to the other servers"
                )

    def revive(self) -> None:
        """Use servers again that had failed and now report that they are healthy."""
        for server in self.servers:
            if not server.is_alive and server.answers():
                server.is_alive, server.fault = True, ""
                self._notes.append(f"the engine at {server.url} answers again")

    def take_notes(self) -> list[str]:
        """Messages on which servers failed, and which came back, since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def complete(
        self, jobs: Sequence[Job], model: str, *, only: EngineServer | None = None
    ) -> list[DrawnTokens]:
        """An answer to each request; requests that a failed server left open go to others, with the same seed.

        Args:
          jobs: the requests.
          model: the name of adapters; empty for the bare model, whatever each server calls it.
          only: the server to ask; each group its own unless given.

        Raises:
          EngineError: a server refuses a request or answers something else, or none is left.
          ServerDownError: ``only`` failed.
        """
        drawn: dict[int, DrawnTokens] = {}
        while waiting := [n for n in range(len(jobs)) if n not in drawn]:
            servers = [only or self._server_of(jobs[n].group) for n in waiting]
            with ExitStack() as stack:
                pools = {
                    server: stack.enter_context(ThreadPoolExecutor(self._concurrency))
                    for server in dict.fromkeys(servers)
                }
                asked = {
                    n: pools[server].submit(self._complete, server, jobs[n].request, model)
                    for n, server in zip(waiting, servers, strict=True)
                }
                try:
                    drawn |= _answers(asked, is_last_try=only is not None)
                finally:
                    for pool in pools.values():  # after an error or Ctrl-C no more is asked
                        pool.shutdown(cancel_futures=True)
        return [drawn[n] for n in range(len(jobs))]

    def _server_of(self, group: Hashable) -> EngineServer:
        """The server of a group: the one that had it before, if that is alive; else the servers take turns."""
        server = self._dealt.get(group)
        if server is None or not server.is_alive:
            alive = self.alive
            server = self._dealt[group] = alive[next(self._turn) % len(alive)]
        return server

    def _complete(
        self, server: EngineServer, request: CompletionRequest, model: str
    ) -> DrawnTokens:
        if not server.is_alive:
            raise ServerDownError(server.fault)
        try:
            return server.complete(request, model or server.base)
        except ServerDownError as error:
            self.drop(server, error)
            raise


def _answers(
    asked: dict[int, "Future[DrawnTokens]"], *, is_last_try: bool
) -> dict[int, DrawnTokens]:
    """What was answered; what was asked of a server that failed is left out."""
    answered = {}
    for n, future in asked.items():
        try:
            answered[n] = future.result()
        except ServerDownError:
            if is_last_try:
                raise
    return answered
