"""Which alerts fire: the rules, and that each is told once until it has been quiet again.

Pure. Everything goes by event time and by closed minutes, so that the same stream gives the same
alerts however it was cut into polls, and after a crash. Only provisional ones depend on the polls:
whether one comes early, never what its id is.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from pipeline import fold
from pipeline.alert import Alert
from pipeline.alerts import rules as rule
from pipeline.alerts.past import Past
from pipeline.alerts.rules import Finding, Minute, Rules
from pipeline.market import PRICE_DECIMALS, Interval, decimal_text

Hole = tuple[int, int]
"""(from, to) in ms: the stream says nothing of this time, of no symbol."""

_MINUTE_MS: Final = Interval.M1.ms
_ALMOST: Final = 1 - 1e-9
"""Floats find the candidates, whole numbers decide: no rounding may lose one."""


class Watch:
    """Watches the symbols of one shard. ``saved`` is what :meth:`save` gave, or None."""

    def __init__(self, rules: Rules, saved: bytes | None = None) -> None:
        self._rules = rules
        self._move_ratio = float(rules.move_percent) / 100
        known = pickle.loads(saved) if saved else {}  # noqa: S301  our own checkpoint
        self._pasts = {symbol: Past(**fields) for symbol, fields in known.items()}
        self._changed = False
        self._next_silence_ms = self._earliest_silence()

    def save(self) -> bytes | None:
        """All that must survive a crash; None if nothing has changed since it was asked last."""
        if not self._changed:
            return None
        self._changed = False
        return pickle.dumps({symbol: past.save() for symbol, past in self._pasts.items()})

    def closed(
        self, symbols: Sequence[str], minutes: fold.Partials, watermark_ms: int, holes: Sequence[Hole] = ()
    ) -> list[Alert]:
        """Alerts of minutes that the watermark has closed, and of who is silent at it, in order of time.

        ``minutes`` are all that it has closed since the last call, ordered by symbol and open time.
        """
        alerts: list[Alert] = []
        for column in minutes.T.tolist():
            symbol = symbols[column[fold.SYMBOL]]
            past = self._pasts.setdefault(symbol, Past())
            alerts += self._close(symbol, past, _minute(column), holes)
        for symbol, past in self._pasts.items() if holes else ():
            alerts += self._leave_out(symbol, past, holes)
        if minutes.shape[1] or holes:
            self._changed = True
            self._next_silence_ms = self._earliest_silence()
        if self._next_silence_ms <= watermark_ms:
            for symbol, past in self._pasts.items():
                alerts += self._silent_by(symbol, past, watermark_ms)
            self._next_silence_ms = self._earliest_silence()
        return sorted(alerts, key=lambda alert: (alert.triggered_at_ms, alert.symbol))

    def forming(self, symbols: Sequence[str], minutes: fold.Partials) -> list[Alert]:
        """Provisional alerts of moves that are on their way, once a minute and symbol."""
        opens, closes = minutes[fold.OPEN], minutes[fold.CLOSE]
        moved = np.abs(closes - opens) > opens * (self._move_ratio * _ALMOST)
        alerts = []
        for column in minutes[:, moved].T.tolist():
            symbol = symbols[column[fold.SYMBOL]]
            past = self._pasts.setdefault(symbol, Past())
            if column[fold.OPEN_TIME] <= past.provisional_ms:
                continue  # told already; it will come again at every poll of its minute
            minute = _minute(column)
            finding = rule.move(self._rules, symbol, minute)
            if finding:
                past.provisional_ms = minute.open_time_ms
                self._changed = True
                alerts.append(_of_minute(symbol, minute, finding, provisional=True))
        return alerts

    def _close(self, symbol: str, past: Past, minute: Minute, holes: Sequence[Hole]) -> Iterator[Alert]:
        yield from self._leave_out(symbol, past, [hole for hole in holes if hole[0] < minute.first_trade_ms])
        yield from self._silent_by(symbol, past, minute.open_time_ms)
        moved = rule.move(self._rules, symbol, minute)
        if moved:
            yield _of_minute(symbol, minute, moved)
        past.take_return(minute, self._rules)
        for finding in (
            rule.volume_surge(self._rules, symbol, minute, past),
            rule.breakout(self._rules, symbol, minute, past),
            rule.volatility(self._rules, symbol, past),
        ):
            if finding and self._is_news(past, finding, minute.open_time_ms):
                yield _of_minute(symbol, minute, finding)
        past.take(minute, self._rules)
        past.silent_at_ms = rule.silence_due_ms(self._rules, past)

    def _is_news(self, past: Past, finding: Finding, open_time_ms: int) -> bool:
        """Whether the condition, which holds now, did not hold for ``quiet_minutes`` before."""
        name = finding.alert_type.value
        held_ms = past.held_ms.get(name)
        past.held_ms[name] = open_time_ms
        return held_ms is None or open_time_ms - held_ms > self._rules.quiet_minutes * _MINUTE_MS

    def _leave_out(self, symbol: str, past: Past, holes: Sequence[Hole]) -> Iterator[Alert]:
        """Nobody was silent in a hole: we did not listen."""
        for from_ms, to_ms in holes:
            yield from self._silent_by(symbol, past, from_ms)
            if past.silent_at_ms and past.heard_ms < to_ms:
                past.heard_ms = to_ms
                past.silent_at_ms = rule.silence_due_ms(self._rules, past)

    def _silent_by(self, symbol: str, past: Past, now_ms: int) -> Iterator[Alert]:
        if not 0 < past.silent_at_ms <= now_ms:
            return
        due_ms, past.silent_at_ms = past.silent_at_ms, 0
        self._changed = True
        yield _alert(
            symbol,
            rule.silence(symbol, past, due_ms),
            prices=(past.last_close, past.last_close),
            window=(past.last_open_ms, due_ms),
            triggered_at_ms=due_ms,
        )

    def _earliest_silence(self) -> int:
        times = [past.silent_at_ms for past in self._pasts.values() if past.silent_at_ms]
        return min(times, default=2**63)


def _minute(column: list[int]) -> Minute:
    return Minute(
        open_time_ms=column[fold.OPEN_TIME],
        open=column[fold.OPEN],
        high=column[fold.HIGH],
        low=column[fold.LOW],
        close=column[fold.CLOSE],
        volume=(column[fold.VOLUME_HIGH] << 64) + column[fold.VOLUME],
        trade_count=column[fold.COUNT],
        first_trade_ms=column[fold.OPEN_AT],
        last_trade_ms=column[fold.CLOSE_AT],
    )


def _of_minute(symbol: str, minute: Minute, finding: Finding, *, provisional: bool = False) -> Alert:
    end_ms = minute.open_time_ms + _MINUTE_MS
    return _alert(
        symbol,
        finding,
        prices=(minute.open, minute.close),
        window=(minute.open_time_ms, end_ms),
        triggered_at_ms=minute.last_trade_ms if provisional else end_ms,
        provisional=provisional,
    )


def _alert(
    symbol: str,
    finding: Finding,
    prices: tuple[int, int],
    window: tuple[int, int],
    triggered_at_ms: int,
    *,
    provisional: bool = False,
) -> Alert:
    suffix = ":provisional" if provisional else ""
    open_price, close_price = (Decimal(decimal_text(price, PRICE_DECIMALS)) for price in prices)
    return Alert(
        id=f"{symbol}:{finding.alert_type.value}:{window[0]}{suffix}",
        symbol=symbol,
        alert_type=finding.alert_type,
        severity=finding.severity,
        price_change_percent=rule.change_percent(*prices),
        open_price=open_price,
        close_price=close_price,
        window_start_ms=window[0],
        window_end_ms=window[1],
        triggered_at_ms=triggered_at_ms,
        message=finding.message,
        provisional=provisional,
    )
