"""Markets, Pipeline and Console in a real browser; and the steps that are shown while starting."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Page, expect

from pipeline import keys
from tests.browser.market import START, Market
from tests.browser.running import AppServer, RedisServer, open_page


def test_markets_shows_every_symbol_and_its_price_moves(page: Page, app: str) -> None:
    open_page(page, f"{app}/markets")
    rows = page.locator(".cc-markets tbody tr")
    expect(rows).to_have_count(len(START))
    price = page.locator(".cc-markets tr[data-symbol=BTC] .cc-col-price")
    before = price.inner_text()
    page.wait_for_function(
        "before => document.querySelector('tr[data-symbol=BTC] .cc-col-price').textContent !== before",
        arg=before,
    )
    expect(page.locator(".cc-markets tr[data-symbol=BTC] .cc-col-hour")).to_contain_text("%")
    expect(page.locator(".cc-markets tr[data-symbol=BTC] svg")).to_have_count(1)


def test_markets_can_be_sorted_by_a_click(page: Page, app: str) -> None:
    open_page(page, f"{app}/markets")
    expect(page.locator(".cc-markets tbody tr")).to_have_count(len(START))
    page.get_by_role("button", name="Market", exact=True).click()
    names = page.locator(".cc-markets tbody .cc-col-symbol").all_inner_texts()
    assert names == sorted(names)
    page.get_by_role("button", name="Price", exact=True).click()
    assert page.locator(".cc-markets tbody tr").first.get_attribute("data-symbol") == "BTC"
    sorted_by = page.locator("th.cc-col-price")
    expect(sorted_by).to_have_attribute("aria-sort", "descending")


def test_a_click_on_a_market_opens_its_live_page(page: Page, app: str) -> None:
    open_page(page, f"{app}/markets")
    page.locator(".cc-markets tr[data-symbol=SOL] .cc-col-price").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("SOL / USD")
    page.wait_for_selector(".cc-chart")
    assert "symbol=SOL" in page.url


def test_the_map_and_the_comparison_are_drawn_and_stay_mounted(page: Page, app: str) -> None:
    open_page(page, f"{app}/markets?compare=BTC&compare=DOGE")
    boxes = page.locator(".cc-plot-box .main-svg")
    page.wait_for_function("() => document.querySelectorAll('.cc-plot-box .main-svg').length >= 2")
    page.evaluate("document.querySelectorAll('.cc-plot-box').forEach(box => box.dataset.mine = 'yes')")
    rings = page.evaluate("document.querySelector('.cc-masthead').masthead.rings")
    page.wait_for_function(f"() => document.querySelector('.cc-masthead').masthead.rings > {rings + 2}")
    assert page.locator(".cc-plot-box[data-mine=yes]").count() == 2
    traces = page.evaluate("document.querySelectorAll('.cc-plot-box')[1].data.map(trace => trace.name)")
    assert traces == ["BTC", "DOGE"] and boxes.count() >= 2


def test_the_pipeline_page_shows_each_part_with_its_health(
    page: Page, app: str, market_redis: RedisServer
) -> None:
    with redis.Redis.from_url(market_redis.url) as client:
        client.xadd(keys.LATE, {"trade": '{"symbol":"BTC"}', "missed": "1s", "shard": "0"})
        client.xadd(keys.REJECTED, {"reason": "not above zero", "origin": "trades.csv:7", "record": "BTC,0"})
        client.hset(keys.REJECTED_COUNTS, "not above zero", 1)
    open_page(page, f"{app}/pipeline")
    expect(page.locator(".cc-station h3")).to_have_count(4)
    expect(page.locator(".cc-station").nth(3)).to_contain_text("up")
    expect(page.locator(".cc-station").nth(2)).to_contain_text("Rejected")
    assert page.locator(".cc-station").nth(2).get_attribute("data-health") == "warn"
    revisions = page.locator(".cc-station").nth(3).locator(".cc-figure").nth(1)
    expect(revisions).to_contain_text(re.compile(r"[1-9]\S*/s"))
    page.get_by_text("Rejected records").click()
    expect(page.locator("[data-testid=stDataFrame]").last).to_be_visible()
    expect(page.get_by_text("The newest 1, newest first").last).to_be_visible()


def test_the_console_shows_frames_answers_pings_and_pauses(page: Page, app: str) -> None:
    open_page(page, f"{app}/console")
    page.get_by_role("button", name="Connect").click()
    frames = page.locator(".cc-frames li")
    for kind in ("connection", "initial_data", "price_update"):
        expect(page.locator(f".cc-frames li[data-type={kind}]").first).to_be_visible()
    candle = json.loads(page.locator(".cc-frames li[data-type=price_update] code").first.inner_text())["data"]
    assert candle["symbol"] == "BTC" and candle["interval"] == "1m"
    page.get_by_role("button", name="Ping").click()
    expect(page.locator(".cc-frames li[data-type=pong]")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    shown = frames.count()
    seen = int(page.locator(".cc-console").get_attribute("data-count") or 0)
    page.wait_for_function(f"() => Number(document.querySelector('.cc-console').dataset.count) >= {seen + 5}")
    assert frames.count() == shown
    page.get_by_role("button", name="Disconnect").click()
    expect(page.locator(".cc-state")).to_have_text("closed by you")


def test_the_console_asks_http_endpoints(page: Page, app: str) -> None:
    open_page(page, f"{app}/console?endpoint=Candles&symbol=ETH&interval=5m")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".cc-state")).to_contain_text("200")
    body = json.loads(page.locator(".cc-frames code").first.inner_text()[:4000])
    assert body["symbol"] == "ETH" and len(body["candles"]) == 5


@pytest.mark.parametrize("language", ["python", "bash"])
def test_the_snippets_work_when_pasted(page: Page, app: str, language: str) -> None:
    open_page(page, f"{app}/console?endpoint=Candles")
    snippet = page.locator(f"code.language-{language}").first.inner_text()
    command = [sys.executable, "-c", snippet] if language == "python" else ["bash", "-c", snippet]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert json.loads(answer.stdout)["symbol"] == "BTC"


@pytest.mark.parametrize("endpoint", ["Candles", "Prices+of+one+symbol"])
def test_the_javascript_works_when_pasted_into_a_browsers_console(page: Page, app: str, endpoint: str) -> None:
    open_page(page, f"{app}/console?endpoint={endpoint}")
    snippet = page.locator("code.language-javascript").first.inner_text()
    with page.expect_console_message(
        lambda message: "BTC" in message.text or "JSHandle" in message.text
    ) as said:
        page.evaluate(f"async () => {{ {snippet} }}")
    first = said.value.args[0].json_value()
    assert first == "BTC" or first["symbol"] == "BTC"


def test_the_websocket_snippet_prints_prices_and_shows_the_token_that_is_wanted(
    page: Page, market: Market, market_redis: RedisServer, tmp_path: Path
) -> None:
    server = AppServer(market_redis.url, tmp_path / "app.log", WS_TOKEN="open-sesame-and-then-some")
    server.start()
    try:
        open_page(page, f"{server.url}/console")
        snippet = page.locator("code.language-python").first.inner_text()
        assert any(line.startswith("BTC 6") for line in printed(snippet, 4))
        page.get_by_role("button", name="Connect").click()
        expect(page.locator(".cc-frames li[data-type=price_update]").first).to_be_visible()
    finally:
        server.stop()


def printed(snippet: str, count: int) -> list[str]:
    """The first lines that a program prints."""
    program = subprocess.Popen([sys.executable, "-u", "-c", snippet], stdout=subprocess.PIPE, text=True)
    assert program.stdout
    lines = [program.stdout.readline() for _ in range(count)]
    program.kill()
    program.wait(10)
    return lines


def test_every_page_fits_a_phone(page: Page, app: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("markets", "pipeline", "console"):
        open_page(page, f"{app}/{name}")
        page.wait_for_timeout(500)
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390, name


def test_the_steps_of_starting_are_shown_until_the_first_candle(page: Page, tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    app = AppServer(server.url, tmp_path / "app.log")
    app.start()
    try:
        page.goto(app.url)
        steps = page.locator(".cc-startup li")
        expect(steps).to_have_count(2)
        expect(steps.nth(0)).to_have_class("starting")
        server.start()
        expect(steps.nth(0)).to_have_class("ready")
        with redis.Redis.from_url(server.url) as client:
            Market(client).trade("BTC")
        expect(page.locator(".cc-masthead h1")).to_have_text("BTC / USD")
        expect(page.locator(".cc-startup")).to_have_count(0)
    finally:
        app.stop()
        server.stop()
