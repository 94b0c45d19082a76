"""Routes that serve the browser's code: our modules, and Plotly.js from the installed package.

Their paths hold a digest of the content, so a browser keeps them for a year and still never
runs an old one.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import plotly
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

_FOLDER: Final = Path(__file__).parent / "assets"
_FOREVER: Final = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}


def _digest(folder: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(folder.glob("*.js")):
        content.update(path.read_bytes())
    return content.hexdigest()[:12]


MODULES_PATH: Final = f"assets/{_digest(_FOLDER)}"
PLOTLY_PATH: Final = f"assets/plotly-{plotly.__version__}.min.js"


@cache
def _plotly_gzipped() -> bytes:
    # Packed once: 4.8 MB become 1.4 MB, and packing it takes longer than sending it.
    return gzip.compress(files("plotly").joinpath("package_data/plotly.min.js").read_bytes(), 6)


def _plotly(request: Request) -> Response:
    packed = _plotly_gzipped()
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, media_type="text/javascript", headers={**_FOREVER, "Content-Encoding": "gzip"})
    return Response(gzip.decompress(packed), media_type="text/javascript", headers=_FOREVER)


def _module(request: Request) -> Response:
    path = _FOLDER / f"{request.path_params['name']}.js"
    if path.parent != _FOLDER or not path.is_file():
        return PlainTextResponse(f"no module {path.stem!r}", 404)
    return Response(path.read_bytes(), media_type="text/javascript", headers=_FOREVER)


def routes() -> list[BaseRoute]:
    """The routes, for st.App."""
    return [
        Route(f"/{PLOTLY_PATH}", _plotly),
        # Any digest is answered: a page that was open during an update asks by the old one.
        Route("/assets/{digest}/{name}.js", _module),
    ]
