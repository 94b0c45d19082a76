"""The web server: dashboard, WebSocket and HTTP in one process. ``streamlit run app.py``."""

import streamlit as st

from dashboard import assets
from dashboard.services import lifespan, services

app = st.App("dashboard/shell.py", routes=[*services().gateway.routes, *assets.routes()], lifespan=lifespan)
