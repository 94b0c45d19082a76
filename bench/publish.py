"""What one revision on crypto:updates costs Redis: its CPU a PUBLISH, with 1, 10 and 100 subscribers.

50,000 messages of a candle's usual 420 bytes, 20 in a transaction as the job writes them, against
subscribers in another process that read and throw away. CPU is Redis's own, user and system, so
that the cores shared with the load change nothing. Median of three runs.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import socket
import statistics
import tempfile
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import redis

from pipeline import keys
from pipeline.embedded import Embedded
from pipeline.settings import Settings

_MESSAGES = 5_000 if os.environ.get("BENCH_QUICK") else 50_000
_A_TRANSACTION = 20
_MESSAGE = b"x" * 420
_RUNS = 3


def run() -> dict[str, float | int | str]:
    """CPU in us a message by the number of subscribers, and what each further one adds."""
    with tempfile.TemporaryDirectory(prefix="candlecast-bench-", ignore_cleanup_errors=True) as folder:
        embedded = Embedded(Settings(state_dir=Path(folder)), {})
        embedded.start()
        try:
            costs = {count: _median_us(embedded.redis_url, count) for count in (1, 10, 100)}
        finally:
            embedded.stop()
    return {
        "message_bytes": len(_MESSAGE),
        **{f"subscribers_{count}_us_per_publish": round(cost, 2) for count, cost in costs.items()},
        "us_per_further_subscriber": round((costs[100] - costs[10]) / 90, 2),
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
    for _ in range(_MESSAGES // _A_TRANSACTION):
        with client.pipeline(transaction=True) as transaction:
            for _ in range(_A_TRANSACTION):
                transaction.publish(keys.UPDATES_CHANNEL, _MESSAGE)
            transaction.execute()
    return 1e6 * (_cpu_s(client) - before) / _MESSAGES


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
