"""Writes what ``bench.scaling`` has measured into docs/: the table and the plot."""

from __future__ import annotations

import itertools
import os
import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
_COLOURS = ("#5aa9f7", "#2dd4bf", "#f5b83d")
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 320, 320, 56, 80, 32, 36
"""Of one plot, and what is left free around its lines. The legend stands once, above all of them."""
_PLOTS = (
    ("trades_per_s", "million trades/s", 1e-6),
    ("cpu_us_per_trade", "CPU a trade, us", 1.0),
    ("taskmanagers_mib", "memory of the TaskManagers, MiB", 1.0),
)
"""Figure, title, and by what it is multiplied to be read."""

Measured = Mapping[tuple[int, int], Mapping[str, float]]
"""(symbols, shards) -> figures by name."""


def write(measured: Measured, trades: int, runs: int) -> None:
    """docs/scaling.svg, and the part of docs/scaling.md between its marks."""
    (DOCS / "scaling.svg").write_text(svg(measured))
    page = DOCS / "scaling.md"
    text = re.sub(
        r"(<!-- measured -->\n).*?(<!-- end -->)",
        lambda marks: marks[1] + table(measured, trades, runs) + marks[2],
        page.read_text(),
        flags=re.DOTALL,
    )
    page.write_text(text)


def table(measured: Measured, trades: int, runs: int) -> str:
    """The figures as Markdown, with where they come from."""
    lines = [
        f"{os.cpu_count()} cores ({platform.machine()}), load average {os.getloadavg()[0]:.1f} at the end, "
        f"{trades:,} trades a shard, {'one run' if runs == 1 else f'medians of {runs} runs'} each.",
        "",
        "| symbols | shards | trades/s | CPU a trade | of it Redis | memory of the TaskManagers |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {symbols:,} | {shards} | {one['trades_per_s']:,.0f} | {one['cpu_us_per_trade']:.2f} us | "
        f"{one['redis_cpu_us_per_trade']:.2f} us | {one['taskmanagers_mib']:,.0f} MiB |"
        for (symbols, shards), one in sorted(measured.items())
    ]
    return "\n".join(lines) + "\n"


def svg(measured: Measured) -> str:
    """A plot for each figure over the number of shards, with a line for each number of symbols."""
    plots = [_plot(measured, number * _WIDTH, *plot) for number, plot in enumerate(_PLOTS)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {len(_PLOTS) * _WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#0b0f19"/>',
        *_legend(measured),
        *itertools.chain.from_iterable(plots),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _colours(measured: Measured) -> dict[int, str]:
    """Of each number of symbols."""
    return dict(zip(sorted({pair[0] for pair in measured}), itertools.cycle(_COLOURS), strict=False))


def _legend(measured: Measured) -> Iterator[str]:
    for number, (symbols, colour) in enumerate(_colours(measured).items()):
        left = _LEFT + 120 * number
        yield f'<rect x="{left}" y="19" width="18" height="3" rx="1.5" fill="{colour}"/>'
        yield f'<text x="{left + 26}" y="25" fill="{colour}">{symbols:,} symbols</text>'


def _plot(measured: Measured, left: int, name: str, title: str, unit: float) -> Iterator[str]:
    shards = sorted({pair[1] for pair in measured})
    values = {pair: one[name] * unit for pair, one in measured.items()}
    top = _round_up(max(values.values()))

    def x(number: int) -> float:
        return left + _LEFT + (_WIDTH - _LEFT - _RIGHT) * shards.index(number) / max(1, len(shards) - 1)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / top

    yield f'<text x="{left + _LEFT}" y="{_TOP - 22}" fill="#e6eaf2" font-size="14">{title}</text>'
    for step in range(5):
        value = top * step / 4
        ends = f'x1="{x(shards[0])}" x2="{x(shards[-1])}" y1="{y(value)}" y2="{y(value)}"'
        yield f'<line {ends} stroke="#1f2a3d"/>'
        place = f'x="{left + _LEFT - 8}" y="{y(value) + 4}"'
        yield f'<text {place} fill="#8b98ad" text-anchor="end">{value:,g}</text>'
    for number in shards:
        label = f"{number} shard{'s' * (number > 1)}"
        yield f'<text x="{x(number)}" y="{_HEIGHT - 14}" fill="#8b98ad" text-anchor="middle">{label}</text>'
    for symbols, colour in _colours(measured).items():
        points = [(x(number), y(values[symbols, number])) for number in shards]
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{a:.1f}" cy="{d:.1f}" r="3.5" fill="{colour}"/>' for a, d in points)


def _round_up(value: float) -> float:
    """The next number that four steps divide well."""
    size = 10.0 ** (len(str(int(value))) - 1) if value >= 1 else 0.1
    return next(step * size for step in (1, 1.2, 1.6, 2, 4, 6, 8, 10) if step * size >= value)
