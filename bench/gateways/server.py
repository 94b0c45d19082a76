"""A server to measure, a process of its own: ``python -m bench.gateways.server KIND PORT REDIS_URL``.

Served like Streamlit serves it: uvicorn, websockets-sansio, no compression, no access log.
"""

from __future__ import annotations

import resource
import sys

import uvicorn

from bench.gateways import yardsticks
from pipeline.gateway.app import create_app
from pipeline.settings import Settings

KINDS = {
    "ours": lambda url: create_app(Settings(redis_url=url)),
    "send_json": yardsticks.send_json,
    "new_loop": yardsticks.new_loop,
}

if __name__ == "__main__":
    kind, port, url = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the yardsticks, too
    uvicorn.run(
        KINDS[kind](url), host="127.0.0.1", port=int(port), ws="websockets-sansio",
        ws_per_message_deflate=False, access_log=False, log_level="warning", backlog=4096,
    )  # fmt: skip
