from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.embedded import flink_folder
from pipeline.key_groups import KEY_GROUPS, key_group, keys_of, subtask
from tests.test_import_rules import ROOT

# What Flink itself says, asked through the classes that a keyed PyFlink stream uses.
ASK_FLINK = """
import sys
from pyflink.java_gateway import get_gateway
jvm = get_gateway().jvm
row = jvm.org.apache.flink.types.Row(2)
assign = jvm.org.apache.flink.runtime.state.KeyGroupRangeAssignment
for key, groups, parallelism in (map(int, line.split()) for line in sys.stdin):
    row.setField(0, key)
    found = jvm.KeyByKeySelector().getKey(row)
    subtask = assign.assignKeyToParallelOperator(found, groups, parallelism)
    print(assign.assignToKeyGroup(found, groups), subtask)
"""


def test_our_key_groups_and_subtasks_are_flinks_own(tmp_path: Path) -> None:
    asked = [(key, parallelism) for key in [*range(0, 3_000, 7), *keys_of(16)] for parallelism in (1, 3, 4)]
    done = subprocess.run(
        [sys.executable, "-c", ASK_FLINK],
        input="".join(f"{key} {KEY_GROUPS} {parallelism}\n" for key, parallelism in asked),
        env=os.environ | flink_folder.prepare(tmp_path, os.environ),
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=120,
    )  # fmt: skip
    told = [tuple(map(int, line.split())) for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert told == [(key_group(key), subtask(key, parallelism)) for key, parallelism in asked]


def load(shards: int, parallelism: int) -> list[int]:
    """Shards of each subtask."""
    counted = Counter(subtask(key, parallelism) for key in keys_of(shards))
    return [counted[number] for number in range(parallelism)]


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 7, 8, 12, 16, 30, 64, 100, 128])
def test_subtasks_that_divide_the_shards_have_equally_many(shards: int) -> None:
    for parallelism in range(1, shards + 1):
        if shards % parallelism == 0:
            assert load(shards, parallelism) == [shards // parallelism] * parallelism


def test_no_subtask_is_idle_nor_has_more_than_one_shard_too_many_at_any_parallelism() -> None:
    for shards in range(1, 33):
        for parallelism in range(1, shards + 1):
            counts = load(shards, parallelism)
            assert min(counts) >= 1
            assert max(counts) - min(counts) <= 1, (shards, parallelism)


def test_the_shards_own_numbers_would_not_be_spread_evenly() -> None:
    counts = Counter(subtask(shard, 4) for shard in range(4))
    assert sorted(counts.values()) != [1, 1, 1, 1], "the keys are needed"


@pytest.mark.parametrize("shards", [1, 128, 1_024])
def test_no_two_shards_share_a_key(shards: int) -> None:
    assert len(set(keys_of(shards))) == shards
