"""What one revision on crypto:updates costs: Redis, with 1, 10 and 100 subscribers, and a server that hears it.

50,000 messages of a candle's usual size, 20 in a transaction as the job writes them. For Redis, the
subscribers are sockets in another process that read and throw away; ``us_per_heard`` is the CPU of a
process with the server's own Subscriber and Hub, which checks each candle and keeps the newest. CPU is
that of the process alone, user and system, so that cores shared with the load change nothing. Medians
of three runs.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import socket
import statistics
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import redis

from pipeline import keys
from pipeline.candle import candle_json
from pipeline.embedded import Embedded
from pipeline.hub import Hub
from pipeline.market import Interval
from pipeline.settings import Settings
from pipeline.subscriber import Subscriber

_MESSAGES = 5_000 if os.environ.get("BENCH_QUICK") else 50_000
_A_TRANSACTION = 20
_RUNS = 3


def run() -> dict[str, float | int | str]:
    """CPU in us a message by the number of subscribers, and what each further one adds."""
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder:
        embedded = Embedded(Settings(state_dir=Path(folder)), {})
        embedded.start()
        try:
            costs = {count: _median_us(embedded.redis_url, count) for count in (1, 10, 100)}
            heard = statistics.median(_heard_us(embedded.redis_url) for _ in range(_RUNS))
        finally:
            embedded.stop()
    return {
        "message_bytes": len(_message(1)),
        **{f"subscribers_{count}_us_per_publish": round(cost, 2) for count, cost in costs.items()},
        "us_per_further_subscriber": round((costs[100] - costs[10]) / 90, 2),
        "us_per_heard": round(heard, 2),
    }


def _median_us(url: str, subscribers: int) -> float:
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    listener = multiprocessing.Process(target=_listen, args=(url, subscribers, ready, done))
    listener.start()
    try:
        if not ready.wait(30):
            raise TimeoutError("the subscribers did not come up within 30 s")
        with redis.Redis.from_url(url) as client:
            return statistics.median(_us(client) for _ in range(_RUNS))
    finally:
        done.set()
        listener.join()


def _us(client: redis.Redis) -> float:
    before = _cpu_s(client)
    _publish(client)
    return 1e6 * (_cpu_s(client) - before) / _MESSAGES


def _publish(client: redis.Redis) -> None:
    for first in range(1, _MESSAGES, _A_TRANSACTION):
        with client.pipeline(transaction=True) as transaction:
            for number in range(first, first + _A_TRANSACTION):
                transaction.publish(keys.UPDATES_CHANNEL, _message(number))
            transaction.execute()


def _message(number: int) -> str:
    """A forming candle of one of 50 symbols."""
    seq, symbol = divmod(number, 50)
    return candle_json(
        f"S{symbol:02d}", Interval.M1, 1_700_000_040_000, "64250.12", "64301.5", "64180.01", "64277.77",
        "1234.56789012", "79345678.123456789012345678", "612.34567891",
        trade_count=seq, is_closed=False, epoch=1, seq=seq + 1, published_at_ms=1_700_000_041_000,
    )  # fmt: skip


def _heard_us(url: str) -> float:
    ready = multiprocessing.Event()
    told: Queue[float] = multiprocessing.Queue()
    hearer = multiprocessing.Process(target=_hear, args=(url, ready, told))
    hearer.start()
    try:
        if not ready.wait(30):
            raise TimeoutError("the subscriber did not come up within 30 s")
        with redis.Redis.from_url(url) as client:
            _publish(client)
        return 1e6 * told.get(timeout=120) / _MESSAGES
    finally:
        hearer.join(10)
        hearer.kill()


def _hear(url: str, ready: Event, told: Queue[float]) -> None:
    hub = Hub()
    subscriber = Subscriber(url, hub)
    subscriber.start()
    while not hub.connected:
        time.sleep(0.01)
    before = time.process_time()
    ready.set()
    while hub.messages < _MESSAGES:
        time.sleep(0.05)
    told.put(time.process_time() - before)
    subscriber.stop()


def _cpu_s(client: redis.Redis) -> float:
    info: Any = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def _listen(url: str, subscribers: int, ready: Event, done: Event) -> None:
    poll = select.poll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(subscribers):
        one = socket.socket(socket.AF_UNIX)
        one.connect(url.removeprefix("unix://"))
        one.sendall(f"SUBSCRIBE {keys.UPDATES_CHANNEL}\r\n".encode())
        one.recv(1_000)
        sockets[one.fileno()] = one
        poll.register(one, select.POLLIN)
    ready.set()
    while not done.is_set():
        for descriptor, _ in poll.poll(100):
            sockets[descriptor].recv(1 << 20)
    for one in sockets.values():
        one.close()
