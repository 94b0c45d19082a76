"""One alert to somebody's server: a signed POST, repeated with backoff by urllib3.

Signed as `Standard Webhooks <https://www.standardwebhooks.com>`_ describe it, so that receivers can
check it with a library: ``webhook-signature: v1,base64(HMAC-SHA256(key, id.timestamp.body))``.

No address is ever logged or kept: many hold a token, and so do the messages of urllib3's errors.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from dataclasses import dataclass
from typing import Final

import certifi

from pipeline.alert import Alert

# It names the address of what it tries again.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_WAITS_S: Final = 30
"""Longest wait between two attempts, also where the receiver asks for more."""
_REASONS: Final = {
    "NameResolutionError": "its host is not known",
    "NewConnectionError": "no connection",
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "no answer in time",
    "SSLError": "TLS failed",
    "ProtocolError": "the connection broke",
}
"""What urllib3's errors mean, by their names."""


class NotDelivered(Exception):
    """The receiver did not take it. Its text is fit for a log: it holds no address."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one alert is tried. The defaults give up after half a minute, or three with timeouts."""

    attempts: int = 7
    first_wait_s: float = 0.5
    connect_s: float = 5
    answer_s: float = 15


class Delivery:
    """Posts alerts to ``url``, signed where there is a ``secret``. ``close`` at the end."""

    def __init__(self, url: str, secret: str | None, patience: Patience | None = None) -> None:
        # Not at the top: it binds a socket when it is imported, to see whether there is IPv6.
        import urllib3  # noqa: PLC0415

        patience = patience or Patience()
        self._url = url
        self._key = key_of(secret) if secret else None
        self._failed = urllib3.exceptions.HTTPError
        self._pool = urllib3.PoolManager(
            ca_certs=certifi.where(),
            timeout=urllib3.Timeout(connect=patience.connect_s, read=patience.answer_s),
            retries=urllib3.Retry(
                total=patience.attempts - 1,
                redirect=False,  # a POST does not survive one, and a token should not travel
                status_forcelist=_TRY_AGAIN,
                allowed_methods=None,  # also POST: the id tells the receiver that it is a repetition
                backoff_factor=patience.first_wait_s,
                backoff_max=_WAITS_S,
                backoff_jitter=patience.first_wait_s,
                retry_after_max=_WAITS_S,
                raise_on_status=False,
            ),
        )

    def post(self, alert: Alert, body: bytes) -> None:
        """Return once the receiver has taken it, answering 2xx; NotDelivered after the last attempt."""
        try:
            answer = self._pool.request(
                "POST", self._url, body=body, headers=self._headers(alert.id, body), preload_content=False
            )
        except self._failed as error:
            raise NotDelivered(_reason(error)) from None
        status = answer.status
        answer.close()  # whatever it goes on to say is of no use
        if not 200 <= status < 300:
            raise NotDelivered(f"HTTP {status}")

    def close(self) -> None:
        self._pool.clear()

    def _headers(self, alert_id: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "user-agent": "candlecast",
            "idempotency-key": alert_id,
            "webhook-id": alert_id,
            "webhook-timestamp": timestamp,
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, alert_id, timestamp, body)
        return headers


def key_of(secret: str) -> bytes:
    """The HMAC's key: the bytes behind ``whsec_`` in base64, or the secret's own; ValueError."""
    if secret.startswith("whsec_"):
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def _reason(error: Exception) -> str:
    """What went wrong, without urllib3's words, which hold the address."""
    error = getattr(error, "reason", None) or error  # of the last attempt, where there were several
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((_REASONS[name] for name in names if name in _REASONS), names[0])
