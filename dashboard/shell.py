"""The frame around every page: page config, stylesheet, navigation, and the start-up steps."""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts this script's folder on the path; the packages lie one above it.
ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from dashboard import alerts, components, startup  # noqa: E402

ASSETS = ROOT / "dashboard" / "assets"
PAGES = ROOT / "pages"

st.set_page_config("Candlecast", page_icon=str(ASSETS / "icon.svg"), layout="wide")
st.logo(str(ASSETS / "logo.svg"), icon_image=str(ASSETS / "icon.svg"), size="large")
st.html(ASSETS / "theme.css")
st.html(ASSETS / "alerts.css")
page = st.navigation(
    [
        st.Page(PAGES / "live.py", title="Live", icon=":material/candlestick_chart:", default=True),
        st.Page(PAGES / "markets.py", title="Markets", icon=":material/view_list:"),
        st.Page(PAGES / "alerts.py", title="Alerts", icon=":material/notifications:"),
        st.Page(PAGES / "pipeline.py", title="Pipeline", icon=":material/conversion_path:"),
        st.Page(PAGES / "console.py", title="Console", icon=":material/terminal:"),
    ]
)
components.preload()
alerts.bell()
startup.wait_for_first_candle()
page.run()
