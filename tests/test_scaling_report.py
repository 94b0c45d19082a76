from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import scaling_report

MEASURED = {
    (symbols, shards): {
        "trades_per_s": 100_000.0 * shards + symbols,
        "cpu_us_per_trade": 1.25,
        "redis_cpu_us_per_trade": 0.25,
        "taskmanagers_mib": 400.0 * shards,
    }
    for symbols in (10, 1_000)
    for shards in (1, 2, 4)
}


def test_the_table_has_a_row_for_each_pair_in_order() -> None:
    rows = scaling_report.table(MEASURED, 2_000_000, 3).splitlines()[4:]
    assert rows[0] == "| 10 | 1 | 100,010 | 1.25 us | 0.25 us | 400 MiB |"
    assert rows[-1] == "| 1,000 | 4 | 401,000 | 1.25 us | 0.25 us | 1,600 MiB |"
    assert len(rows) == len(MEASURED)


def test_the_picture_has_a_line_for_each_number_of_symbols_in_each_plot_and_all_of_it_is_inside() -> None:
    picture = ElementTree.fromstring(scaling_report.svg(MEASURED))
    lines = [one for one in picture.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 3 * 2
    width, height = map(float, picture.attrib["viewBox"].split()[2:])
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert len(points) == 3
        assert all(0 < x < width and 0 < y < height for x, y in points)
        assert points == sorted(points, key=lambda point: point[0])
    for text in (one for one in picture.iter() if one.tag.endswith("text")):
        # Sans-serif letters are about half as wide as they are high.
        long = 0.55 * len(text.text or "") * float(text.attrib.get("font-size", "12"))
        before = {"middle": long / 2, "end": long}.get(text.attrib.get("text-anchor", ""), 0)
        left = float(text.attrib["x"]) - before
        assert left >= 0 and left + long <= width, text.text


def test_more_is_drawn_higher() -> None:
    picture = ElementTree.fromstring(scaling_report.svg(MEASURED))
    first = next(one for one in picture.iter() if one.tag.endswith("polyline"))
    heights = [float(point.split(",")[1]) for point in first.attrib["points"].split()]
    assert heights == sorted(heights, reverse=True)


def test_only_what_is_between_the_marks_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling_report, "DOCS", tmp_path)
    page = tmp_path / "scaling.md"
    page.write_text("before\n<!-- measured -->\nold\n<!-- end -->\nafter\n")
    scaling_report.write(MEASURED, 2_000_000, 3)
    table = scaling_report.table(MEASURED, 2_000_000, 3).split("\n", 1)[1]  # the load average moves
    assert page.read_text().startswith("before\n<!-- measured -->\n")
    assert page.read_text().endswith(f"{table}<!-- end -->\nafter\n")
    assert (tmp_path / "scaling.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("value", "top"), [(0.3, 0.4), (1.0, 1), (1.84, 2), (3.1, 4), (17, 20), (950, 1_000), (1_500, 1_600)]
)
def test_the_scale_ends_where_four_steps_divide_it_well(value: float, top: float) -> None:
    assert scaling_report._round_up(value) == pytest.approx(top)
