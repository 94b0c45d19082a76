"""Toasts and the bell on every page, in a real browser over a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Locator, Page, expect

from pipeline.alert import Alert, AlertType, Severity
from tests.browser.alerting import Still, alert, write
from tests.browser.running import RedisServer, open_page
from tests.browser.test_live_page import chart


def open_any(page: Page, url: str) -> None:
    """Open a page and wait until it listens to alerts."""
    open_page(page, url)
    page.wait_for_selector(".cc-bell-box[data-state=listening]")


def toast_of(page: Page, wanted: Alert) -> Locator:
    return page.locator(
        f".cc-toast[data-key='{wanted.symbol} {wanted.alert_type.value} {wanted.window_start_ms}']"
    )


@contextmanager
def other_socket(stopped: RedisServer) -> Iterator[redis.Redis]:
    """The data of a stopped Redis, served for a moment where nobody else looks."""
    server = RedisServer(stopped.folder)
    server.socket = stopped.folder / "other.sock"
    server.url = f"unix://{server.socket}"
    server.start()
    with redis.Redis.from_url(server.url) as client:
        yield client
    server.stop()


def bell(page: Page) -> Locator:
    return page.locator(".cc-bell")


def set_switch(page: Page, name: str) -> None:
    """Turn one of the bell's switches."""
    bell(page).click()
    page.get_by_role("switch", name=name).click()
    page.keyboard.press("Escape")


@pytest.mark.parametrize(
    ("path", "minutes_ago"), [("/", 5), ("/markets", 4), ("/alerts", 3), ("/pipeline", 2), ("/console", 1)]
)
def test_an_injected_alert_is_a_toast_on_every_page(
    page: Page, still: Still, path: str, minutes_ago: int
) -> None:
    open_any(page, still.url + path)
    expect(page.locator(".cc-toast")).to_have_count(0)  # what was before is no news
    fired = alert("SOL", AlertType.PRICE_SPIKE, Severity.HIGH, "10.5", minutes_ago)
    still.write(fired)
    toast = toast_of(page, fired)
    expect(toast).to_be_visible()
    expect(toast.locator(".cc-severity")).to_have_text("HIGH")
    expect(toast).to_contain_text("SOL price spike +10.50%")
    expect(toast).to_contain_text(fired.message)


def test_a_toast_is_read_out_and_reached_by_the_keyboard(page: Page, still: Still) -> None:
    open_any(page, f"{still.url}/markets")
    region = page.locator(".cc-toasts")
    assert region.get_attribute("role") == "status" and region.get_attribute("aria-atomic") == "false"
    fired = alert("ETH", AlertType.BREAKOUT, Severity.LOW, "1.2", minutes_ago=21)
    still.write(fired)
    expect(toast_of(page, fired)).to_be_visible()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "cc-toast-go"
    page.keyboard.press("Tab")
    name = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert name == "Dismiss: ◆ ETH breakout +1.20%"
    page.keyboard.press("Escape")
    expect(page.locator(".cc-toast")).to_have_count(0)


def test_toasts_stack_newest_first_and_the_rest_are_counted(page: Page, still: Still) -> None:
    open_any(page, f"{still.url}/console")
    fired = [
        alert("BTC", AlertType.VOLATILITY, Severity.MEDIUM, "0.1", minutes_ago=60 - ago) for ago in range(6)
    ]
    still.write(*fired)
    expect(toast_of(page, fired[-1])).to_be_visible()
    keys = page.locator(".cc-toast").evaluate_all(
        "all => all.map(toast => Number(toast.dataset.key.split(' ')[2]))"
    )
    assert keys == [each.window_start_ms for each in reversed(fired[2:])]
    expect(page.locator(".cc-toast-more")).to_have_text("2 more on the Alerts page")
    top = [box["y"] for toast in page.locator(".cc-toast").all() if (box := toast.bounding_box())]
    assert top == sorted(top)
    page.locator(".cc-toast-away").first.click()
    expect(page.locator(".cc-toast")).to_have_count(3)


@pytest.mark.parametrize(("path", "minutes_ago"), [("/pipeline", 8), ("/console?symbol=ETH", 7)])
def test_a_click_on_a_toast_leads_to_the_candle(page: Page, still: Still, path: str, minutes_ago: int) -> None:
    open_any(page, still.url + path)
    fired = alert("DOGE", AlertType.PRICE_DROP, Severity.MEDIUM, "-8", minutes_ago)
    still.write(fired)
    toast_of(page, fired).locator(".cc-toast-go").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("DOGE / USD")
    page.wait_for_function("() => document.querySelector('.cc-chart')?.chart?.wentTo")
    low, high = chart(page, "chart.view")
    assert abs((low + high) / 2 - fired.window_start_ms) < 1_000


def test_a_click_on_the_live_page_moves_the_chart_in_place_or_changes_the_market(
    page: Page, still: Still
) -> None:
    open_any(page, f"{still.url}/?symbol=BTC")
    page.wait_for_selector(".cc-plot .main-svg")
    here = alert("BTC", AlertType.BREAKOUT, Severity.MEDIUM, "2", minutes_ago=18)
    there = alert("SOL", AlertType.BREAKOUT, Severity.MEDIUM, "2", minutes_ago=14)
    still.write(here, there)
    toast_of(page, here).locator(".cc-toast-go").click()
    page.wait_for_function("() => !document.querySelector('.cc-chart').chart.window.following")
    low, high = chart(page, "chart.view")
    assert abs((low + high) / 2 - here.window_start_ms) < 1_000
    assert chart(page, "chart.counts.mounts") == 1
    toast_of(page, there).locator(".cc-toast-go").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("SOL / USD")
    page.wait_for_function(
        f"() => document.querySelector('.cc-chart')?.chart?.wentTo === {there.window_start_ms}"
    )
    low, high = chart(page, "chart.view")
    assert abs((low + high) / 2 - there.window_start_ms) < 1_000
    expect(page.locator(f".cc-mark[data-time='{there.window_start_ms}']")).to_be_visible()


