"""The web server: dashboard, WebSocket and HTTP in one process. ``streamlit run app.py``."""

import streamlit as st

from dashboard import assets, export
from dashboard.services import lifespan, services

routes = [*services().gateway.routes, *assets.routes(), *export.routes()]
app = st.App("dashboard/shell.py", routes=routes, lifespan=lifespan)
