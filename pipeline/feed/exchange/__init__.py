"""Live trades of real exchanges, through ccxt's WebSocket clients.

The way of a trade, one module a step::

    client (ccxt, tapped) -> session (one exchange: connects, watches, heals)
        -> lane (one market: order, duplicates, holes) -> gate (all markets: event time)
        -> live (one write every FLUSH_MS, exactly once)

Beside it: ``history`` (the exchange's own candles, and how ours compare), ``auto`` (which
exchange answers), ``clock`` (theirs against ours), ``markets`` (what is called what).
"""
