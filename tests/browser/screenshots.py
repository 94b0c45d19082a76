"""Takes the screenshots of docs/screenshots from a running app: ``python -m tests.browser.screenshots``.

Without ``--url`` it starts the whole embedded run (Redis, simulator, Flink job, dashboard) in a
temporary state folder, so that every picture shows what a first start shows, on a day with few
spikes. Nothing is drawn by hand, and nothing is retouched.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.running import ROOT, chromium, free_port, open_page, wait_until

FOLDER = ROOT / "docs" / "screenshots"
SIZE, SCALE = (1600, 1000), 2
PHONE = (390, 844)
PATIENCE_MS = 120_000
QUIET_MARKET = {"SIMULATOR_SPIKE_MINUTES": "1440"}
"""The spike that greets a newcomer comes all the same; more would flatten every other candle beside them."""
MOVIE_FRAMES, MOVIE_EVERY_S, MOVIE_BYTES = 48, 0.25, 3_000_000

PICTURES = {
    "live": "/?indicators=SMA+7&indicators=SMA+25",
    "live-indicators": "/?symbol=ETH&indicators=BB+20&indicators=VWAP&indicators=RSI+14",
    "live-seconds": "/?symbol=SOL&interval=1s&chart=Line",
    "markets": "/markets",
    "alerts": "/alerts",
    "pipeline": "/pipeline",
    "console": "/console",
}
"""Name of the picture -> page."""


@contextmanager
def whole_run() -> Iterator[str]:
    """URL of an embedded run of its own, which is ended afterwards."""
    with tempfile.TemporaryDirectory() as state:
        port = free_port()
        environ = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
        log = Path(state) / "app.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)],
                cwd=ROOT, env={**environ, **QUIET_MARKET, "STATE_DIR": f"{state}/run"}, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def has_history(url: str) -> bool:
    """Whether the job has caught up with the two days that the simulator wrote first."""
    try:
        with urllib.request.urlopen(f"{url}/api/candles/BTC?interval=1m&limit=2", timeout=5) as answer:
            candles = json.load(answer)["candles"]
    except OSError:  # not there yet, or no candle yet
        return False
    return bool(candles) and time.time() * 1000 - candles[-1]["open_time_ms"] < 180_000


def settle(page: Page, url: str, path: str) -> None:
    """Open a page and wait until what it shows has arrived."""
    open_page(page, url + path)
    if page.locator(".cc-console").count():
        page.get_by_role("button", name="Connect").click()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.cc-plot, .cc-plot-box')]"
        ".every(box => box.querySelector('.main-svg'))"
    )
    page.wait_for_function("() => document.querySelector('.cc-badge').dataset.state === 'live'")
    page.wait_for_timeout(5_000 if "pipeline" in path or "console" in path else 2_500)


def picture(
    browser: Browser, url: str, name: str, path: str, size: tuple[int, int], *, phone: bool = False
) -> None:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=SCALE,
        has_touch=phone,
        is_mobile=phone,
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    settle(page, url, path)
    page.screenshot(path=FOLDER / f"{name}.png", full_page=phone)
    context.close()
    print(FOLDER / f"{name}.png")  # noqa: T201  (a command line)


def movie(browser: Browser, url: str) -> None:
    """The live page moving, as an animated WebP of real time."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    settle(page, url, "/?interval=1s&indicators=EMA+9&indicators=EMA+21")
    frames, times = [], []
    for _ in range(MOVIE_FRAMES):
        times.append(time.monotonic())
        frames.append(
            Image.open(io.BytesIO(page.screenshot()))
            .convert("RGB")
            .resize((960, 600), Image.Resampling.LANCZOS)
        )
        page.wait_for_timeout(max(0, MOVIE_EVERY_S - (time.monotonic() - times[-1])) * 1000)
    context.close()
    lasted = [round((after - before) * 1000) for before, after in pairwise(times)]
    target = FOLDER / "live.webp"
    for quality in (80, 65, 50, 35):
        frames[0].save(
            target,
            save_all=True,
            append_images=frames[1:],
            duration=[*lasted, 1_000],
            loop=0,
            quality=quality,
            method=4,
        )
        if target.stat().st_size < MOVIE_BYTES:
            break
    print(target, f"{target.stat().st_size / 1e6:.2f} MB")  # noqa: T201  (a command line)


def take(url: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    wait_until(lambda: has_history(url), "two days of candles", within_s=180)
    with sync_playwright() as playwright:
        browser = chromium(playwright)
        for name, path in PICTURES.items():
            picture(browser, url, name, path, SIZE)
        picture(browser, url, "live-phone", PICTURES["live"], PHONE, phone=True)
        movie(browser, url)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an app that already runs, e.g. http://localhost:8501")
    url = parser.parse_args().url
    if url:
        take(url.rstrip("/"))
        return
    with whole_run() as started:
        take(started)


if __name__ == "__main__":
    main()
