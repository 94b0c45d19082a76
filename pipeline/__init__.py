r"""Trades in, true candles out.

The way of the data, one module a step::

    feed/*  --XADD-->  crypto:trades:{shard}  -->  source -> fold -> sink   (job, on Flink)
                                                                 |
               SETEX crypto:{SYM}:latest, ZADD crypto:{SYM}:{interval}, PUBLISH crypto:updates
                                                                 |
                            store (read)   subscriber (push)  <--+
                                   \           |
                                    gateway (HTTP and WebSocket)

Who may import whom (held by ``tests/test_import_rules.py``):

* ``market``, ``keys``, ``errors``, ``settings`` import nothing of ours but ``errors``
  (``settings`` also reads the intervals' names from ``market``);
* ``candle`` and ``alert`` import only ``market`` and ``errors``;
* ``fold`` imports only ``market`` and does no I/O, reads no clock, knows no Flink;
* pyflink is imported in ``job``, ``source``, ``rollup`` and ``sink`` only;
* streamlit is imported in ``app.py``, ``pages/`` and ``dashboard/`` only, and nothing in
  ``pipeline`` imports ``dashboard``;
* importing a module connects to nothing and starts nothing.
"""
