"""docs/contestants.md, followed word for word: its commands run as they stand, its files are written as they stand.

Only what cannot be there is put in place: `…` stands for a key, localhost:8000 for a server of the test's own, and
./my-pipeline for a pipeline that somebody has.
"""

from __future__ import annotations

import inspect
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from arena.backends import BACKENDS
from arena.backends.base import backend_class
from arena.backends.presets import PRESETS
from arena.backends.prices import PROVIDER, read_prices
from arena.bootstrap import Arena, open_arena
from arena.cli import app
from arena.cli_contestants import contestants
from arena.domain import Prompt
from arena.settings import load_settings
from tests.backends.conftest import ImageServer, answered, encoded, png

PAGE = Path(__file__).parents[1] / "docs" / "contestants.md"
TEXT = PAGE.read_text()
KEY = "lab-key-123456"


@pytest.fixture
def server() -> ImageServer:
    running = ImageServer()
    yield running
    running.close()


def section(title: str) -> str:
    return re.split(r"^## ", TEXT, flags=re.MULTILINE)[[part.partition("\n")[0] for part in
                    re.split(r"^## ", TEXT, flags=re.MULTILINE)].index(title)]  # fmt: skip


def commands(title: str) -> list[str]:
    return re.findall(r"^    ((?:arena|export) .*)$", section(title), re.MULTILINE)


def block(title: str, language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)
    return found


def run(line: str) -> Result:
    return CliRunner().invoke(app, shlex.split(line)[1:])


def follow(title: str, monkeypatch: pytest.MonkeyPatch, host: str = "") -> None:
    for line in commands(title):
        program, *words = shlex.split(line)
        if program == "export":
            name, _, value = words[0].partition("=")
            monkeypatch.setenv(name, value.replace("…", KEY))
            continue
        done = run(line.replace("localhost:8000", host))
        assert done.exit_code == 0, (line, done.output, done.exception)


def few_prompts() -> Arena:
    """An arena in the default place, with two prompts instead of a first start's sixty."""
    arena = open_arena(load_settings(), prepare=True)
    arena.store.add_prompts([Prompt("a bear"), Prompt("two bears")])
    return arena


def images(name: str) -> list[tuple[int, int]]:
    arena = open_arena(load_settings())
    found = arena.store.generations(arena.store.contestant(name).id or 0, images_only=True)
    return [(one.image.width, one.image.height) for one in found if one.image]


def test_a_first_try(monkeypatch: pytest.MonkeyPatch) -> None:
    follow("A first try", monkeypatch)
    assert len(images("Blue cards")) == 60
    arena = open_arena(load_settings())
    assert arena.store.withdrawn().contestants == {arena.store.contestant("Blue cards").id}
    [back] = re.findall(r"`(arena contestants retire [^`]*--back)`", section("A first try"))
    assert run(back).exit_code == 0 and not open_arena(load_settings()).store.withdrawn().contestants


def test_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    few_prompts()
    text = block("Many at once", "toml")
    Path("arena.toml").write_text(text)
    follow("Many at once", monkeypatch)
    added = {one.name: one for one in open_arena(load_settings()).store.contestants()}
    assert added["Teal cards"].settings == {"tint": "teal", "size": 128} and len(added) == 2
    [said] = re.findall(r"^    (arena\.toml, line \d+: .*)$", section("Many at once"), re.MULTILINE)
    Path("arena.toml").write_text(text.replace('tint = "red"', 'size = "big"'))
    assert str(run("arena contestants add").exception) == said


def test_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.backends.families import FAMILIES

    few_prompts()
    FAMILIES["flux2-klein"].build().save_pretrained("my-pipeline")
    follow("Weights", monkeypatch)
    arena = open_arena(load_settings())
    assert arena.store.contestant("FLUX.2 klein").settings["steps"] == 4
    mine = arena.store.contestant("Mine")
    assert mine.settings["model"] == str(Path("my-pipeline").absolute()) and mine.settings["weights_sha256"]


def test_endpoints(monkeypatch: pytest.MonkeyPatch, server: ImageServer) -> None:
    few_prompts()
    server.answer = lambda body, _: answered(encoded(png(size=(64, 64))), usage={"cost": 0.01})
    follow("Endpoints", monkeypatch, server.host)
    assert images("Painter") == [(64, 64)] * 2
    sent = [(path, heads.get("authorization"), heads.get("api-key")) for path, heads, _ in server.asked]
    azure = "/openai/deployments/painter/images/generations?api-version=2025-04-01-preview"
    assert {*sent} == {("/v1/images/generations", f"Bearer {KEY}", None), (azure, None, KEY)}
    assert images("gpt-image-1 on Azure") == [(64, 64)] * 2
    files = [path for path in Path("arena-data").rglob("*") if path.is_file()]
    assert files and not any(KEY.encode() in path.read_bytes() for path in files), "the key is in no row and no file"
    arena = open_arena(load_settings())
    [one, *_] = arena.store.generations(arena.store.contestant("Painter").id or 0)
    assert (one.cost_usd, one.cost_source) == (0.01, PROVIDER)


def test_providers(monkeypatch: pytest.MonkeyPatch, server: ImageServer) -> None:
    few_prompts()
    server.answer = lambda body, _: (200, {"content-type": "image/png"}, png())
    follow("Providers", monkeypatch, server.host)
    assert len(images("My endpoint")) == 2
    assert {heads["authorization"] for _, heads, _ in server.asked} == {f"Bearer {KEY}"}


def test_anything_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The worked example, installed as pip leaves it: a module and a dist-info folder on the path."""
    few_prompts()
    site = tmp_path / "site"
    site.mkdir()
    project = tomllib.loads(block("Anything else", "toml"))["project"]
    (site / "arena_grey.py").write_text(block("Anything else", "python"))
    info = site / f"arena_grey-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    [(group, points)] = project["entry-points"].items()
    lines = [f"{name} = {target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]) + "\n")
    monkeypatch.syspath_prepend(site)
    follow("Anything else", monkeypatch)
    assert images("Grey") == [(32, 32)] * 2
    told = str(run('arena contestants add "Grey 2" --backend grey --set side=big').exception)
    assert "'side': the value 'big': input should be a valid integer" in told


def test_the_price_table(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(block("Cost and speed", "toml"))
    [price] = read_prices(tmp_path / "prices.toml")
    assert (price.service, price.per_image) == ("localhost", 0.02)


def test_the_page_names_every_backend_setting_preset_and_command() -> None:
    wanted = [f"`{preset}`" for preset in PRESETS]
    wanted += [f"arena contestants {one.name or one.callback.__name__}" for one in contestants.registered_commands]
    for backend in BACKENDS:
        wanted += [f"`{backend}`", *(f"`{name}`" for name in inspect.signature(backend_class(backend)).parameters)]
    assert [name for name in wanted if name not in TEXT] == []
