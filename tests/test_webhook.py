"""The webhook against a real receiver on the loopback interface: slow, failing, dead, and back again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline import keys
from pipeline.alert import Alert
from pipeline.alerts.delivery import Delivery, NotDelivered, Patience, key_of
from pipeline.alerts.webhook import Webhook
from pipeline.embedded import COMMANDS, Embedded, commands_of
from pipeline.errors import SettingsError
from pipeline.settings import Settings
from tests.alerts import alert, publish_alerts
from tests.candles import wait_until
from tests.http_receiver import Answer, Receiver
from tests.integration import processes
from tests.redis_server import RedisServer

SECRET = "correct-horse-battery"
BRISK = Patience(attempts=4, first_wait_s=0.05, connect_s=0.5, answer_s=0.3)
OTHERS = (Answer(500), Answer(503), Answer(429))


@dataclass
class Running:
    webhook: Webhook
    thread: threading.Thread
    stop: threading.Event


@contextmanager
def sending(client: redis.Redis, url: str, secret: str | None = SECRET) -> Iterator[Running]:
    """The webhook in a thread."""
    stop = threading.Event()
    delivery = Delivery(url, secret, BRISK)
    webhook = Webhook(client, delivery, stop)
    thread = threading.Thread(target=webhook.run)
    thread.start()
    try:
        yield Running(webhook, thread, stop)
    finally:
        stop.set()
        thread.join()
        delivery.close()


def about(client: redis.Redis) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in client.hgetall(keys.WEBHOOK).items()}


def dead(client: redis.Redis) -> list[tuple[Alert, str]]:
    return [
        (Alert.from_json(fields[b"alert"]), fields[b"reason"].decode())
        for _, fields in client.xrange(keys.ALERTS_DEAD)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_each_alert_is_posted_once_in_order_as_the_text_that_redis_keeps(redis_client: redis.Redis) -> None:
    alerts = [alert(), alert("ETH", provisional=True), alert(minute=1)]
    publish_alerts(redis_client, *alerts[:2])
    with Receiver() as receiver, sending(redis_client, receiver.url):
        wait_until(lambda: len(receiver.received) == 2)
        publish_alerts(redis_client, alerts[2])
        wait_until(lambda: about(redis_client).get("delivered") == "3")
        assert [one.body for one in receiver.received] == [one.to_json().encode() for one in alerts]
        assert receiver.ids == [one.id for one in alerts]
        for one in receiver.received:
            assert one.headers["idempotency-key"] == one.headers["webhook-id"]
            assert one.headers["content-type"] == "application/json"
            assert one.path == "/hook/t0ken-of-the-path?key=t0ken-of-the-query"
    assert dead(redis_client) == []


@pytest.mark.parametrize(
    ("secret", "key"),
    [(SECRET, SECRET.encode()), ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b"1\xf2\x90\xf6\xbf\x06)\x8a\xab")],
)
def test_the_signature_can_be_checked_with_nothing_but_the_secret(
    redis_client: redis.Redis, secret: str, key: bytes
) -> None:
    assert key_of(secret).startswith(key)
    publish_alerts(redis_client, alert())
    with Receiver() as receiver, sending(redis_client, receiver.url, secret):
        wait_until(lambda: receiver.received)
    (one,) = receiver.received
    timestamp = one.headers["webhook-timestamp"]
    assert abs(int(timestamp) - time.time()) < 60
    signed = f"{alert().id}.{timestamp}.{alert().to_json()}".encode()
    wanted = base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()
    assert one.headers["webhook-signature"] == f"v1,{wanted}"


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    from pipeline.alerts.delivery import signature  # noqa: PLC0415

    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_secret_nothing_is_signed(redis_client: redis.Redis) -> None:
    publish_alerts(redis_client, alert())
    with Receiver() as receiver, sending(redis_client, receiver.url, None):
        wait_until(lambda: receiver.received)
    assert "webhook-signature" not in receiver.received[0].headers


@pytest.mark.parametrize(
    "failure",
    [*OTHERS, Answer(hang_up=True), Answer(200, after_s=0.6)],
    ids=["500", "503", "429", "hangs up", "too slow"],
)
def test_a_failure_that_may_pass_is_tried_again_with_backoff_under_the_same_id(
    redis_client: redis.Redis, failure: Answer
) -> None:
    publish_alerts(redis_client, alert(), alert(minute=1))
    with Receiver(failure, failure, failure) as receiver, sending(redis_client, receiver.url):
        wait_until(lambda: about(redis_client).get("delivered") == "2")
        assert receiver.ids == [alert().id] * 4 + [alert(minute=1).id]
        times = [one.at_s for one in receiver.received]
        assert times[3] - times[2] > times[1] - times[0] > 0
        assert times[3] - times[0] > 0.05 * (2 + 4)
    assert dead(redis_client) == []


def test_retry_after_is_kept_to(redis_client: redis.Redis) -> None:
    publish_alerts(redis_client, alert())
    asked = Answer(429, headers=(("retry-after", "1"),))
    with Receiver(asked) as receiver, sending(redis_client, receiver.url):
        wait_until(lambda: len(receiver.received) == 2)
        assert receiver.received[1].at_s - receiver.received[0].at_s >= 1


@pytest.mark.parametrize(
    ("answer", "reason", "attempts"),
    [
        (Answer(500), "HTTP 500", 4),
        (Answer(404), "HTTP 404", 1),
        (Answer(302, headers=(("location", "/elsewhere"),)), "HTTP 302", 1),
        (Answer(hang_up=True), "the connection broke", 4),
        (Answer(after_s=0.6), "no answer in time", 4),
    ],
    ids=["500", "404", "a redirect", "hangs up", "too slow"],
)
def test_what_is_not_taken_becomes_a_dead_letter_with_its_reason_and_the_next_is_sent(
    redis_client: redis.Redis, answer: Answer, reason: str, attempts: int
) -> None:
    publish_alerts(redis_client, alert(), alert(minute=1))
    with Receiver(*[answer] * attempts) as receiver, sending(redis_client, receiver.url):
        wait_until(lambda: about(redis_client).get("delivered") == "1", 20)
        assert receiver.ids == [alert().id] * attempts + [alert(minute=1).id]
    assert dead(redis_client) == [(alert(), reason)]
    assert about(redis_client)["dead"] == "1"
    assert about(redis_client)["last_error"] == reason


def test_a_receiver_that_is_not_there_gives_dead_letters_and_gets_the_next_when_it_is_back(
    redis_client: redis.Redis,
) -> None:
    port = free_port()
    publish_alerts(redis_client, alert())
    with sending(redis_client, f"http://127.0.0.1:{port}/"):
        wait_until(lambda: dead(redis_client))
        with Receiver(port=port) as receiver:
            publish_alerts(redis_client, alert(minute=1))
            wait_until(lambda: receiver.ids == [alert(minute=1).id])
    assert dead(redis_client) == [(alert(), "no connection")]


def test_a_receiver_that_cannot_be_resolved_or_spoken_to_is_named_without_its_address(
    redis_client: redis.Redis,
) -> None:
    delivery = Delivery("http://t0ken.invalid/t0ken", None, Patience(1, 0.01, 0.5, 0.5))
    with pytest.raises(NotDelivered) as caught:
        delivery.post(alert(), b"{}")
    assert str(caught.value) in {"its host is not known", "no connection", "no connection in time"}
    with Receiver() as receiver:
        delivery = Delivery(receiver.url.replace("http:", "https:"), None, Patience(1, 0.01, 0.5, 0.5))
        with pytest.raises(NotDelivered, match="TLS failed"):
            delivery.post(alert(), b"{}")


def test_no_secret_and_no_address_reaches_a_log_or_redis(
    redis_client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    publish_alerts(redis_client, *(alert(minute=n) for n in range(4)))
    failing = (Answer(500), Answer(hang_up=True), Answer(after_s=0.6), Answer(404)) * 3
    with Receiver(*failing) as receiver, sending(redis_client, receiver.url):
        wait_until(lambda: len(dead(redis_client)) + int(about(redis_client).get("delivered", 0)) == 4, 30)
        port = receiver.port
    kept = repr([redis_client.hgetall(keys.WEBHOOK), redis_client.xrange(keys.ALERTS_DEAD)])
    for text in (caplog.text, kept):
        for hidden in ("t0ken", SECRET, f":{port}"):
            assert hidden not in text
    assert "dead letter" in caplog.text


def test_what_is_no_alert_in_the_stream_is_set_aside_and_stops_nothing(redis_client: redis.Redis) -> None:
    redis_client.xadd(keys.ALERTS, {"alert": '{"id":"x"}'})
    redis_client.xadd(keys.ALERTS, {"other": "field"})
    publish_alerts(redis_client, alert())
    with Receiver() as receiver, sending(redis_client, receiver.url):
        wait_until(lambda: receiver.ids == [alert().id])
    records = redis_client.xrange(keys.ALERTS_DEAD)
    assert [fields[b"reason"] for _, fields in records] == [b"not an alert"] * 2


def test_it_goes_on_where_another_life_has_stopped(redis_client: redis.Redis) -> None:
    publish_alerts(redis_client, alert())
    with Receiver() as receiver:
        with sending(redis_client, receiver.url):
            wait_until(lambda: about(redis_client).get("delivered") == "1")
        publish_alerts(redis_client, alert(minute=1), alert(minute=2))
        with sending(redis_client, receiver.url):
            wait_until(lambda: about(redis_client).get("delivered") == "3")
        assert receiver.ids == [alert(minute=n).id for n in range(3)]


def test_redis_away_is_waited_for_and_nothing_is_sent_again(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        with Receiver() as receiver, sending(server.client(), receiver.url):
            publish_alerts(server.client(), alert())
            wait_until(lambda: about(server.client()).get("delivered") == "1")
            server.kill()
            time.sleep(0.3)
            server.start()
            publish_alerts(server.client(), alert(minute=1))
            wait_until(lambda: len(receiver.received) == 2)
            assert receiver.ids == [alert().id, alert(minute=1).id]
    finally:
        server.kill()


def test_alerts_that_were_trimmed_before_they_were_read_are_counted(redis_client: redis.Redis) -> None:
    publish_alerts(redis_client, alert())
    with Receiver() as receiver:
        with sending(redis_client, receiver.url):
            wait_until(lambda: about(redis_client).get("delivered") == "1")
        publish_alerts(redis_client, *(alert(minute=n) for n in range(1, 6)))
        redis_client.xtrim(keys.ALERTS, maxlen=2, approximate=False)
        with sending(redis_client, receiver.url):
            wait_until(lambda: about(redis_client).get("delivered") == "3")
            assert about(redis_client)["overtaken"] == "1"


class TestProcess:
    """``python -m pipeline webhook`` as it is run."""

    @staticmethod
    @contextmanager
    def process(redis_url: str, url: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
        env = {**os.environ, "REDIS_URL": redis_url, "ALERT_WEBHOOK_URL": url, **variables}
        running = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "webhook"],
            cwd=processes.ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield running
        finally:
            running.kill()
            running.wait()

    def test_one_that_is_killed_before_it_knows_sends_the_same_alert_again(
        self, redis_url: str, redis_client: redis.Redis
    ) -> None:
        publish_alerts(redis_client, alert())
        with Receiver(Answer(after_s=5)) as receiver:
            with self.process(redis_url, receiver.url) as first:
                wait_until(lambda: receiver.received, 20)
                first.kill()
            with self.process(redis_url, receiver.url):
                wait_until(lambda: about(redis_client).get("delivered") == "1", 20)
            assert receiver.ids == [alert().id] * 2
            assert receiver.received[0].body == receiver.received[1].body

    def test_it_ends_when_asked_and_says_nothing_that_is_secret(
        self, redis_url: str, redis_client: redis.Redis
    ) -> None:
        publish_alerts(redis_client, alert())
        with (
            Receiver(Answer(500)) as receiver,
            self.process(redis_url, receiver.url, ALERT_WEBHOOK_SECRET=SECRET) as running,
        ):
            wait_until(lambda: about(redis_client).get("delivered") == "1", 20)
            running.send_signal(signal.SIGTERM)
            output, _ = running.communicate(timeout=10)
            assert running.returncode == 0
        assert "sending alerts, signed" in output
        assert "t0ken" not in output and SECRET not in output

    def test_it_ends_at_once_when_asked_between_two_attempts_and_the_next_one_sends_the_alert(
        self, redis_url: str, redis_client: redis.Redis
    ) -> None:
        publish_alerts(redis_client, alert())
        with Receiver(*[Answer(503)] * 4) as receiver:
            with self.process(redis_url, receiver.url) as running:
                wait_until(lambda: len(receiver.received) == 4, 30)  # it now waits for seconds
                running.send_signal(signal.SIGTERM)
                assert running.wait(2) == 0
            assert "delivered" not in about(redis_client)
            with self.process(redis_url, receiver.url):
                wait_until(lambda: about(redis_client).get("delivered") == "1", 20)
            assert set(receiver.ids) == {alert().id}

    @pytest.mark.parametrize(
        ("variables", "complaint"),
        [
            ({}, "ALERT_WEBHOOK_URL is not set"),
            ({"ALERT_WEBHOOK_URL": "ftp://t0ken"}, "ALERT_WEBHOOK_URL=(secret): must be http://HOST"),
            ({"ALERT_WEBHOOK_URL": "http:///t0ken"}, "ALERT_WEBHOOK_URL=(secret): must be http://HOST"),
            ({"ALERT_WEBHOOK_SECRET": "short"}, "ALERT_WEBHOOK_SECRET=(secret): must be 16 to 256"),
            ({"ALERT_WEBHOOK_SECRET": "whsec_not!base64===="}, "ALERT_WEBHOOK_SECRET=(secret): "),
        ],
    )
    def test_settings_that_cannot_be_used_are_refused_without_being_shown(
        self, variables: dict[str, str], complaint: str
    ) -> None:
        env = {**os.environ, "REDIS_URL": "unix:///nowhere", **variables}
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "webhook"],
            check=False,
            cwd=processes.ROOT,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert complaint in done.stderr
        assert not any(value in done.stderr for value in variables.values())


def test_the_embedded_run_starts_it_only_where_there_is_somebody_to_send_to(tmp_path: Path) -> None:
    assert commands_of(Settings()) == COMMANDS
    settings = Settings.from_env({"ALERT_WEBHOOK_URL": "http://127.0.0.1:9/"})
    assert [*commands_of(settings)] == [*COMMANDS, "webhook"]
    assert "127.0.0.1" not in repr(settings)
    with pytest.raises(SettingsError):
        Settings.from_env({"ALERT_WEBHOOK_URL": "nowhere"})


def test_the_embedded_run_keeps_it_alive(tmp_path: Path) -> None:
    with Receiver() as receiver:
        settings = Settings(state_dir=tmp_path / "state", alert_webhook_url=receiver.url)
        embedded = Embedded(settings, {"webhook": commands_of(settings)["webhook"]})
        embedded.start()
        try:

            def step() -> Any:
                return next(one for one in embedded.steps() if one.name == "webhook")

            wait_until(lambda: step().state == "ready", 30)
            with redis.Redis.from_url(embedded.redis_url) as client:
                publish_alerts(client, alert())
                wait_until(lambda: receiver.ids == [alert().id])
                wait_until(lambda: about(client).get("delivered") == "1")
                os.kill(step().pid, signal.SIGKILL)
                wait_until(lambda: step().restarts == 1 and step().state == "ready", 30)
                publish_alerts(client, alert(minute=1))
                wait_until(lambda: receiver.ids == [alert().id, alert(minute=1).id])
        finally:
            embedded.stop()
