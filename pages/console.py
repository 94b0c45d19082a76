"""For developers: every endpoint to try, and code to paste."""

import streamlit as st

from dashboard import session
from dashboard.components import console, masthead
from dashboard.fragment import fragment
from dashboard.services import services
from dashboard.snippets import ENDPOINTS, curl, javascript, python
from pipeline.market import INTERVALS

with st.sidebar:
    endpoint = st.selectbox("Endpoint", list(ENDPOINTS), key="endpoint", bind="query-params")
    kind, template = ENDPOINTS[endpoint]
    symbol = st.selectbox("Symbol", session.symbols(), key="symbol", bind="query-params")
    interval = st.segmented_control(
        "Interval", [each.value for each in INTERVALS], default="1m", required=True,
        key="interval", bind="query-params", width="stretch", wrap=False,
    )  # fmt: skip
path = template.format(symbol=symbol, interval=interval)


@fragment()
def top() -> None:
    """Title and badge; drawn again when the doorbell rings."""
    masthead("Console", symbol="ALL", interval="1m", quiet=True)


top()
console(path, kind)
host = st.context.headers.get("Host", "localhost:8501")
secure = st.context.headers.get("X-Forwarded-Proto") == "https"
st.subheader("The same in your own program", anchor=False)
columns = st.columns(3)
for column, name, language, snippet in zip(
    columns,
    ("JavaScript", "Python", "curl"),
    ("javascript", "python", "bash"),
    (javascript, python, curl),
    strict=True,
):
    with column:
        st.caption(name)
        code = snippet(kind, path, host, secure=secure, token=services().settings.ws_token)
        st.code(code, language=language, wrap_lines=True)
