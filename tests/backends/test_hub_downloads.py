"""Models, parts and adapters that come from a hub: what is asked with which key, and that a contestant never changes.

A real server plays the hub. The hub's client reads its address at import, so each case is a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.backends.families import FAMILIES, language_model, tokenizer
from tests.backends.hub_server import HubServer, Repo

pytestmark = pytest.mark.timeout(600)  # every process loads torch and diffusers anew
KEY = "hf_lab_key_1234567"
OLD, NEW = "a" * 40, "b" * 40
PROGRAM = """
import hashlib, json, sys
from pathlib import Path
from arena.backends.diffusers import DiffusersBackend
from arena.errors import ArenaError
told = []
for settings in json.loads(sys.argv[1]):
    try:
        one = DiffusersBackend(**settings, device="cpu")
        [image] = one.generate(["a bear"], [1])
        told.append({"image": hashlib.sha256(image.tobytes()).hexdigest(), "commits": one.commits})
    except ArenaError as error:
        told.append({"error": type(error).__name__ + ": " + str(error)})
print(json.dumps(told))
"""
SERVICE = """
import json, sys
from arena.bootstrap import open_arena
from arena.domain import Prompt
from arena.services import contestants, generation
from arena.settings import load_settings
arena = open_arena(load_settings(), prepare=True)
contestants.add(arena, [contestants.contestant(json.loads(sys.argv[1]))])
arena.store.add_prompts([Prompt(sys.argv[2])])
report = generation.fill(arena, generation.plan(arena), generation.backends(arena))
assert not report.unavailable and not report.failed, report
print(json.dumps(arena.store.contestants()[0].running["commits"]))
arena.store.engine.dispose()
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    running = HubServer()
    yield running
    running.close()