def test_muted_toasts_stay_away_on_every_page_of_the_session_and_in_no_other(
    page: Page, browser: Browser, still: Still
) -> None:
    open_any(page, f"{still.url}/markets")
    set_switch(page, "Toasts")
    expect(bell(page)).to_have_attribute("aria-label", "Alerts, toasts muted")
    page.get_by_role("link", name="Pipeline").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("Pipeline")
    other = browser.new_page()
    open_any(other, f"{still.url}/markets")
    fired = alert("ETH", AlertType.PRICE_SPIKE, Severity.LOW, "5.5", minutes_ago=32)
    still.write(fired)
    expect(toast_of(other, fired)).to_be_visible()
    expect(bell(page)).to_have_attribute("aria-label", "Alerts, 1 new, toasts muted")
    expect(page.locator(".cc-toast")).to_have_count(0)
    other.close()
    set_switch(page, "Toasts")
    again = alert("ETH", AlertType.PRICE_SPIKE, Severity.LOW, "5.6", minutes_ago=31)
    still.write(again)
    expect(toast_of(page, again)).to_be_visible()


def test_browser_notifications_come_by_choice_and_only_while_the_tab_is_hidden(
    browser: Browser, still: Still
) -> None:
    context = browser.new_context(permissions=["notifications"])
    page = context.new_page()
    page.add_init_script("""
      window.notified = []; window.asked = 0;
      const real = Notification.requestPermission.bind(Notification);
      window.Notification = class { constructor(title, options) { notified.push({ title, ...options }); } };
      window.Notification.requestPermission = () => { asked += 1; return real(); };
    """)
    open_any(page, f"{still.url}/console")
    still.write(alert("SOL", AlertType.VOLUME_SURGE, Severity.LOW, "0.3", minutes_ago=43))
    expect(page.locator(".cc-toast")).to_have_count(1)
    assert page.evaluate("[asked, notified.length]") == [0, 0]
    set_switch(page, "Browser notifications")
    page.wait_for_function("() => asked === 1")
    still.write(alert("SOL", AlertType.VOLUME_SURGE, Severity.LOW, "0.3", minutes_ago=42))
    expect(page.locator(".cc-toast")).to_have_count(2)
    assert page.evaluate("notified.length") == 0  # the toast was enough
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })")
    last = alert("SOL", AlertType.VOLUME_SURGE, Severity.LOW, "0.3", minutes_ago=41)
    still.write(last)
    page.wait_for_function("() => notified.length === 1")
    told = page.evaluate("notified[0]")
    assert told["title"] == "▮ SOL volume surge +0.30%" and told["body"] == last.message
    context.close()


def test_a_browser_that_allows_no_notifications_says_so(browser: Browser, still: Still) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("Notification.requestPermission = async () => 'denied'")
    open_any(page, f"{still.url}/console")
    bell(page).click()
    page.get_by_role("switch", name="Browser notifications").click()
    expect(page.locator(".cc-bell-word")).to_contain_text("does not allow them")
    expect(page.get_by_role("switch", name="Browser notifications")).to_have_attribute("aria-checked", "false")
    context.close()


def test_alerts_go_on_after_redis_was_stopped_and_started(page: Page, tmp_path: Path) -> None:
    own = Still(tmp_path)
    try:
        own.start()
        open_any(page, f"{own.url}/alerts")
        own.redis.stop()
        missed = alert("BTC", AlertType.PRICE_SPIKE, Severity.MEDIUM, "7.5", minutes_ago=2)
        with other_socket(own.redis) as client:  # the app cannot hear it: only the stream has it
            write(client, missed)
        own.redis.start()
        expect(toast_of(page, missed)).to_be_visible(timeout=30_000)
        after = alert("ETH", AlertType.PRICE_DROP, Severity.MEDIUM, "-7.5", minutes_ago=1)
        own.write(after)
        expect(toast_of(page, after)).to_be_visible(timeout=30_000)
        expect(page.locator(".cc-alert-list li")).to_have_count(2)
    finally:
        own.stop()


def test_alerts_go_on_after_the_server_was_stopped_and_started(page: Page, tmp_path: Path) -> None:
    own = Still(tmp_path)
    try:
        own.start()
        open_any(page, f"{own.url}/alerts")
        own.app.stop()
        missed = alert("BTC", AlertType.PRICE_SPIKE, Severity.MEDIUM, "7.5", minutes_ago=2)
        own.write(missed)
        own.app.start()
        expect(toast_of(page, missed)).to_be_visible(timeout=60_000)
        expect(page.locator(".cc-alert-list li")).to_have_count(1)
    finally:
        own.stop()


def test_a_toast_and_the_bell_fit_a_phone(page: Page, still: Still) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_live_page = f"{still.url}/?symbol=ETH"
    open_any(page, open_live_page)
    fired = alert("ETH", AlertType.VOLATILITY, Severity.HIGH, "3", minutes_ago=44)
    still.write(fired)
    bell(page).click()
    for part in (toast_of(page, fired), page.locator(".cc-bell-panel"), bell(page)):
        part.evaluate("part => Promise.all(part.getAnimations().map(each => each.finished))")
        box = part.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
