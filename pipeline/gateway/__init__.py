"""HTTP and WebSocket: one Redis subscription, ten thousand clients.

::

    hub --listen--> inbox --one wake-up a batch--> fan-out --one encode a frame--> client, client, ...
                                                                  (the loop's own thread)

* ``app``: the gateway alone, ``uvicorn pipeline.gateway:app``;
* ``gateway``: what it is made of, and its routes for Starlette or ``st.App``;
* ``doors``: who may come in, and what parameters may be; ``limits``: every bound, with its reason;
* ``endpoint``: what the WebSocket endpoints ``prices`` and ``alerts`` share; ``resume``: what a client
  missed; ``client``: one connection;
  ``fanout``: from the hub to all of them; ``slots``: the newest revision of each window;
* ``frames``: what is sent, written down once; ``wire``: how it gets out of the server;
* ``api``: the HTTP routes; ``metrics``: what is counted.
"""

from pipeline.gateway.app import app
from pipeline.gateway.gateway import Gateway
from pipeline.gateway.limits import Limits

__all__ = ["Gateway", "Limits", "app"]
