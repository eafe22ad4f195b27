"""`arena admin-token`: make the token that opens the admin page, printed this once."""

from __future__ import annotations

import typer

from arena.console import DataDir, err
from arena.settings import load_settings

app = typer.Typer()


@app.command("admin-token")
def admin_token(data_dir: DataDir = None) -> None:
    """Make a new token for the admin page and print it, this once; an older one no longer opens."""
    from arena.bootstrap import open_arena
    from arena.services import admin

    settings = load_settings(data_dir=data_dir)
    open_arena(settings)
    print(admin.new_token(settings))
    err.print("Keep it: only its hash is stored. The page is at /admin, and in no visitor's menu.", soft_wrap=True)
