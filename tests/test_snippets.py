import ast

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
