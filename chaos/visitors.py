"""Who uses a run during the soak: WebSocket clients that stay, and browser sessions that come and go."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from contextlib import suppress
from typing import Any, Final

from playwright.sync_api import Error, Page, sync_playwright
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chaos.tape import SYMBOLS
from tests.browser.running import chromium

STAY_S: Final = (20.0, 90.0)
PAGES: Final = ("/", "/?interval=1s", "/markets", "/pipeline", "/alerts")


class SocketClients:
    """``count`` clients, each for one market or all, in one thread; they connect again when cut off."""

    def __init__(self, port: int, count: int) -> None:
        self.frames = 0
        self.connects = 0
        self.overtaken = 0
        """Times that a client was sent a newer revision in place of those before it: ``seq`` jumps."""
        self._port = port
        self._count = count
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="socket-clients", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._all.cancel)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._all = self._loop.create_task(self._everyone())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._all)

    async def _everyone(self) -> None:
        markets = ("ALL", *SYMBOLS)
        intervals = ("1s", "1m", "1h")
        await asyncio.gather(
            *(
                self._stay(f"{markets[i % len(markets)]}?interval={intervals[i % len(intervals)]}")
                for i in range(self._count)
            )
        )

    async def _stay(self, what: str) -> None:
        while True:
            with suppress(OSError, WebSocketException, TimeoutError):
                async with connect(f"ws://127.0.0.1:{self._port}/ws/prices/{what}", max_size=None) as socket:
                    self.connects += 1
                    await self._read(socket)
            await asyncio.sleep(1)

    async def _read(self, socket: Any) -> None:
        newest: dict[str, tuple[int, int]] = {}
        async for text in socket:
            frame = json.loads(text)
            self.frames += 1
            if frame["type"] != "price_update":
                continue
            candle = frame["data"]
            epoch, seq = newest.get(candle["symbol"], (0, 0))
            self.overtaken += candle["epoch"] == epoch and candle["seq"] > seq + 1
            newest[candle["symbol"]] = candle["epoch"], candle["seq"]


class Sessions:
    """``count`` browser tabs in a thread of their own; each stays a while, is closed, and comes back."""

    def __init__(self, port: int, count: int, seed: int) -> None:
        self.opened = 0
        self.failed = 0
        self._url = f"http://127.0.0.1:{port}"
        self._count = count
        self._dice = random.Random(seed)  # noqa: S311  a seed, no secret
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sessions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with sync_playwright() as playwright:
            browser = chromium(playwright)
            tabs: dict[Page, float] = {}
            while not self._stopping.wait(0.5):
                for page in [page for page, until in tabs.items() if time.monotonic() > until]:
                    del tabs[page]
                    page.context.close()
                if len(tabs) < self._count:
                    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
                    tabs[page] = time.monotonic() + self._dice.uniform(*STAY_S)
                    self._open(page)
            browser.close()

    def _open(self, page: Page) -> None:
        try:
            page.goto(self._url + self._dice.choice(PAGES), timeout=30_000)
            page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=30_000)
            self.opened += 1
        except Error:
            self.failed += 1
