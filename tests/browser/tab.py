"""A browser tab as the server sees it: Streamlit's own WebSocket protocol, and a chart's feed."""

from __future__ import annotations

import asyncio
import json

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect


class Tab:
    """One open live page, as the server sees it."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("http", "ws", 1)
        self._page = ""
        self._fragment = ""
        self._masthead = ""
        self._drawn = asyncio.Event()
        self.reruns = 0
        self.closed: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        subprotocols = ["streamlit"]
        self._session = await connect(f"{self._url}/_stcore/stream", subprotocols=subprotocols, max_size=None)
        self._chart = await connect(f"{self._url}/ws/prices/BTC?interval=1s")
        first = BackMsg()
        first.rerun_script.query_string = "interval=1s"
        await self._session.send(first.SerializeToString())
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._listen(self._chart))]
        await self._drawn.wait()

    async def ring(self) -> None:
        """What the browser sends when the doorbell component fires its trigger."""
        message = BackMsg()
        rerun = message.rerun_script
        rerun.query_string = "interval=1s"
        rerun.page_script_hash = self._page
        rerun.fragment_id = self._fragment
        state = rerun.widget_states.widgets.add()
        state.id = f"$$STREAMLIT_INTERNAL_KEY_{self._masthead}__events"
        state.json_trigger_value = json.dumps([{"event": "ring", "value": self.reruns}])
        await self._session.send(message.SerializeToString())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._session.close()
        await self._chart.close()

    async def _read(self) -> None:
        async for data in self._session:
            message = ForwardMsg.FromString(data)
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self._page = message.new_session.page_script_hash
            elif kind == "delta" and message.delta.new_element.HasField("bidi_component"):
                component = message.delta.new_element.bidi_component
                if component.component_name == "candlecast.masthead":
                    self._masthead, self._fragment = component.id, message.delta.fragment_id
                    self.reruns += 1
                    self._drawn.set()

    async def _listen(self, chart: ClientConnection) -> None:
        async for text in chart:
            frame = json.loads(text)
            if frame["type"] == "price_update" and frame["data"]["is_closed"]:
                self.closed.add(frame["data"]["open_time_ms"])
