"""The pages, one screen per file: each draws and calls one service."""
