"""Price lines: set on the live page, drawn, crossed by real ticks; kept in one session only."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.assets import MODULES_PATH
from tests.browser.alerting import Still
from tests.browser.test_live_page import chart, open_live

MINUTE = 1_795_000_020_000


def candle(
    close: float, high: float | None = None, low: float | None = None, minute: int = 0
) -> dict[str, Any]:
    return {
        "open_time_ms": MINUTE + 60_000 * minute,
        "close": close,
        "high": high or close,
        "low": low or close,
    }


def crossings(page: Page, side: str, candles: list[dict[str, Any]]) -> list[bool]:
    """What the rule says of each revision, for a line at 100."""
    script = """async ([module, side, candles]) => {
      const { step } = await import(module);
      let known;
      return candles.map((candle) => (known = step({ side, price: 100 }, known, candle)).crossed);
    }"""
    result: list[bool] = page.evaluate(script, [f"/{MODULES_PATH}/price_lines.js", side, candles])
    return result


UP = [candle(99), candle(101)]
BEYOND = candle(101, 101, 101)
RULES: dict[str, tuple[str, list[dict[str, Any]], list[int]]] = {
    "the first revision tells nothing": ("above", [candle(101)], []),
    "a price that stays below tells nothing": ("above", [candle(99), candle(99.9), candle(99.99)], []),
    "touching is crossing": ("above", [candle(99), candle(100, 100, 99)], [1]),
    "beyond it once is told once": ("above", [*UP, candle(102), candle(103, minute=1)], [1]),
    "a small step back does not arm it again": ("above", [*UP, candle(99.97, 101), candle(101, 101.5)], [1]),
    "far enough back does": ("above", [*UP, candle(99.9, 101, 99), candle(101, 101.5, 99)], [1, 3]),
    "a spike between two revisions counts by the high": ("above", [candle(99), candle(99, 100.5)], [1]),
    "a high from before the first revision does not": ("above", [candle(99, 105), candle(99.5, 105)], []),
    "a line found beyond waits until the price was back": (
        "above", [BEYOND, candle(102, 102, 101), candle(99.9, 102), candle(100.5, 102, 99.9)], [3],
    ),
    "a dip and a return within one revision count": ("above", [BEYOND, candle(101, 101, 99)], [1]),
    "a high that may have been before the dip does not": ("above", [BEYOND, candle(99.9, 103, 99.9)], []),
    "a new minute's high is news": ("above", [candle(99), candle(99.5, 100.2, 99, minute=1)], [1]),
    "a revision of an older minute is none": (
        "above", [candle(99, minute=1), candle(105), candle(99.1, minute=1)], [],
    ),
    "below is the same upside down": (
        "below", [candle(101), candle(99), candle(98), candle(101, minute=1), candle(99, minute=1)], [1, 4],
    ),
    "and needs the price above it first": ("below", [candle(99), candle(98)], []),
}  # fmt: skip
"""Name -> side of the line at 100, revisions, and which of them tell."""


@pytest.mark.parametrize("name", RULES)
def test_the_rule_of_crossing(page: Page, still: Still, name: str) -> None:
    side, candles, expected = RULES[name]
    page.goto(f"{still.url}/healthz")  # any page of the server: only its module is wanted
    assert [index for index, crossed in enumerate(crossings(page, side, candles)) if crossed] == expected


def set_line(page: Page, side: str, price: str) -> None:
    page.get_by_role("button", name="Price line", exact=True).click()
    form = page.locator(".cc-line-form")
    form.get_by_label("Price", exact=True).fill(price)
    form.locator(f"input[value={side}]").check(force=True)
    form.get_by_role("button", name="Set").click()
    expect(form).to_be_hidden()


def wait_for_price(page: Page, price: float) -> None:
    """Until the chart shows ``price`` as the last one: what was traded before has come, too."""
    page.wait_for_function(f"() => document.querySelector('.cc-chart').chart.series.last.close === {price}")


def lines_toasts(page: Page) -> Any:
    return page.locator(".cc-toast.line")


def test_a_crossed_line_is_told_once_and_again_only_after_the_price_went_back(page: Page, still: Still) -> None:
    still.market.trade("DOGE", "0.15000")
    open_live(page, f"{still.url}/?symbol=DOGE")
    wait_for_price(page, 0.15)
    set_line(page, "above", "0.15100")
    line = page.locator(".cc-price-line")
    expect(line).to_contain_text("above 0.151")
    still.market.trade("DOGE", "0.15099")
    wait_for_price(page, 0.15099)
    assert lines_toasts(page).count() == 0
    still.market.trade("DOGE", "0.15105")
    toast = lines_toasts(page)
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text("DOGE is above 0.151")
    expect(line).to_have_class("cc-price-line resting")
    for price in ("0.15120", "0.15098", "0.15110"):  # a step back of less than 0.05%
        still.market.trade("DOGE", price)
        wait_for_price(page, float(price))
    assert toast.count() == 1
    still.market.trade("DOGE", "0.15050")
    expect(line).to_have_class("cc-price-line")
    still.market.trade("DOGE", "0.15101")
    expect(toast).to_have_count(2)


def test_a_line_set_beyond_the_price_does_not_fire_at_the_first_tick(page: Page, still: Still) -> None:
    still.market.trade("SOL", "190.00")
    open_live(page, f"{still.url}/?symbol=SOL")
    wait_for_price(page, 190)
    set_line(page, "above", "189")
    for price in ("190.10", "190.20", "189.90"):
        still.market.trade("SOL", price)
        wait_for_price(page, float(price))
    assert lines_toasts(page).count() == 0
    still.market.trade("SOL", "188.00")
    wait_for_price(page, 188.0)  # two in one frame are one revision
    still.market.trade("SOL", "189.01")
    expect(lines_toasts(page)).to_have_count(1)


def test_the_very_next_trade_after_setting_a_line_can_cross_it(page: Page, still: Still) -> None:
    still.market.trade("ETH", "3400.00")
    open_live(page, f"{still.url}/?symbol=ETH")
    wait_for_price(page, 3400)
    set_line(page, "below", "3399")
    still.market.trade("ETH", "3398.50")
    expect(lines_toasts(page)).to_contain_text("ETH is below 3,399")


def test_lines_survive_a_change_of_page_and_fire_there_but_in_no_other_session(
    page: Page, browser: Browser, still: Still
) -> None:
    still.market.trade("BTC", "65000.00")
    open_live(page, f"{still.url}/?symbol=BTC")
    wait_for_price(page, 65000)
    set_line(page, "above", "65100.5")
    page.get_by_role("link", name="Pipeline").click()
    expect(page.locator(".cc-masthead h1")).to_have_text("Pipeline")
    other = browser.new_page()
    open_live(other, f"{still.url}/?symbol=BTC")
    wait_for_price(other, 65000)
    still.market.trade("BTC", "65101.00")
    expect(lines_toasts(page)).to_contain_text("BTC is above 65,100.5")
    wait_for_price(other, 65101)
    assert lines_toasts(other).count() == 0 and other.locator(".cc-price-line").count() == 0
    other.close()
    page.get_by_role("link", name="Live").click()
    expect(page.locator(".cc-price-line")).to_contain_text("above 65,100.5")


def test_python_keeps_the_lines_and_gives_them_back_to_a_component_that_was_mounted_again(
    page: Page, still: Still
) -> None:
    open_live(page, f"{still.url}/?symbol=DOGE")
    set_line(page, "above", "0.2")
    page.wait_for_timeout(500)  # the way to Python and back
    # What a lost module would leave: nothing known in the browser.
    kept = page.evaluate(
        """async (module) => {
          const { alertSettings } = await import(module);
          alertSettings.receive({ version: alertSettings.version, muted: true, notify: false, lines: [] });
          return alertSettings.muted;
        }""",
        f"/{MODULES_PATH}/alert_settings.js",
    )
    assert kept is False  # an answer that was overtaken changes nothing
    page.evaluate(
        """async (module) => {
          const { alertSettings } = await import(module);
          alertSettings.version = -1;
          alertSettings.receive({ version: 0, muted: false, notify: false, lines: [] });
        }""",
        f"/{MODULES_PATH}/alert_settings.js",
    )
    expect(page.locator(".cc-price-line")).to_have_count(0)
    page.get_by_role("radio", name="5m", exact=True).click()  # a rerun of the whole page
    expect(page.locator(".cc-price-line")).to_have_count(1)


def test_a_line_is_removed_on_the_chart_or_in_the_bell_and_fires_no_more(page: Page, still: Still) -> None:
    still.market.trade("SOL", "187.00")
    open_live(page, f"{still.url}/?symbol=SOL")
    set_line(page, "above", "187.5")
    set_line(page, "below", "186.5")
    expect(page.locator(".cc-price-line")).to_have_count(2)
    page.get_by_role("button", name="Remove the price line above 187.50").click()
    expect(page.locator(".cc-price-line")).to_have_count(1)
    page.locator(".cc-bell").click()
    page.get_by_role("button", name="Remove the price line SOL below 186.50").click()
    expect(page.locator(".cc-price-line")).to_have_count(0)
    for price in ("188.00", "186.00"):
        still.market.trade("SOL", price)
        wait_for_price(page, float(price))
    assert lines_toasts(page).count() == 0


def test_a_click_on_the_price_axis_fills_in_the_price_and_the_side(page: Page, still: Still) -> None:
    open_live(page, f"{still.url}/?symbol=ETH")
    axis = page.locator(".cc-axis").bounding_box()
    assert axis
    page.mouse.click(axis["x"] + 20, axis["y"] + 30)
    form = page.locator(".cc-line-form")
    expect(form).to_be_visible()
    asked = float(form.get_by_label("Price", exact=True).input_value())
    meant = chart(page, "chart.plot._fullLayout.yaxis.p2l(30)")
    assert asked == pytest.approx(meant, rel=1e-3)
    assert form.locator("input[value=above]").is_checked() == (asked >= chart(page, "chart.series.last.close"))
    page.keyboard.press("Enter")
    line = page.locator(".cc-price-line")
    expect(line).to_have_count(1)
    box = line.bounding_box()
    assert box and box["y"] == pytest.approx(axis["y"] + 30, abs=3)


@pytest.mark.parametrize("text", ["", "0", "-5", "much", "1e5", "Infinity"])
def test_a_price_that_cannot_be_is_refused_with_its_text(page: Page, still: Still, text: str) -> None:
    open_live(page, f"{still.url}/?symbol=ETH")
    page.get_by_role("button", name="Price line", exact=True).click()
    form = page.locator(".cc-line-form")
    form.get_by_label("Price", exact=True).fill(text)
    form.get_by_role("button", name="Set").click()
    expect(form.get_by_role("alert")).to_contain_text(f"“{text}” is no price")
    expect(page.locator(".cc-price-line")).to_have_count(0)


def test_the_form_works_by_keyboard_and_fits_a_phone(page: Page, still: Still) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    open_live(page, f"{still.url}/?symbol=ETH")
    button = page.get_by_role("button", name="Price line", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    form = page.locator(".cc-line-form")
    box = form.bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(button).to_be_focused()
