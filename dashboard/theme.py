"""Colours. The rest of the look is in ``assets/theme.css`` and ``.streamlit/config.toml``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of rising and falling, and of what stands around them.

    Rising candles are lighter inside than falling ones, so that they can be told apart without
    their colours.
    """

    up: str
    up_fill: str
    up_volume: str
    down: str
    down_fill: str
    down_volume: str
    lines: tuple[str, ...] = ("#f5b83d", "#5aa9f7", "#c58af9", "#ff8f6b", "#7bdcb5", "#f78fb3")
    accent: str = "#2dd4bf"
    fade: tuple[str, str] = ("rgba(45,212,191,0)", "rgba(45,212,191,0.32)")
    """Bottom and top of the area below a line."""
    bg: str = "#0b0f19"
    grid: str = "rgba(139,152,173,0.11)"
    text: str = "#e6eaf2"
    muted: str = "#93a0b5"
    cross: str = "rgba(230,234,242,0.35)"
    cross_tag: str = "#2a3650"

    def for_browser(self) -> dict[str, object]:
        """The colours by the names that the JavaScript uses."""
        words = {"up_fill": "upFill", "down_fill": "downFill", "up_volume": "upVolume",
                 "down_volume": "downVolume", "cross_tag": "crossTag"}  # fmt: skip
        return {words.get(name, name): value for name, value in asdict(self).items() if name != "lines"}


GREEN_RED: Final = Palette(
    up="#26c98f", up_fill="rgba(38,201,143,0.45)", up_volume="rgba(38,201,143,0.45)",
    down="#f6536b", down_fill="#f6536b", down_volume="rgba(246,83,107,0.55)",
)  # fmt: skip
BLUE_ORANGE: Final = Palette(
    up="#4cc3ff", up_fill="rgba(76,195,255,0.40)", up_volume="rgba(76,195,255,0.45)",
    down="#ff9d3c", down_fill="#ff9d3c", down_volume="rgba(255,157,60,0.55)",
)  # fmt: skip
PALETTES: Final = {"Green and red": GREEN_RED, "Blue and orange": BLUE_ORANGE}
