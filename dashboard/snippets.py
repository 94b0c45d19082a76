"""Code to paste that talks to one of our endpoints. Pure."""

from __future__ import annotations

from typing import Final

ENDPOINTS: Final = {
    "Prices of one symbol": ("WS", "/ws/prices/{symbol}?interval={interval}"),
    "Prices of all symbols": ("WS", "/ws/prices/ALL?interval={interval}"),
    "Alerts": ("WS", "/ws/alerts"),
    "Newest alerts": ("GET", "/api/alerts?limit=5"),
    "Candles": ("GET", "/api/candles/{symbol}?interval={interval}&limit=5"),
    "Symbols": ("GET", "/api/symbols"),
    "Connections": ("GET", "/ws/stats"),
    "Health": ("GET", "/healthz"),
    "Metrics": ("GET", "/metrics"),
}
"""Name -> method and path."""


def javascript(kind: str, path: str, host: str, *, secure: bool = False, token: str | None = None) -> str:
    """For a browser's console, or Node 22 and later. ``token`` is what WebSocket clients have to show."""
    url = _url(kind, path, host, secure=secure)
    if kind == "WS":
        protocols = f', ["candlecast", "{token}"]' if token else ""
        return (
            f'const socket = new WebSocket("{url}"{protocols});\n'
            'socket.onopen = () => socket.send(JSON.stringify({ type: "ping" }));\n'
            "socket.onmessage = (event) => {\n"
            "  const frame = JSON.parse(event.data);\n"
            '  if (frame.type === "price_update") console.log(frame.symbol, frame.data.close);\n'
            "  else console.log(frame);\n"
            "};"
        )
    read = "text" if path == "/metrics" else "json"
    return f'const answer = await fetch("{url}");\nconsole.log(await answer.{read}());'


def python(kind: str, path: str, host: str, *, secure: bool = False, token: str | None = None) -> str:
    """For Python; the WebSocket one needs the ``websockets`` package."""
    url = _url(kind, path, host, secure=secure)
    if kind == "WS":
        headers = f', additional_headers={{"Authorization": "Bearer {token}"}}' if token else ""
        return (
            "import json\n\nfrom websockets.sync.client import connect\n\n"
            f'with connect("{url}"{headers}) as socket:\n'
            "    for text in socket:\n"
            "        frame = json.loads(text)\n"
            '        if frame["type"] == "price_update":\n'
            '            print(frame["symbol"], frame["data"]["close"])\n'
            "        else:\n"
            "            print(frame)"
        )
    return (
        "from urllib.request import urlopen\n\n"
        f'with urlopen("{url}") as answer:\n'
        "    print(answer.read().decode())"
    )


def curl(kind: str, path: str, host: str, *, secure: bool = False, token: str | None = None) -> str:
    """For a shell. A WebSocket is shown as the frames arrive (curl 7.86 and later; Ctrl-C ends it)."""
    url = _url("GET", path, host, secure=secure)
    if kind == "WS":
        shown = f" --header 'Authorization: Bearer {token}' \\\n" if token else ""
        return (
            f"curl --no-buffer --http1.1 --output - \\\n"
            "  --header 'Connection: Upgrade' --header 'Upgrade: websocket' \\\n"
            "  --header 'Sec-WebSocket-Version: 13' --header 'Sec-WebSocket-Key: Y2FuZGxlY2FzdC1jdXJsIQ==' \\\n"
            f"{shown and ' ' + shown}  '{url}'"
        )
    return f"curl '{url}'"


def _url(kind: str, path: str, host: str, *, secure: bool) -> str:
    scheme = "ws" if kind == "WS" else "http"
    return f"{scheme}{'s' if secure else ''}://{host}{path}"
