"""What the pages share.

* ``services``: the process's hub, store, gateway and embedded run, one of each; app.py's lifespan.
* ``session``: a browser session's mailbox, drained into ``st.session_state``.
* ``chart``, ``indicators``, ``cards``, ``markets``, ``text``: candles in, figures, numbers and HTML out; pure.
* ``alerts``: the bell of every page, the list, the way to a candle; ``alert_settings``: what a person set.
* ``components``: the components.v2 components, whose JavaScript is in ``assets/``.
* ``assets``: the routes that serve that JavaScript and Plotly's, and the CSV export.
* ``shell``: page config, navigation, start-up steps. The script that st.App runs.
"""
