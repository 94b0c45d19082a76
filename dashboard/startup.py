"""The start-up steps, shown until the first candle is there."""

from __future__ import annotations

import time
from html import escape
from typing import NamedTuple

import streamlit as st

from dashboard.services import Services, services

_LOOK_EVERY_S = 0.2
_OTHERS_S = 1.0


class Line(NamedTuple):
    """One step as shown; ``state`` is waiting, starting, ready, failed or stopped."""

    name: str
    state: str
    detail: str
    elapsed_s: float | None


def wait_for_first_candle() -> None:
    """Return at once when the hub has candles; else show the steps until it has.

    This blocks the session's own script thread, nothing else: there is nothing to show yet.
    """
    own = services()
    if own.hub.symbols():
        return
    began = time.monotonic()
    place = st.empty()
    shown = ""
    while not own.hub.symbols():
        html = steps_html(_lines(own, time.monotonic() - began))
        if html != shown:
            place.html(html)
            shown = html
        time.sleep(_LOOK_EVERY_S)
    _let_the_others_come(own)
    place.empty()


def _let_the_others_come(own: Services) -> None:
    """The first candle is one market's; a moment later the rest are there to be chosen, too."""
    until = time.monotonic() + _OTHERS_S
    while time.monotonic() < until and not set(own.settings.symbols) <= set(own.hub.symbols()):
        time.sleep(_LOOK_EVERY_S / 4)


def _lines(own: Services, waited_s: float) -> list[Line]:
    if own.embedded:
        lines = [Line(step.name, step.state, step.detail, step.elapsed_s) for step in own.embedded.steps()]
    else:
        connected = own.hub.connected
        lines = [Line("Redis", "ready" if connected else "starting", "" if connected else "connecting", None)]
    ready = all(line.state == "ready" for line in lines)
    return [*lines, Line("First candle", "starting" if ready else "waiting", "", waited_s if ready else None)]


def steps_html(lines: list[Line]) -> str:
    """The steps as a list, with their state in words and their time."""
    rows = "".join(
        f'<li class="{escape(line.state)}"><span class="cc-dot"></span><b>{escape(line.name)}</b>'
        f"<span>{escape(line.detail or line.state)}</span>"
        f"<time>{f'{line.elapsed_s:.1f} s' if line.elapsed_s is not None else ''}</time></li>"
        for line in lines
    )
    return (
        '<section class="cc-startup" aria-live="polite"><h1>Candlecast is starting</h1>'
        f"<p>The page opens by itself when the first candle is there.</p><ol>{rows}</ol></section>"
    )
