"""The command line. One module a subcommand, imported only when it is the one wanted.

Exit codes: 0 done, 1 it did not work, 2 bad input or settings, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final, Protocol, cast

import redis

from pipeline.errors import CandlecastError, InputFileError, SettingsError, StateFolderError
from pipeline.retry import one_line
from pipeline.settings import Settings

_COMMANDS: Final = {
    "feed": "run the feed: FEED, into REDIS_URL",
    "record": "write an exchange's live trades to a file that replay plays",
    "job": "run the job on a local Flink, on REDIS_URL",
    "cluster": "the job on a Flink cluster: up, down, status, savepoint, rescale…",
    "webhook": "send every alert to ALERT_WEBHOOK_URL",
    "replay": "play recorded trades through a job of its own, and export the candles",
    "tail": "print the trade entries of a stream as they come",
    "status": "print what runs, and how far it is",
    "health": "exit code 0 while a part of the pipeline is well",
    "settings": "print every setting, as the README's table or as .env.example",
}


class _Command(Protocol):
    """What each module here has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, options: argparse.Namespace, settings: Settings) -> int: ...


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; its exit code. Errors raised on purpose become one line on stderr."""
    try:
        options = _parser(arguments).parse_args(arguments)
        _log(options.command)
        return _module(options.command).run(options, Settings.from_env(os.environ))
    except CandlecastError as error:
        print(f"candlecast: {error}", file=sys.stderr)
        return 2 if isinstance(error, (SettingsError, InputFileError, StateFolderError)) else 1
    except redis.RedisError as error:  # one that waiting does not mend: a wrong password, a wrong type
        print(f"candlecast: Redis: {one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="Trades in, true candles out. Settings come from the environment (see settings).",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in _COMMANDS.items():
        command = commands.add_parser(name, help=help, description=help)
        if name in arguments:  # the others stay unimported: `feed` should not wait for replay's imports
            _module(name).add_arguments(command)
    return parser


def _module(name: str) -> _Command:
    return cast("_Command", importlib.import_module(f"pipeline.cli.{name}"))


def _log(command: str) -> None:
    logging.basicConfig(
        level=logging.INFO if command in {"feed", "job", "webhook"} else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("apache_beam").setLevel(logging.WARNING)  # Flink's; it reports on itself
