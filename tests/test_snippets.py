import ast
from collections.abc import Callable

import pytest

from dashboard.snippets import ENDPOINTS, curl, javascript, python


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_endpoint_has_snippets_with_its_whole_address(name: str) -> None:
    kind, template = ENDPOINTS[name]
    path = template.format(symbol="BTC", interval="1m")
    scheme = "wss" if kind == "WS" else "https"
    ast.parse(python(kind, path, "example.org"))
    for snippet in (javascript, python):
        assert f'"{scheme}://example.org{path}"' in snippet(kind, path, "example.org", secure=True)
    assert f"'http://example.org{path}'" in curl(kind, path, "example.org")


@pytest.mark.parametrize("snippet", [javascript, python, curl])
def test_a_websocket_snippet_shows_the_token_that_the_server_wants(snippet: Callable[..., str]) -> None:
    code = snippet("WS", "/ws/prices/BTC", "example.org", token="open-sesame-and-then-some")
    assert "open-sesame-and-then-some" in code
    assert "open-sesame" not in snippet("WS", "/ws/prices/BTC", "example.org")
    if snippet is python:
        ast.parse(code)
