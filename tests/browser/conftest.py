"""One Redis, one market, one app and one Chromium for all browser tests; a page of its own for each.

Without Chromium they are skipped; with CI set in the environment they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

if "CI" not in os.environ:
    pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.browser.alerting import Still
from tests.browser.market import Market
from tests.browser.running import AppServer, RedisServer, chromium

# They end a test that has failed. A machine that does much else besides takes long for everything.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            browser = chromium(playwright)
        except Error as error:
            if "CI" in os.environ:  # where nobody reads the skips, a missing browser is a failure
                raise
            pytest.skip(f"no Chromium here: {error}")
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def market_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("market"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def market(market_redis: RedisServer) -> Iterator[Market]:
    """A market with three hours of history that goes on trading."""
    with redis.Redis.from_url(market_redis.url) as client:
        market = Market(client)
        market.describe_feed()
        market.past(180)
        market.run()
        yield market
        market.stop()


@pytest.fixture(scope="session")
def app(market: Market, market_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the app over that market."""
    server = AppServer(market_redis.url, tmp_path_factory.mktemp("app") / "app.log")
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails its test when its script throws."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000}, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture(scope="session")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Still]:
    """A market with half an hour of history in which only a test trades, and its app."""
    still = Still(tmp_path_factory.mktemp("still"))
    still.start()
    yield still
    still.stop()
