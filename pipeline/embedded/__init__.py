"""The embedded run: our own Redis, the feed and the job as child processes, kept alive together."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import redis

from pipeline import keys
from pipeline.embedded import flink_folder, old_checkpoints, redis_server
from pipeline.embedded.log_file import LogFile
from pipeline.embedded.state_folder import StateFolder
from pipeline.embedded.supervisor import Part, Step, Supervisor
from pipeline.feed.chosen import check_feed
from pipeline.settings import Settings

__all__ = ["COMMANDS", "Embedded", "Step", "url_of"]

COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "feed": (sys.executable, "-m", "pipeline", "feed"),
    "job": (sys.executable, "-m", "pipeline", "job"),
}
"""What runs beside Redis. Both read their settings from the environment."""

_WEBHOOK: Final = (sys.executable, "-m", "pipeline", "webhook")
_REDIS_MOMENT_S: Final = 1.0
_HOME: Final = Path(__file__).resolve().parents[2]


def commands_of(settings: Settings) -> Mapping[str, Sequence[str]]:
    """COMMANDS, and the webhook where alerts are to be sent."""
    return {**COMMANDS, "webhook": _WEBHOOK} if settings.alert_webhook_url else COMMANDS


def url_of(settings: Settings) -> str:
    """URL of the Redis that these settings mean: the given one, or that of the embedded run."""
    return settings.redis_url or redis_server.url(StateFolder(settings.state_dir))


class Embedded:
    """Starts and supervises redis-server, feed and job; the owner calls :meth:`stop`.

    ``commands`` is for runs without a feed or a job of their own, and for tests.
    """

    def __init__(self, settings: Settings, commands: Mapping[str, Sequence[str]] | None = None) -> None:
        self._folder = StateFolder(settings.state_dir)
        self.redis_url = redis_server.url(self._folder)
        self._settings = settings
        self._commands = commands_of(settings) if commands is None else commands
        self._client = redis.Redis.from_url(self.redis_url, socket_timeout=0.5)
        self._supervisor: Supervisor | None = None
        self.flink_url = ""
        """Where the job's Flink answers over HTTP; empty before the job's first start."""

    def start(self) -> None:
        """Take the state folder and return; a thread does the rest.

        StateFolderError, StartError; SettingsError where FEED names a file that cannot be played.

        Gives Redis a moment, so that those who connect next need not find it away; on a large
        file it takes longer, and they wait as they would in any outage.
        """
        if "feed" in self._commands:
            check_feed(self._settings.feed)
        self._folder.take()
        try:
            supervisor = Supervisor(self._parts())
        except BaseException:
            self._folder.release()
            raise
        self._supervisor = supervisor
        supervisor.start()
        supervisor.wait_for_first(_REDIS_MOMENT_S)

    def stop(self) -> None:
        """End every child, Redis last. All are gone on return, within 5 s. Safe to call again."""
        if self._supervisor is not None:
            self._supervisor.stop()
        self._client.close()
        self._folder.release()

    def steps(self) -> list[Step]:
        """Redis, then the commands. Empty before :meth:`start`."""
        return self._supervisor.steps() if self._supervisor else []

    def _parts(self) -> list[Part]:
        logs = self._folder.logs
        # With the lock in the children's hands, too, nobody starts others on the same files while
        # these still live, even if we were killed.
        lock = (self._folder.lock_fd,)
        redis_command = redis_server.command(self._folder)
        parts = [
            Part(
                "Redis",
                lambda: self._mended(redis_command),
                lambda _: redis_server.answers(self._client),
                LogFile(logs / "redis.log"),
                keep_fds=lock,
                end_within_s=1.5,
            )
        ]
        for name, command in self._commands.items():
            parts.append(
                Part(
                    name,
                    lambda name=name, command=command: (command, self._environment(name)),  # type: ignore[misc]
                    lambda since_ms, name=name: self._reports(name, since_ms),  # type: ignore[misc]
                    LogFile(logs / f"{name}.log"),
                    after="Redis",
                    keep_fds=lock,
                    may_finish=name == "feed",  # the replay of a file has an end
                    end_within_s=2.0,
                )
            )
        return parts

    def _mended(self, redis_command: list[str]) -> tuple[list[str], Mapping[str, str]]:
        redis_server.mend_file(self._folder.redis)
        return redis_command, os.environ

    def _environment(self, name: str) -> dict[str, str]:
        settings = self._settings.to_env() | {
            "REDIS_URL": self.redis_url,
            "STATE_DIR": str(self._folder.path),
        }
        path = os.pathsep.join(part for part in (str(_HOME), os.environ.get("PYTHONPATH")) if part)
        env = {**os.environ, **settings, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        if name == "job":
            old_checkpoints.prune(self._folder.checkpoints)
            env |= flink_folder.prepare(self._folder.flink, os.environ)
            # Another one at each start: the last one's may be taken, or not be free yet.
            self.flink_url = env["FLINK_URL"] = f"http://localhost:{_free_port()}"
        return env

    def _reports(self, name: str, since_ms: int) -> bool:
        """Whether a command has told Redis of itself since its start."""
        if name == "job":
            places = [keys.progress(shard) for shard in range(self._settings.shards)]
        else:
            places = [keys.WEBHOOK if name == "webhook" else keys.FEED]
        try:
            told: list[Any] = [self._client.hget(place, "updated_at_ms") for place in places]
        except redis.RedisError:  # Redis is restarting: ask again
            return False
        return all(text is not None and int(text) >= since_ms for text in told)


def _free_port() -> int:
    """A port of the loopback interface that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
