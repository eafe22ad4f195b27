"""The script that Streamlit runs for every visitor: the frame around the pages."""

from pathlib import Path

import streamlit as st

from arena.ui import about, benchmarks, judge, leaderboard, model, prompt, vote

PAGES = [
    st.Page(vote.page, title="Vote", icon=":material/how_to_vote:", url_path="vote", default=True),
    st.Page(leaderboard.page, title="Leaderboard", icon=":material/leaderboard:", url_path="leaderboard"),
    st.Page(benchmarks.page, title="Benchmarks", icon=":material/science:", url_path="benchmarks"),
    st.Page(judge.page, title="Judge", icon=":material/gavel:", url_path="judge"),
    st.Page(model.page, title="Model", url_path="model", visibility="hidden"),
    st.Page(prompt.page, title="Prompt", url_path="prompt", visibility="hidden"),
    st.Page(about.page, title="How it works", icon=":material/info:", url_path="how-it-works"),
]

MARK = Path(__file__).with_name("mark.svg")

# A picture of our own: Streamlit would fetch a named icon from a font server.
st.set_page_config(page_title="Image arena", page_icon=str(MARK), layout="wide")
st.logo(str(MARK), size="large")
st.html(Path(__file__).with_name("chrome.css"))
st.navigation(PAGES, position="top").run()
