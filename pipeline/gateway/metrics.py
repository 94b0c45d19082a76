"""What the gateway counts, and its Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Upper bounds of the histogram; above the last one it is no longer live."""


class Histogram:
    """Counts durations in seconds into BUCKETS_S."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        seconds = max(0.0, seconds)  # the job's clock may run ahead of ours
        self._counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum_s:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """Counters since the start. Written by the loop's thread only."""

    def __init__(self) -> None:
        self.frames_sent = 0
        self.frames_superseded = 0
        """Revisions that were overtaken by a newer one of the same window before they were sent."""
        self.evictions = 0
        """Clients closed because they read too slowly."""
        self.rejections: Counter[str] = Counter()
        """Clients turned away or closed for what they did, by reason."""
        self.plain_clients = 0
        """Clients of now that are served without reaching the server's transport."""
        self.publish_to_send = Histogram()
        """From ``published_at_ms`` until the frame was written to the last of its clients."""


def counter(name: str, help: str, value: float, kind: str = "counter") -> Iterator[str]:
    yield from _head(name, help, kind)
    yield f"{name} {value}"


def gauge(name: str, help: str, value: float) -> Iterator[str]:
    return counter(name, help, value, "gauge")


def labelled(name: str, help: str, kind: str, label: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    """``label``'s values are ours or checked: none has a character that needs escaping."""
    yield from _head(name, help, kind)
    for value, number in values:
        yield f'{name}{{{label}="{value}"}} {number}'


def histogram(name: str, help: str, measured: Histogram) -> Iterator[str]:
    yield from _head(name, help, "histogram")
    yield from measured.lines(name)


def _head(name: str, help: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
