"""``python -m pipeline webhook``."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import threading

import redis

from pipeline.alerts.delivery import Delivery
from pipeline.alerts.webhook import Webhook
from pipeline.errors import SettingsError
from pipeline.settings import Settings

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: the settings say it all."""


def run(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    """Blocks until SIGTERM or SIGINT."""
    if settings.redis_url is None:
        raise SettingsError("REDIS_URL is not set: the webhook needs a Redis to read from")
    if settings.alert_webhook_url is None:
        raise SettingsError("ALERT_WEBHOOK_URL is not set: there is nobody to send alerts to")
    for number in (signal.SIGTERM, signal.SIGINT):
        # At once, also between two attempts at an alert: whoever comes after us sends it again.
        signal.signal(number, lambda *_: sys.exit(0))
    delivery = Delivery(settings.alert_webhook_url, settings.alert_webhook_secret)
    with (
        contextlib.closing(delivery),
        redis.Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=5) as client,
    ):
        signed = "signed" if settings.alert_webhook_secret else "not signed"
        log.info("webhook: sending alerts, %s", signed)
        Webhook(client, delivery, threading.Event()).run()
    return 0
