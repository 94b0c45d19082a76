"""Fragments that each stand in a place of their own."""

from __future__ import annotations

import functools
from collections.abc import Callable

import streamlit as st


def fragment(key: str | None = None) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """``st.fragment`` in a container that is not part of it. ``key``: the container's.

    A fragment that is run again before Streamlit has sent its page to the browser takes its own
    messages out of what waits, and puts the new ones at the end. What follows it on the page then
    arrives first, and if its place comes after one that is not there yet, the browser gives up: "Bad
    delta path index", a white page. The container is sent with the page and holds the place.
    """

    def decorated(draw: Callable[[], None]) -> Callable[[], None]:
        inner = st.fragment(draw)

        @functools.wraps(draw)
        def placed() -> None:
            with st.container(key=key):
                inner()

        return placed

    return decorated
