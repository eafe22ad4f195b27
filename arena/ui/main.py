"""The script that Streamlit runs for every visitor: the frame around the pages."""

from pathlib import Path

import streamlit as st

from arena.ui import about, admin, benchmarks, judge, leaderboard, mine, model, own_prompt, prompt, vote
from arena.ui.common import this_admin

PAGES = [
    st.Page(vote.page, title="Vote", icon=":material/how_to_vote:", url_path="vote", default=True),
    st.Page(own_prompt.page, title="Own prompt", icon=":material/brush:", url_path="own-prompt"),
    st.Page(leaderboard.page, title="Leaderboard", icon=":material/leaderboard:", url_path="leaderboard"),
    st.Page(mine.page, title="My board", icon=":material/person:", url_path="my-board"),
    st.Page(benchmarks.page, title="Benchmarks", icon=":material/science:", url_path="benchmarks"),
    st.Page(judge.page, title="Judge", icon=":material/gavel:", url_path="judge"),
    st.Page(model.page, title="Model", url_path="model", visibility="hidden"),
    st.Page(prompt.page, title="Prompt", url_path="prompt", visibility="hidden"),
    st.Page(about.page, title="Method", icon=":material/info:", url_path="how-it-works"),
    st.Page(
        admin.page,
        title="Admin",
        icon=":material/shield_person:",
        url_path="admin",
        visibility="visible" if this_admin() else "hidden",
    ),
]

MARK = Path(__file__).with_name("mark.svg")

# A picture of our own: Streamlit would fetch a named icon from a font server.
st.set_page_config(page_title="Image arena", page_icon=str(MARK), layout="wide")
st.logo(str(MARK), size="large")
st.html(Path(__file__).with_name("chrome.css"))
st.navigation(PAGES, position="top").run()
