"""The PyFlink job: trades -> partial candles -> candles -> Redis. Wiring only.

Start it with ``python -m pipeline job``, ``python pipeline/job.py`` or
``flink run -py pipeline/job.py -pyfs .``.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from urllib.parse import urlsplit

_PROJECT = str(Path(__file__).resolve().parent.parent)
if __name__ == "__main__":  # run as a file: its own folder is on the path, the project's is not
    sys.path[0] = _PROJECT

from pyflink.common import Configuration, Types
from pyflink.datastream import DataStream, StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from pipeline import seals
from pipeline.alerts.rules import Rules
from pipeline.checkpoints import newest_saved
from pipeline.errors import SettingsError
from pipeline.key_groups import KEY_GROUPS, keys_of
from pipeline.rollup import RollUp
from pipeline.settings import Settings
from pipeline.sink import RedisSink
from pipeline.source import TradeSource

_RESUME_FROM = "execution.state-recovery.path"
_RESTORING = "tryRestoreExecutionGraphFromSavepoint"
"""In the trace of a job that Flink could not begin from a checkpoint: damaged, or of other operators."""
_SHARD_AND_BATCH = Types.TUPLE([Types.INT(), Types.PRIMITIVE_ARRAY(Types.BYTE())])


def build(env: StreamExecutionEnvironment, settings: Settings) -> None:
    """Source, fold, sink. A key is a shard: each has its own position, watermark and windows."""
    if settings.redis_url is None:
        raise SettingsError("REDIS_URL is not set: the job has no Redis to read from")
    if settings.parallelism is not None and settings.parallelism > settings.shards:
        raise SettingsError(
            f"PARALLELISM={settings.parallelism}: must not be more than SHARDS={settings.shards}"
        )
    keys = keys_of(settings.shards)
    (
        _ticks(env, keys)
        .key_by(lambda key: key, key_type=Types.INT())
        .process(
            TradeSource(settings.redis_url, settings.out_of_order_ms, keys, settings.stream_max_entries),
            _SHARD_AND_BATCH,
        )
        .uid("source")
        .name("trades")
        .key_by(lambda shard_and_batch: keys[shard_and_batch[0]], key_type=Types.INT())
        .process(RollUp(Rules.of(settings)), Types.PICKLED_BYTE_ARRAY())
        .uid("rollup")
        .name("candles")
        .map(RedisSink(settings.redis_url, settings.history_limit), Types.STRING())
        .uid("sink")
        .name("redis")
    )


def _ticks(env: StreamExecutionEnvironment, keys: tuple[int, ...]) -> DataStream:
    """Every shard's key once a second, for ever: without a living source Flink would end the job.

    PyFlink wraps no such source, so this is Flink's own data generator, built through the gateway.
    """
    datagen = get_gateway().jvm.org.apache.flink.streaming.api.functions.source.datagen
    generator = datagen.DataGeneratorSource(datagen.RandomGenerator.intGenerator(0, 1), 1, None)
    seconds = env._j_stream_execution_environment.addSource(
        generator, "seconds", Types.INT().get_java_type_info()
    )
    return (
        DataStream(seconds)
        .set_parallelism(1)
        .uid("seconds")
        .flat_map(lambda _: keys, Types.INT())
        .set_parallelism(1)
        .uid("ticks")
        .name("ticks")
    )


def configuration(settings: Settings) -> Configuration:
    """What the job needs of Flink, wherever it runs."""
    checkpoints = (settings.state_dir / "checkpoints").resolve()
    config = Configuration()
    options = {
        "python.execution-mode": "thread",  # 20 ms from trade to subscriber, against 78 ms in processes
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        # The embedded interpreter starts from the base Python, blind to a virtual environment.
        "python.pythonpath": os.pathsep.join((_PROJECT, sysconfig.get_path("purelib"))),
        # A local Flink reads no configuration folder, and binds to every interface unless told.
        "jobmanager.bind-host": "localhost",
        "taskmanager.bind-host": "localhost",
        "rest.bind-address": "localhost",
        # Where FLINK_URL says, for those who look at it; elsewhere if that port is taken.
        "rest.bind-port": f"{urlsplit(settings.flink_url).port},0",
        "execution.buffer-timeout.interval": "0 ms",  # a batch is large: hand it on at once
        "execution.checkpointing.interval": f"{settings.checkpoint_ms} ms",
        # Flink waits so long for the first one, too: one before the operators run would fail.
        "execution.checkpointing.min-pause": f"{settings.checkpoint_ms * 4 // 5} ms",
        "execution.checkpointing.dir": checkpoints.as_uri(),
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "execution.checkpointing.num-retained": "3",
        "execution.checkpointing.tolerable-failed-checkpoints": "2147483647",  # the next one may do
        "state.backend.type": "hashmap",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "10 s",
    }
    for option, value in options.items():
        config.set_string(option, value)
    return config


def _resume(env: StreamExecutionEnvironment, settings: Settings) -> None:
    """Go on from what was saved last, unless ``flink run -s`` has named something else."""
    config = Configuration(j_configuration=env._j_stream_execution_environment.getConfiguration())
    newest = newest_saved(settings.state_dir.resolve())
    if newest is not None and not config.contains_key(_RESUME_FROM):
        config.set_string(_RESUME_FROM, newest.as_uri())
        env.configure(config)


def run(settings: Settings) -> None:
    """Run the job until it ends on a local Flink; from ``flink run``, submit it to that cluster."""
    env = StreamExecutionEnvironment.get_execution_environment(configuration(settings))
    _resume(env, settings)
    env.set_parallelism(settings.parallelism or settings.shards)
    env.set_max_parallelism(KEY_GROUPS)
    build(env, settings)
    with seals.sealing(settings.state_dir.resolve() / "checkpoints", settings.checkpoint_ms / 1000):
        _execute(env, settings)


def _execute(env: StreamExecutionEnvironment, settings: Settings) -> None:
    config = Configuration(j_configuration=env._j_stream_execution_environment.getConfiguration())
    try:
        env.execute("candlecast")
    except Exception as error:  # goes on up; Py4J's text is Flink's own trace
        # Before anything ran: the next start shall not fail at the same one.
        if _RESTORING in str(error):
            saved = Path(urlsplit(config.get_string(_RESUME_FROM, "")).path)
            seals.refuse(settings.state_dir.resolve() / "checkpoints", saved)
        raise


if __name__ == "__main__":
    run(Settings.from_env(os.environ))
