"""Who listens to the candles while processes die, and notes when the first fresh one comes.

A candle is fresh if it was published after the kill and holds a trade that was fed after it.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import redis
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from chaos.tape import number_of
from pipeline import keys

_AGAIN_S = 0.01


class Ears:
    """A thread that listens over and over again. A subclass says to what."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._fresh = threading.Event()
        self._lock = threading.Lock()
        self._beyond = 0
        self._after_ms = 0
        self._heard_at = 0.0
        self.heard = 0
        self._thread = threading.Thread(target=self._run, name="ears", daemon=True)
        self._thread.start()

    def listen_for(self, beyond: int, after_ms: int) -> None:
        """Wait from now on for a candle with a trade of a number above ``beyond``."""
        with self._lock:
            self._beyond, self._after_ms = beyond, after_ms
            self._fresh.clear()

    def first_fresh(self, within_s: float) -> float | None:
        """Monotonic time of the first fresh candle; None if none came."""
        return self._heard_at if self._fresh.wait(within_s) else None

    @property
    def has_heard(self) -> bool:
        return self._fresh.is_set()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _hear(self, candle: dict[str, Any]) -> None:
        self.heard += 1
        with self._lock:
            if self._fresh.is_set() or candle["published_at_ms"] <= self._after_ms:
                return
            if number_of(candle["close"]) > self._beyond:
                self._heard_at = time.monotonic()
                self._fresh.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except (OSError, redis.RedisError, WebSocketException):  # it is being killed all the time
                self._stopping.wait(_AGAIN_S)

    def _listen(self) -> None:
        raise NotImplementedError


class RedisEars(Ears):
    """Hears what the job publishes."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__()

    def _listen(self) -> None:
        with (
            redis.Redis.from_url(self._url, socket_timeout=1) as client,
            client.pubsub(ignore_subscribe_messages=True) as pubsub,
        ):
            pubsub.subscribe(keys.UPDATES_CHANNEL)
            while not self._stopping.is_set():
                message = pubsub.get_message(timeout=0.2)
                if message:
                    self._hear(_numbers_as_text(message["data"]))


class SocketEars(Ears):
    """Hears what the gateway sends its clients."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__()

    def _listen(self) -> None:
        with connect(self._url, open_timeout=2) as socket:
            while not self._stopping.is_set():
                try:
                    frame = _numbers_as_text(socket.recv(timeout=0.2))
                except TimeoutError:
                    continue
                if frame["type"] == "price_update":
                    self._hear(frame["data"])


def _numbers_as_text(text: str | bytes) -> Any:
    """JSON with its decimals as they are written."""
    return json.loads(text, parse_float=str)
