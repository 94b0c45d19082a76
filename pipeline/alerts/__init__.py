"""Alerts: what a minute's candle tells, and how it reaches a person.

::

    closed and forming minutes --watch--> rules --> alerts --writer--> crypto:alerts --> hub, /ws/alerts
                                 (in RollUp, on Flink)      (in the candles' MULTI)  --> webhook

* ``rules``: each rule a pure function of one minute and of the ``past`` of its symbol;
* ``past``: what is remembered of a symbol; ``watch``: which alerts fire, once, and when again;
* ``writer``: into Redis, once however often it is repeated;
* ``webhook``: out of Redis to somebody's server, in a process of its own.

``docs/alerts.md`` has the formulas, the settings and the frames.
"""
