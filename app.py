"""The web application: `streamlit run app.py`, `python app.py` or `uvicorn app:app`.

Streamlit finds `app` by reading this file without running it, so the assignment below has to stay literal.
"""

import streamlit as st

from arena.ui import common, main_path
from arena.web import shown, voting
from arena.web.routes import below, routes
from arena.web.voter_cookie import middleware

app = st.App(
    main_path(),
    routes=below(
        st.config.get_option("server.baseUrlPath"),
        [
            *routes(common.the_arena),
            *shown.routes(common.the_arena),
            *voting.routes(common.the_arena, common.COOKIE),
        ],
    ),
    middleware=middleware(common.the_arena, common.COOKIE),
)

if __name__ == "__main__":
    app.run()
