"""What a page sends must still make sense when a fragment has taken its own messages out again.

Streamlit does that where a fragment is run again before its page was sent (ForwardMsgQueue.clear).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest
from playwright.sync_api import Page
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.browser.running import open_page


def first_run(page: Page, url: str) -> list[ForwardMsg]:
    """The deltas of the page's first whole run."""
    frames: list[bytes] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))  # noqa: PLW0108  Playwright marks it
    open_page(page, url)
    deltas: list[ForwardMsg] = []
    for frame in frames:
        if not isinstance(frame, bytes):
            continue
        message = ForwardMsg.FromString(frame)
        kind = message.WhichOneof("type")
        if kind == "script_finished":
            break
        if kind in ("delta", "ref_hash"):
            deltas.append(message)
    return deltas


def misplaced(deltas: Sequence[ForwardMsg]) -> list[tuple[int, ...]]:
    """Paths that the browser would give up at: their place comes after one that is not there yet."""
    children: defaultdict[tuple[int, ...], int] = defaultdict(int)
    wrong = []
    for message in deltas:
        path = tuple(message.metadata.delta_path)
        if path[-1] > children[path[:-1]]:
            wrong.append(path)
        children[path[:-1]] = max(children[path[:-1]], path[-1] + 1)
        children[path] = 0
    return wrong


@pytest.mark.parametrize("path", ["/", "/markets", "/alerts", "/pipeline", "/console"])
def test_a_page_can_do_without_what_its_fragments_have_taken_back(page: Page, app: str, path: str) -> None:
    deltas = first_run(page, app + path)
    assert misplaced(deltas) == []
    fragments = {message.delta.fragment_id for message in deltas} - {""}
    assert len(fragments) >= 2, "the bell's and the page's"
    for fragment in fragments:
        assert misplaced([message for message in deltas if message.delta.fragment_id != fragment]) == []
    assert misplaced([message for message in deltas if not message.delta.fragment_id]) == []
