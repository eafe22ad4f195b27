"""The web application: `streamlit run app.py`, `python app.py` or `uvicorn app:app`.

Streamlit finds `app` by reading this file without running it, so the assignment below has to stay literal.
"""

from pathlib import Path

import streamlit as st

from arena.ui.common import COOKIE, the_arena
from arena.web.routes import routes
from arena.web.voter_cookie import middleware

app = st.App(
    Path(__file__).parent / "arena" / "ui" / "main.py",
    routes=routes(the_arena),
    middleware=middleware(the_arena, COOKIE),
)

if __name__ == "__main__":
    app.run()
