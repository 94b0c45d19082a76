"""The web server: dashboard, WebSocket and HTTP in one process. ``streamlit run app.py``."""

from pipeline import python_version

python_version.require()

import streamlit as st  # noqa: E402  (not before the version is known to fit)

from dashboard import assets, export  # noqa: E402
from dashboard.ending import one_line  # noqa: E402
from dashboard.services import lifespan, services  # noqa: E402

with one_line():
    routes = [*services().gateway.routes, *assets.routes(), *export.routes()]
app = st.App("dashboard/shell.py", routes=routes, lifespan=lifespan)
