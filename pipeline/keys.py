"""Every Redis key and channel of the system. No other module spells one out."""

UPDATES_CHANNEL = "crypto:updates"
"""PUBLISH of every candle revision, forming and closed, all intervals: one candle's JSON a message."""

ALERTS = "crypto:alerts"
"""Capped stream (field ``alert``), and channel of the same name: one alert's JSON each."""

ALERTS_DEAD = "crypto:alerts:dead"
"""Capped stream of alerts that the webhook could not deliver: fields ``alert`` and ``reason``."""

WEBHOOK = "crypto:webhook"
"""Hash of the outgoing webhook: ``position`` (id in the alerts stream of the last one dealt with),
``delivered``, ``dead`` (counts, ever), ``overtaken`` (times that alerts had been trimmed before they
were read), ``last_error`` (without secrets), ``updated_at_ms``."""

LATE = "crypto:late"
"""Capped stream of late trades: fields ``trade`` (JSON, with ``missed``: intervals) and ``shard``."""

REJECTED = "crypto:rejected"
"""Capped stream of rejected records: fields ``reason``, ``origin`` (e.g. ``FILE:LINE``), ``record``."""

REJECTED_COUNTS = "crypto:rejected:counts"
"""Hash reason -> how many records were rejected for it, ever."""

SYMBOLS = "crypto:symbols"
"""Set of the symbols that have had a candle."""

FEED = "crypto:feed"
"""Hash of what the feed says of itself: ``source`` (e.g. ``simulator``), ``simulated`` (0 or 1),
``detail`` (words for the page), ``trades`` (written so far), ``updated_at_ms``. A live feed adds
``state`` (words: what it does just now) and ``clock_offset_ms`` (the exchange's clock less ours,
median of the last trades; what they took to come to us counts against it)."""

GAPS = "crypto:gaps"
"""Capped stream of gaps in what the feed saw: field ``gap``, see ``gap.Gap``."""

AGREEMENT = "crypto:agreement"
"""Hash symbol -> how our closed candles compare with the exchange's, see ``gap.Agreement``."""

INSTANCE = "crypto:instance"
"""A random word made with the first entry: another word means another, or a wiped, Redis."""


def trades_stream(shard: int) -> str:
    """Stream of trade entries (see ``entry``) of one shard."""
    return f"crypto:trades:{shard}"


def latest(symbol: str) -> str:
    """SETEX: JSON of the newest 1m candle."""
    return f"crypto:{symbol}:latest"


def history(symbol: str, interval: str) -> str:
    """Sorted set by open time: JSON of the closed candles, one member an open time."""
    return f"crypto:{symbol}:{interval}"


def exchange_history(symbol: str, interval: str) -> str:
    """Sorted set by open time: JSON of the exchange's own closed candles, with ``"source":"exchange"``."""
    return f"crypto:{symbol}:{interval}:exchange"


def progress(shard: int) -> str:
    """Hash of how far the job is in one shard, written in the same transaction as its candles.

    ``position`` (id of the last entry folded), ``trades``, ``late``, ``rejected``, ``lost`` (times
    that entries had been trimmed before they were read), ``rewound`` (times that Redis had lost what it
    had confirmed, or was wiped), ``noted`` (entry up to which late and rejected records are written;
    these two counts grow with it), ``closed`` (candles), ``watermark_ms``,
    ``event_time_ms``, ``epoch`` (of the writer), ``updated_at_ms``: all absolute, so that writing
    one twice changes nothing.
    """
    return f"crypto:progress:{shard}"


def alerts_newest(shard: int) -> str:
    """Hash ``SYMBOL:ALERT_TYPE[:provisional]`` -> window_start_ms of the newest alert written of it.

    They come in rising order, so that one that is not newer is a repetition after a crash.
    """
    return f"crypto:alerts:newest:{shard}"


def feed_position(name: str) -> str:
    """String: how far a feed has come, written in the same transaction as its entries."""
    return f"crypto:feed:{name}:position"


def feed_state(name: str) -> str:
    """String: what a feed needs besides its position to go on, e.g. the simulated market's prices."""
    return f"crypto:feed:{name}:state"
