"""Every bound of the gateway, with its reason. What an operator may change is in ``settings``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Fields, not constants, so that a test need not wait for minutes."""

    keepalive_s: float = 30
    """A keepalive frame to each client; proxies drop what is silent for 60 s."""
    ping_s: float = 20
    """A protocol ping after so long, and the connection is given up when its pong takes as long."""
    goodbye_s: float = 10
    """How long a client that is being closed may take to read the last frames."""
    inbound_bytes: int = 4_096
    """The only frame a client has reason to send is a ping of 15 bytes."""
    inbound_hard_bytes: int = 65_536
    """Where the server's parser stops reading; between the two we close politely."""
    inbound_per_s: int = 10
    pending_bytes: int = 1 << 20
    """What may wait for a client that reads too slowly. It holds two thousand closed candles."""
    write_buffer_bytes: int = 65_536
    """Above it a client counts as slow: asyncio's own high-water mark, at which servers pause."""
    socket_buffer_bytes: int = 65_536
    """The kernel's buffer of each client: left alone it grows to megabytes of old prices."""
    resume_candles: int = 1_000
    """Closed candles that are sent again after ``?since=``; fits into ``pending_bytes``."""
    api_candles: int = 1_000
    """Candles in one answer of ``/api/candles``."""
    api_alerts: int = 1_000
    """Alerts in one answer of ``/api/alerts``."""
    writes_at_once: int = 500
    """Clients that are written to before everyone else on the loop has a turn: about 4 ms."""
    symbols_ask_s: float = 1
    """Redis is asked for unknown symbols at most so often."""
