"""The pages, one screen per file: each draws and calls one service."""

from pathlib import Path


def main_path() -> Path:
    """The script that Streamlit runs for every visitor."""
    return Path(__file__).with_name("main.py")
