"""Keys for the shards, chosen so that Flink spreads the shards evenly over its subtasks.

Flink hashes a key into one of ``KEY_GROUPS`` groups and gives each subtask a range of groups. The
shards' own numbers fall anywhere: of four shards on two subtasks, three may sit on one. So the job
keys by a number whose group lies where the shard belongs, in the middle of its equal part of all
groups. With any parallelism up to the number of shards, each subtask then has its share.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from typing import Final

KEY_GROUPS: Final = 1_024
"""Flink's max parallelism. Fixed: keyed state can be restored into no other number of groups."""

_BITS: Final = 0xFFFFFFFF


@lru_cache
def keys_of(shards: int) -> tuple[int, ...]:
    """The key of each shard, from 0 to ``shards``; no two are the same."""
    wanted: dict[int, list[int]] = {}
    for shard in range(shards):
        wanted.setdefault(_group_in_the_middle(shard, shards), []).append(shard)
    keys = [0] * shards
    for key in count():
        waiting = wanted.get(key_group(key))
        if waiting:
            keys[waiting.pop(0)] = key
            shards -= 1
        if not shards:
            return tuple(keys)
    raise AssertionError("unreachable")  # count() has no end


def key_group(key: int) -> int:
    """The group that Flink puts the key ``key`` of a PyFlink stream keyed by INT into."""
    # PyFlink wraps the key in a Row of one field, whose hash in Java is this.
    return _murmur_hash(62 + key) % KEY_GROUPS


def subtask(key: int, parallelism: int) -> int:
    """The subtask that Flink gives the key to."""
    return key_group(key) * parallelism // KEY_GROUPS


def _group_in_the_middle(shard: int, shards: int) -> int:
    return (2 * shard + 1) * KEY_GROUPS // (2 * shards)


def _murmur_hash(code: int) -> int:
    """``org.apache.flink.util.MathUtils.murmurHash``, in Java's 32 bits."""
    code = _rotate_left(code * 0xCC9E2D51 & _BITS, 15)
    code = _rotate_left(code * 0x1B873593 & _BITS, 13)
    code = (code * 5 + 0xE6546B64 & _BITS) ^ 4
    code = (code ^ code >> 16) * 0x85EBCA6B & _BITS
    code = (code ^ code >> 13) * 0xC2B2AE35 & _BITS
    code ^= code >> 16
    return min(code, _BITS + 1 - code) & 0x7FFFFFFF  # as an int of Java, without its sign


def _rotate_left(number: int, by: int) -> int:
    return (number << by | number >> 32 - by) & _BITS
