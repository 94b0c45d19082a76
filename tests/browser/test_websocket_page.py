"""/ws/test and a browser's own WebSocket against the gateway: the client that people have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import redis
from playwright.sync_api import Page, expect

from pipeline.gateway import frames
from pipeline.settings import Settings
from tests.candles import candle, publish, wait_until
from tests.gateway_server import Running, serve

CONNECT = """([url, protocols]) => {
  window.frames_ = []; window.closed_ = null;
  window.socket_ = protocols ? new WebSocket(url, protocols) : new WebSocket(url);
  window.socket_.onmessage = (event) => window.frames_.push(event.data);
  window.socket_.onclose = (event) => { window.closed_ = [event.code, event.reason]; };
}"""


@pytest.fixture
def running(redis_url: str, redis_client: redis.Redis) -> Iterator[Running]:
    publish(redis_client, candle("ETH", close="1850.5"), candle(seq=1, close="65000.12"))
    with serve(redis_url) as running:
        yield running


def open_socket(page: Page, running: Running, path: str, protocols: list[str] | None = None) -> None:
    page.evaluate(CONNECT, [f"ws://127.0.0.1:{running.port}/ws/prices/{path}", protocols])


def received(page: Page, count: int) -> list[dict[str, Any]]:
    wait_until(lambda: page.evaluate("window.frames_.length") >= count)
    found = [json.loads(text) for text in page.evaluate("window.frames_")]
    for frame in found:
        jsonschema.validate(frame, frames.FRAME_SCHEMAS[frame["type"]])
    return found


def closed(page: Page) -> list[Any]:
    return wait_until(lambda: page.evaluate("window.closed_"))  # type: ignore[no-any-return]


def test_a_browsers_websocket_gets_the_same_contract(
    page: Page, running: Running, redis_client: redis.Redis
) -> None:
    page.goto(f"http://127.0.0.1:{running.port}/ws/test")
    open_socket(page, running, "btc?interval=1m")
    assert [frame["type"] for frame in received(page, 2)] == ["connection", "initial_data"]
    publish(redis_client, candle(seq=2))
    page.evaluate("""window.socket_.send('{"type":"ping"}')""")
    found = received(page, 4)
    assert {frame["type"] for frame in found[2:]} == {"price_update", "pong"}
    page.evaluate("window.socket_.send('x'.repeat(5000))")
    assert closed(page) == [1009, "more than 4096 bytes in a frame"]


def test_a_browser_is_told_why_it_is_closed(page: Page, running: Running) -> None:
    page.goto(f"http://127.0.0.1:{running.port}/ws/test")
    open_socket(page, running, "NOPE")
    assert closed(page) == [1008, "unknown symbol NOPE"]
    open_socket(page, running, "BTC")
    received(page, 2)
    page.evaluate("""for (let i = 0; i < 20; i++) window.socket_.send('{"type":"ping"}')""")
    assert closed(page) == [1008, "more than 10 messages a second"]


def test_a_page_of_another_origin_is_not_let_in(page: Page, running: Running) -> None:
    page.goto(f"http://localhost:{running.port}/ws/test")  # another host than 127.0.0.1
    open_socket(page, running, "BTC")
    assert closed(page)[0] == 1006
    assert running.metric('rejections_total{reason="origin"}') == 1


def test_a_browser_shows_its_token_as_a_subprotocol(
    page: Page, redis_url: str, redis_client: redis.Redis
) -> None:
    publish(redis_client, candle())
    with serve(redis_url, Settings(ws_token="correct-horse-battery")) as running:
        page.goto(f"http://127.0.0.1:{running.port}/ws/test")
        open_socket(page, running, "BTC")
        assert closed(page) == [4401, "token missing or wrong"]
        page.get_by_label("Token").fill("correct-horse-battery")
        page.get_by_role("button", name="Connect BTC").click()
        expect(page.get_by_role("status")).to_have_text("Connected to BTC")


def test_the_test_page_connects_shows_prices_pings_and_disconnects(
    page: Page, running: Running, redis_client: redis.Redis
) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"http://127.0.0.1:{running.port}/ws/test")
    status, price = page.get_by_role("status"), page.locator("#price")
    expect(page.get_by_text("Pub/Sub mode")).to_be_visible()
    expect(status).to_have_text("Disconnected")

    page.get_by_role("button", name="Connect BTC").click()
    expect(status).to_have_text("Connected to BTC")
    expect(price).to_have_text("65,000.12")
    publish(redis_client, candle(seq=2, close="65001.5"))
    expect(price).to_have_text("65,001.5")
    expect(page.locator("#delay")).to_contain_text("ms")
    page.get_by_role("button", name="Ping").click()
    expect(page.locator("#ping")).to_contain_text("ms")
    expect(page.locator("#log tr").first).to_contain_text("pong")

    page.get_by_role("button", name="Connect ETH").click()
    expect(price).to_have_text("1,850.5")
    page.get_by_role("button", name="Connect ALL").click()
    expect(status).to_have_text("Connected to ALL")
    wait_until(lambda: running.gateway.fan_out.by_symbol() == {"ALL": 1})

    page.get_by_role("button", name="Disconnect").click()
    expect(status).to_have_text("Disconnected")
    wait_until(lambda: running.gateway.connections == 0)
    assert problems == []
    assert all(f"127.0.0.1:{running.port}" in url or url.startswith("data:") for url in requests), requests