def run(hub: str, home: Path, program: str, *words: str, **environment: str) -> Any:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        environment.setdefault(name, "0" if name == "HF_HUB_OFFLINE" else "")
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=home,
        env={**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1",
             "PYTHONPATH": str(Path(__file__).parents[2]), "LAB_KEY": KEY, "ARENA_DATA_DIR": str(home / "data"),
             **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert KEY not in done.stdout + done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def saved(family: str, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    FAMILIES[family].build().save_pretrained(folder)
    return folder


SDXL = {"model": "lab/painter", "steps": 1, "guidance": 1.0, "height": 32, "width": 32}


def test_a_contestant_stays_at_the_commit_that_it_was_first_loaded_from(hub: HubServer, tmp_path: Path) -> None:
    hub.repos["lab/painter"] = Repo({OLD: saved("sdxl", tmp_path / "old", 0)})
    entry = json.dumps({"name": "Painter", "backend": "diffusers", **SDXL, "device": "cpu"})
    assert run(hub.url, tmp_path, SERVICE, entry, "a bear") == {"lab/painter": OLD}
    hub.repos["lab/painter"].commits[NEW] = saved("sdxl", tmp_path / "new", 1)
    hub.asked.clear()
    assert run(hub.url, tmp_path, SERVICE, entry, "two bears") == {"lab/painter": OLD}, "also when it is added again"
    assert hub.asked and not any(NEW in path or "/main" in path for path, _ in hub.asked)
    settings = [SDXL, {**SDXL, "commits": {"lab/painter": OLD}}, {**SDXL, "revision": OLD}]
    newest, recorded, pinned = run(hub.url, tmp_path, PROGRAM, json.dumps(settings))
    assert newest["commits"] == {"lab/painter": NEW} and newest["image"] != pinned["image"]
    assert recorded == {"image": pinned["image"], "commits": {"lab/painter": OLD}} and pinned["commits"] == {}


def test_gated_parts_and_adapters_are_asked_with_the_key_and_stay_what_they_were(
    hub: HubServer, tmp_path: Path
) -> None:
    """HiDream leaves out its fourth text encoder, which is gated."""
    whole = saved("hidream-i1", tmp_path / "whole", 0)
    for old, seed in ((True, 1), (False, 2)):
        torch.manual_seed(seed)
        llama = tmp_path / f"llama-{seed}"
        language_model("Llama").save_pretrained(llama)
        tokenizer(128).save_pretrained(llama)
        (llama / "original").mkdir()
        (llama / "original" / "consolidated.safetensors").write_bytes(b"never asked for")
        repo = hub.repos.setdefault("meta/llama", Repo(token=KEY))
        repo.commits[OLD if old else NEW] = llama
    for part in ("text_encoder_4", "tokenizer_4"):
        shutil.rmtree(whole / part)
    index = json.loads((whole / "model_index.json").read_text())
    (whole / "model_index.json").write_text(json.dumps({k: v for k, v in index.items() if not k.endswith("_4")}))
    tiny = FAMILIES["hidream-i1"]
    both = {"tokenizer_4": "meta/llama", "text_encoder_4": "meta/llama"}
    settings = {"model": str(whole), "steps": 1, "height": tiny.side, "width": tiny.side, **tiny.settings}
    with_key = {**settings, "key_variable": "LAB_KEY"}
    pinned = {name: {"model": "meta/llama", "revision": OLD} for name in both}
    no_key, newest, old, again, none = run(hub.url, tmp_path, PROGRAM, json.dumps([
        {**settings, "parts": both}, {**with_key, "parts": both}, {**with_key, "parts": pinned},
        {**with_key, "parts": both, "commits": {"meta/llama": OLD}},
        {**with_key, "parts": {**both, "tokenizer_4": {"model": "meta/llama", "revision": "f00"}}},
    ]))  # fmt: skip
    assert "The part 'tokenizer_4' is not to be had: The model 'meta/llama' is gated" in no_key["error"]
    assert "or set key_variable" in no_key["error"]
    assert newest["commits"] == {"meta/llama": NEW} and old["commits"] == {} and newest["image"] != old["image"]
    assert again == {"image": old["image"], "commits": {"meta/llama": OLD}}
    assert "has no revision 'f00'" in none["error"]
    assert not any("original" in path for path, _ in hub.asked)


def test_a_gated_adapter_is_asked_with_the_key_and_stays_what_it_was(hub: HubServer, tmp_path: Path) -> None:
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    folder = saved("sdxl", tmp_path / "sdxl", 0)
    for sha, seed in ((OLD, 1), (NEW, 2)):
        pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
        torch.manual_seed(seed)
        pipeline.unet.add_adapter(LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v"]))
        made = tmp_path / f"adapter-{seed}"
        StableDiffusionXLPipeline.save_lora_weights(made, unet_lora_layers=get_peft_model_state_dict(pipeline.unet))
        hub.repos.setdefault("lab/style", Repo(token=KEY)).commits[sha] = made
    two = tmp_path / "two"
    shutil.copytree(tmp_path / "adapter-2", two)
    shutil.copy(two / "pytorch_lora_weights.safetensors", two / "other.safetensors")
    hub.repos["lab/two"] = Repo({OLD: two})
    settings = {**SDXL, "model": str(folder), "key_variable": "LAB_KEY"}
    style = {"model": "lab/style"}
    no_key, plain, newest, old, again, many, named = run(hub.url, tmp_path, PROGRAM, json.dumps([
        {**settings, "key_variable": None, "adapters": [style]}, settings, {**settings, "adapters": [style]},
        {**settings, "adapters": [{**style, "revision": OLD}]},
        {**settings, "adapters": [style], "commits": {"lab/style": OLD}},
        {**settings, "adapters": [{"model": "lab/two"}]},
        {**settings, "adapters": [{"model": "lab/two", "file": "other.safetensors"}]},
    ]))  # fmt: skip
    assert "The model 'lab/style' is gated" in no_key["error"]
    assert newest["commits"] == {"lab/style": NEW} and len({plain["image"], newest["image"], old["image"]}) == 3
    assert again == {"image": old["image"], "commits": {"lab/style": OLD}}
    assert "has 2 files of weights (other.safetensors, pytorch_lora_weights.safetensors); name one" in many["error"]
    assert named["image"] == newest["image"] and named["commits"] == {"lab/two": OLD}
    offline = run("http://127.0.0.1:9", tmp_path, PROGRAM, json.dumps([{**settings, "adapters": [style]}]))
    assert offline[0]["image"] == newest["image"], "what is here already needs no hub"


def test_a_token_that_the_hub_sends_back_is_in_no_message(hub: HubServer, tmp_path: Path) -> None:
    login = "hf_login_of_the_hub_1234"

    def echo(path: str, sent: str | None) -> tuple[int, dict[str, str], bytes]:
        return 400, {"reason": f"bad {sent}", "x-error-message": f"bad {sent}"}, f"bad {sent}".encode()

    hub.found = echo  # type: ignore[method-assign]
    [with_key] = run(hub.url, tmp_path, PROGRAM, json.dumps([{**SDXL, "key_variable": "LAB_KEY"}]))
    [with_login] = run(hub.url, tmp_path, PROGRAM, json.dumps([SDXL]), HF_TOKEN=login)
    assert {f"Bearer {KEY}", f"Bearer {login}"} <= {sent for _, sent in hub.asked}
    assert "WeightsError" in with_key["error"] and "WeightsError" in with_login["error"]
    assert login not in with_login["error"]
    assert "400 bad Bearer [key]" in with_key["error"] and "400 bad Bearer [key]" in with_login["error"]
