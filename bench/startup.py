"""From the start of the server to the first candle on the page, and what the whole run takes in memory.

* ``first_start``: ``streamlit run app.py`` with an empty state folder (Redis, feed with two days
  of simulated past, JVM, Flink job, server), until a Chromium that asks for the page again and again
  has painted a candle. ``second_start``: the same with the state of the first one.
* ``memory``: of the server and everything below it, some time after the second start, with the
  page open: PSS (each shared page counted once, by share) and RSS (counted in every process).
  Chromium is not part of it. Where the system knows no PSS (macOS), only RSS is given.

Medians of three runs. The virtual environment is there already; files may be in the system's cache.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Error, Page, sync_playwright

from tests.browser.running import ROOT, chromium, free_port

_RUNS = 3
_SETTLE_S = 20
_CANDLE = ".cc-plot .boxlayer path.box"
_MIB = 1024 * 1024


def run() -> dict[str, float | int | str]:
    """Seconds, and MiB by kind of process."""
    firsts, seconds, memories = [], [], []
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        for _ in range(_RUNS):
            with tempfile.TemporaryDirectory() as state:
                with _painted(browser, Path(state)) as (elapsed_s, _):
                    firsts.append(elapsed_s)
                with _painted(browser, Path(state)) as (elapsed_s, server):
                    seconds.append(elapsed_s)
                    time.sleep(_SETTLE_S)
                    memories.append(_memory_mib(server))
        browser.close()
    return {
        "first_start_s": round(statistics.median(firsts), 2),
        "second_start_s": round(statistics.median(seconds), 2),
        **{name: round(statistics.median(memory[name] for memory in memories)) for name in memories[0]},
    }


@contextmanager
def _painted(browser: Browser, state: Path) -> Iterator[tuple[float, psutil.Process]]:
    """A server whose page shows a candle: how long that took in s, and the server."""
    port = free_port()
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    environ = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "FEED"}}
    with (state / "log").open("ab") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
            cwd=ROOT,
            env={**environ, "STATE_DIR": str(state / "run")},
            stdout=log,
            stderr=log,
        )
    try:
        _open(page, f"http://127.0.0.1:{port}", process)
        page.wait_for_selector(_CANDLE, state="attached", timeout=120_000)
        yield time.monotonic() - began, psutil.Process(process.pid)
    finally:
        page.close()
        process.send_signal(signal.SIGINT)
        process.wait(20)


def _open(page: Page, url: str, process: subprocess.Popen[bytes]) -> None:
    while True:
        assert process.poll() is None, "the server has ended: another version of it, a wrong setting?"
        try:
            page.goto(url)
        except Error:  # it does not listen yet
            time.sleep(0.05)
        else:
            return


def _memory_mib(server: psutil.Process) -> dict[str, float]:
    """By kind of process, and all together."""
    memory: dict[str, float] = {}
    for process in [server, *server.children(recursive=True)]:
        info = process.memory_full_info()
        for measure in ("pss", "rss"):
            if hasattr(info, measure):
                size = getattr(info, measure) / _MIB
                memory[f"all_{measure}_mib"] = memory.get(f"all_{measure}_mib", 0) + size
                name = f"{_kind(process, server)}_{measure}_mib"
                memory[name] = memory.get(name, 0) + size
    return memory


def _kind(process: psutil.Process, server: psutil.Process) -> str:
    if process.pid == server.pid:
        return "server"
    words = process.cmdline()
    if words and words[-1] in {"feed", "job"} and words[0] != "/bin/sh":
        return words[-1]
    return {"java": "jvm", "redis-server": "redis"}.get(process.name(), "guards")
