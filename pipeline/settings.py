"""Every setting, read from the environment once: ``Settings.from_env(os.environ)``.

A setting is one field of :class:`Settings`; its metadata carries the variable, the words for the
README's table, and the reader that turns text into a value or raises SettingsError naming both.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import SettingsError


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return read


def _decimal(highest: int) -> Callable[[str], Decimal]:
    def read(text: str) -> Decimal:
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII) or Decimal(text) > highest:
            raise ValueError(f"must be a number from 0 to {highest}, with at most 9 decimals")
        return Decimal(text)

    return read


def _symbols(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip().upper() for name in text.split(",") if name.strip()))
    wrong = [name for name in names if not re.fullmatch(r"[A-Z0-9._@-]{1,20}", name)]
    if wrong or not names:
        raise ValueError("must be names of A-Z 0-9 . _ @ -, joined by commas")
    return names


def without_secret(url: str) -> str:
    """``url`` without user, password and query, which must not reach a terminal, a page or a log."""
    try:
        parts = urlsplit(url)
    except ValueError:  # "[" in the address
        return "(not a URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _redis_url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must start with redis://, rediss:// or unix://")
    try:
        parts = urlsplit(text)
        is_sound = parts.port is None or parts.port > 0
    except ValueError:  # its text would show a part of the password
        is_sound = False
    if not is_sound or parts.fragment:
        raise ValueError("must be redis://:PASSWORD@HOST:PORT/DB; in the password, write / ? # @ [ ] as %2F …")
    return text


def _flink_url(text: str) -> str:
    if not re.fullmatch(r"http://[A-Za-z0-9._-]+:\d{1,5}", text):
        raise ValueError("must be http://HOST:PORT")
    return text


def _feed(text: str) -> str:
    if text in {"auto", "simulator"} or re.fullmatch("replay:.+", text):
        return text
    if re.fullmatch(r"exchange:[a-z0-9]+(,[a-z0-9]+)*", text):
        return text
    raise ValueError("must be auto, simulator, exchange:NAME (or NAME,NAME) or replay:FILE")


def _quote(text: str) -> str:
    if not re.fullmatch(r"[A-Z0-9]{2,10}", text.upper()):
        raise ValueError("must be a currency such as USD or USDT")
    return text.upper()


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    speed = float(text)
    if not 0 < speed <= 1_000_000:
        raise ValueError("must be max or a number above 0")
    return speed


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(dict.fromkeys(part.strip().lower().rstrip("/") for part in text.split(",") if part.strip()))
    if not all(re.fullmatch(r"https?://[a-z0-9._\[\]:-]+", origin) for origin in origins):
        raise ValueError("must be origins such as https://example.org, joined by commas")
    return origins


def _token(text: str) -> str:
    # It also travels as a WebSocket subprotocol, which allows no other characters.
    if not re.fullmatch(r"[A-Za-z0-9._~-]{16,256}", text):
        raise ValueError("must be 16 to 256 of A-Z a-z 0-9 . _ ~ -")
    return text


def _webhook_secret(text: str) -> str:
    if not re.fullmatch(r"[!-~]{16,256}", text):
        raise ValueError("must be 16 to 256 printable characters without spaces")
    if text.startswith("whsec_"):
        base64.b64decode(text.removeprefix("whsec_"), validate=True)
    return text


def _web_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"[^!-~]", text):
        raise ValueError("must be http://HOST/... or https://HOST/...")
    return text


def _setting(
    variable: str, default: Any, read: Callable[[str], Any], help: str, *, secret: bool = False
) -> Any:
    metadata = {"variable": variable, "read": read, "help": help, "secret": secret}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Units are in the names; ``None`` for ``redis_url`` means: start our own."""

    redis_url: str | None = _setting(
        "REDIS_URL", None, _redis_url,
        "Redis server. Unset: an embedded one, and the app starts feed and job too.",
        secret=True,  # it may hold a password
    )  # fmt: skip
    state_dir: Path = _setting(
        "STATE_DIR", Path(".candlecast"), Path,
        "Folder of the embedded run: Redis file, checkpoints, logs.",
    )  # fmt: skip
    feed: str = _setting(
        "FEED", "simulator", _feed,
        "Where trades come from: auto, simulator, exchange:NAME (or NAME,NAME) or replay:FILE.",
    )  # fmt: skip
    quote: str | None = _setting(
        "QUOTE", None, _quote,
        "Currency that exchanges' markets are quoted in. Unset: USD where there is one, else USDT, USDC.",
    )  # fmt: skip
    exchange_relay: str | None = _setting(
        "EXCHANGE_RELAY", None, _web_url,
        "Relay between us and the exchanges: requests go to RELAY/HOST/PATH. Unset: straight to them.",
        secret=True,  # it may hold a password
    )  # fmt: skip
    replay_speed: float | None = _setting(
        "REPLAY_SPEED", None, _speed,
        "How fast FEED=replay:FILE plays: seconds of the recording a second. Unset or max: as fast as it goes.",
    )  # fmt: skip
    symbols: tuple[str, ...] = _setting(
        "SYMBOLS", ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "AVAX", "LINK"), _symbols,
        "Symbols the feed carries, joined by commas.",
    )  # fmt: skip
    shards: int = _setting(
        "SHARDS", 1, _whole(1, 1024),
        "Trade streams; a symbol lives in one. Fixed for the life of the data; leave room to grow.",
    )  # fmt: skip
    parallelism: int | None = _setting(
        "PARALLELISM", None, _whole(1, 1024),
        "Subtasks of the job; each reads its share of the shards. Unset: as many as shards.",
    )  # fmt: skip
    flink_url: str = _setting(
        "FLINK_URL", "http://localhost:8081", _flink_url,
        "Where the JobManager answers: the cluster's that is spoken to, or that of python -m pipeline job.",
    )  # fmt: skip
    out_of_order_ms: int = _setting(
        "OUT_OF_ORDER_MS", 1_000, _whole(0, 600_000),
        "How much older than the newest trade a trade may be and still count everywhere.",
    )  # fmt: skip
    checkpoint_ms: int = _setting("CHECKPOINT_MS", 5_000, _whole(100, 3_600_000), "Time between checkpoints.")
    flush_ms: int = _setting(
        "FLUSH_MS", 10, _whole(0, 1_000), "How long the feed gathers trades into one stream entry."
    )
    stream_max_entries: int = _setting(
        "STREAM_MAX_ENTRIES", 50_000, _whole(100, 100_000_000),
        "Entries a trade stream keeps for replay after a crash; one holds up to 500 trades of 40 bytes.",
    )  # fmt: skip
    history_limit: int = _setting(
        "HISTORY_LIMIT", 10_080, _whole(0, 10_000_000),
        "Closed candles kept a symbol and interval; 0 keeps all. The default is a week of minutes.",
    )  # fmt: skip
    simulator_seed: int = _setting("SIMULATOR_SEED", 7, _whole(0, 2**31 - 1), "Seed of the simulated market.")
    simulator_rate: int = _setting(
        "SIMULATOR_RATE", 200, _whole(1, 1_000_000), "Mean trades a second of the simulated market."
    )
    simulator_history_minutes: int = _setting(
        "SIMULATOR_HISTORY_MINUTES", 2_880, _whole(0, 7 * 24 * 60),
        "Past that the simulator writes on its first start; before the last hour in outline.",
    )  # fmt: skip
    simulator_spike_minutes: int = _setting(
        "SIMULATOR_SPIKE_MINUTES", 60, _whole(0, 1_440),
        "About how many minutes lie between two price spikes of the simulated market; 0: none.",
    )  # fmt: skip
    allowed_origins: tuple[str, ...] = _setting(
        "ALLOWED_ORIGINS", (), _origins,
        "Origins besides our own whose pages may open WebSockets, joined by commas.",
    )  # fmt: skip
    max_clients: int = _setting(
        "MAX_CLIENTS",
        20_000,
        _whole(1, 1_000_000),
        "WebSocket clients at most; the next one is closed with 1013.",
    )
    ws_token: str | None = _setting(
        "WS_TOKEN", None, _token,
        "Secret that WebSocket clients must show, as a Bearer header or a subprotocol. Unset: none.",
        secret=True,
    )  # fmt: skip
    alert_move_percent: Decimal = _setting(
        "ALERT_MOVE_PERCENT", Decimal(5), _decimal(1_000),
        "PRICE_SPIKE, PRICE_DROP: a minute's close over or under its open by more than this. 0: off.",
    )  # fmt: skip
    alert_volume_factor: Decimal = _setting(
        "ALERT_VOLUME_FACTOR", Decimal(10), _decimal(1_000_000),
        "VOLUME_SURGE: a minute's volume over so many times the mean. 0: off.",
    )  # fmt: skip
    alert_volume_candles: int = _setting(
        "ALERT_VOLUME_CANDLES", 60, _whole(1, 1_440), "Closed 1m candles that make this mean."
    )
    alert_breakout_candles: int = _setting(
        "ALERT_BREAKOUT_CANDLES", 240, _whole(0, 1_440),
        "BREAKOUT: a close beyond the high or low of so many closed 1m candles. 0: off.",
    )  # fmt: skip
    alert_volatility_factor: Decimal = _setting(
        "ALERT_VOLATILITY_FACTOR", Decimal(3), _decimal(1_000_000),
        "VOLATILITY: realised over 10 minutes, over so many times its own level before. 0: off.",
    )  # fmt: skip
    alert_volatility_candles: int = _setting(
        "ALERT_VOLATILITY_CANDLES", 120, _whole(1, 1_440), "Closed 1m candles that make this level."
    )
    alert_stale_seconds: int = _setting(
        "ALERT_STALE_SECONDS", 60, _whole(0, 86_400), "STALE: no trade for at least so long. 0: off."
    )
    alert_stale_factor: int = _setting(
        "ALERT_STALE_FACTOR", 50, _whole(1, 1_000_000),
        "STALE: and for so many times the usual gap between two trades of the symbol.",
    )  # fmt: skip
    alert_quiet_minutes: int = _setting(
        "ALERT_QUIET_MINUTES", 60, _whole(0, 1_440),
        "After so many minutes without its condition an alert may fire again.",
    )  # fmt: skip
    alert_webhook_url: str | None = _setting(
        "ALERT_WEBHOOK_URL", None, _web_url,
        "Where each alert is sent by HTTP POST. Unset: nowhere.",
        secret=True,  # such addresses often hold a token
    )  # fmt: skip
    alert_webhook_secret: str | None = _setting(
        "ALERT_WEBHOOK_SECRET", None, _webhook_secret,
        "Key of the HMAC-SHA256 that signs each POST, as text or as whsec_BASE64. Unset: not signed.",
        secret=True,
    )  # fmt: skip

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read ``environ``; an empty variable counts as unset. SettingsError names what is wrong."""
        values: dict[str, Any] = {}
        for setting in fields(cls):
            variable = setting.metadata["variable"]
            text = environ.get(variable, "").strip()
            if not text:
                continue
            try:
                values[setting.name] = setting.metadata["read"](text)
            except ValueError as error:
                shown = "(secret)" if setting.metadata["secret"] else repr(text)
                raise SettingsError(f"{variable}={shown}: {error}") from None
        return cls(**values)

    def to_env(self) -> dict[str, str]:
        """The variables that make another process read the same settings."""
        env = {}
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, tuple):
                value = ",".join(value)
            if value is not None:
                env[setting.metadata["variable"]] = os.fspath(value) if isinstance(value, Path) else str(value)
        return env
