"""One child process with everything it starts: begun together, ended together.

A child lives in a session of its own, so that Ctrl-C in the terminal reaches only us and we choose
the order of the end. If we are killed instead, its guard (a small shell that waits for the end of
a pipe we hold) ends the whole group: first politely, then for good.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from pipeline.embedded.log_file import LogFile

_GUARDED: Final = """
exec 3<&0 </dev/null
( trap '' TERM INT HUP
  exec >/dev/null 2>&1
  read _ <&3
  kill -TERM 0; sleep 1; kill -KILL 0 ) &
exec 3<&-
exec "$@"
"""
"""``read`` returns when our end of the pipe closes, for whatever reason. ``exec`` makes the process
we started the command itself, so that its id and its exit code are the command's."""

_LAST_STEP_S: Final = 1.0
"""What the system may take to end a process after SIGKILL."""


class Child:
    """A running command. The one who made it calls :meth:`end`, also after it died by itself."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        log: LogFile,
        keep_fds: Iterable[int] = (),
    ) -> None:
        self._log = log
        # Nobody writes to this pipe. It ends when the last process that inherited it has ended.
        self._alive, inherited = os.pipe()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "guard", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
                pass_fds=(inherited, *keep_fds),
            )
        except BaseException:
            os.close(self._alive)
            raise
        finally:
            os.close(inherited)
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read_output, name=f"output-{log.path.stem}", daemon=True)
        self._reader.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """SIGTERM to the command and all it has started."""
        self._signal(signal.SIGTERM)

    def end(self, within_s: float) -> None:
        """Wait until the command and all it has started are gone; SIGKILL what is left after ``within_s``."""
        deadline = time.monotonic() + within_s
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        # Output ends when the last process that could write to it is gone: the JVM under the job, too.
        self._reader.join(max(0.0, deadline - time.monotonic()))
        self._signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None  # noqa: S101  it is a pipe, see above
        self._process.stdin.close()
        alive = select.poll()  # not select(): our descriptors' numbers may be past 1,023
        alive.register(self._alive, select.POLLIN)
        alive.poll(1_000 * _LAST_STEP_S)
        os.close(self._alive)
        self._reader.join(_LAST_STEP_S)

    def _signal(self, number: signal.Signals) -> None:
        # PermissionError is how macOS says that only zombies are left in the group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _read_output(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  it is a pipe, see above
        with self._process.stdout as output:
            for line in output:
                self._log.write(line)
