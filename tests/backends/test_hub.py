"""Weights that cannot be had: each case one clear sentence, against a hub that a real server plays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arena.backends import hub
from arena.errors import EnvironmentFault, WeightsError
from tests.backends.conftest import ImageServer

PROGRAM = """
import json, sys
from arena.backends.hub import fetched_pipeline
from arena.errors import ArenaError
told = {}
for model, revision in json.loads(sys.argv[1]):
    try:
        told[model] = str(fetched_pipeline(model, model, revision, None, None))
    except ArenaError as error:
        told[model] = type(error).__name__ + ": " + str(error)
print(json.dumps(told))
"""


def asked(url: str, home: Path, *models: tuple[str, str | None]) -> dict[str, str]:
    """What is said of models, in a process that believes the hub to be there. The hub's client reads it at import."""
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1",
                   "PYTHONPATH": str(Path(__file__).parents[2]), "HF_HUB_OFFLINE": "0"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(models)], env=environment, capture_output=True, text=True, cwd=home
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_way_a_hub_says_no_is_one_sentence(server: ImageServer, tmp_path: Path) -> None:
    def no(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
        return status, {"x-error-code": code, "x-error-message": code}, json.dumps({"error": code}).encode()

    server.pages = {
        "/api/models/lab/gated": no(403, "GatedRepo"),
        "/api/models/lab/gated/revision/main": no(403, "GatedRepo"),
        "/api/models/lab/none": no(404, "RepoNotFound"),
        "/api/models/lab/none/revision/main": no(404, "RepoNotFound"),
        "/api/models/lab/other/revision/f00": no(404, "RevisionNotFound"),
    }
    told = asked(f"http://{server.host}", tmp_path, ("lab/gated", None), ("lab/none", None), ("lab/other", "f00"))
    assert "'lab/gated' is gated; accept its terms at https://huggingface.co/lab/gated and log in" in told["lab/gated"]
    assert "The hub has no model 'lab/none', or it is private; check the id and the login" in told["lab/none"]
    assert "'lab/other' has no revision 'f00'; look at its commits" in told["lab/other"]
    assert all(sentence.startswith("WeightsError") for sentence in told.values())


def test_a_hub_out_of_reach_is_said(tmp_path: Path) -> None:
    told = asked("http://127.0.0.1:9", tmp_path, ("lab/painter", None))
    assert "'lab/painter' could not be downloaded" in told["lab/painter"]
    assert "check the name and the network, or give a folder" in told["lab/painter"]


def test_a_folder_that_is_no_pipeline_is_said(tmp_path: Path) -> None:
    for name, reason in (("", "holds no model_index.json"), ("nowhere", "There is no folder")):
        place = str(tmp_path / name)
        with pytest.raises(WeightsError, match=reason):
            hub.fetched_pipeline(place, place, None, None, None)


def test_a_missing_package_is_said_with_the_line_that_gets_it() -> None:
    with pytest.raises(EnvironmentFault, match=r"adapters needs a package .*: pip install no_such_package"):
        hub.needs("no_such_package", "adapters")


def safetensors(file: Path, dtype: str, count: int, size: int) -> None:
    """A file whose header tells of so many numbers of so many bytes each; its body is left out, as nobody reads it."""
    header = json.dumps({"a": {"dtype": dtype, "shape": [count], "data_offsets": [0, count * size]}}).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(header).to_bytes(8, "little") + header)


def test_memory_is_counted_from_headers_as_it_will_be_loaded(tmp_path: Path) -> None:
    safetensors(tmp_path / "unet" / "model.safetensors", "F32", 1000, 4)
    safetensors(tmp_path / "unet" / "model.fp16.safetensors", "F16", 1000, 2)
    safetensors(tmp_path / "vae" / "model-00001-of-00002.safetensors", "BF16", 500, 2)
    safetensors(tmp_path / "single_file.safetensors", "F32", 10**9, 4)
    assert hub.weights_bytes(tmp_path, None, "float32") == 4 * 1500
    assert hub.weights_bytes(tmp_path, None, "bfloat16") == 2 * 1500
    assert hub.weights_bytes(tmp_path, "fp16", "float16") == 2 * 1000
    (tmp_path / "vae" / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(WeightsError, match=r"broken.safetensors.* is broken"):
        hub.weights_bytes(tmp_path, None, "float32")


def test_a_part_from_elsewhere_counts_in_memory(tmp_path: Path) -> None:
    from arena.backends.diffusers import DiffusersBackend

    whole, llama = tmp_path / "whole", tmp_path / "llama"
    safetensors(whole / "transformer" / "model.safetensors", "BF16", 1000, 2)
    (whole / "model_index.json").write_text("{}")
    safetensors(llama / "model-00001-of-00002.safetensors", "BF16", 10**15, 2)
    safetensors(llama / "model-00002-of-00002.safetensors", "F32", 10**15, 4)
    assert hub.part_bytes(llama, "bfloat16") == 4 * 10**15
    with pytest.raises(EnvironmentFault, match=r"take about 4000000.0 GB as bfloat16"):
        DiffusersBackend(
            str(whole), dtype="bfloat16", device="cpu", parts={"text_encoder_4": str(llama), "tokenizer_4": str(llama)}
        )
    with pytest.raises(WeightsError, match="could not be loaded"):  # a tokenizer alone takes no such memory
        DiffusersBackend(str(whole), dtype="bfloat16", device="cpu", parts={})
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(b"x" * 100)
    assert hub.part_bytes(tmp_path / "old", "float32") == 100


def test_the_narrowest_limit_around_a_container_counts(tmp_path: Path) -> None:
    """cgroup v2: a limit of an outer group holds too, and cached files give way."""
    own, root = tmp_path / "own", tmp_path / "groups"

    def group(path: str, most: str, used: int, cached: int = 0) -> None:
        (root / path).mkdir(parents=True, exist_ok=True)
        (root / path / "memory.max").write_text(most + "\n")
        (root / path / "memory.current").write_text(f"{used}\n")
        (root / path / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file 7\n")

    own.write_text("4:memory:/other\n0::/pod/box\n")
    assert hub.free_of_container(root, own) is None
    group("pod/box", "max", 500)
    assert hub.free_of_container(root, own) is None
    group("pod", "9000", 2000, 500)
    assert hub.free_of_container(root, own) == 7500
    group("pod/box", "3000", 2500)
    assert hub.free_of_container(root, own) == 500
    group("pod/box", "3000", 3100)
    assert hub.free_of_container(root, own) == 0
    own.write_text("0::/\n")  # inside, the group is the root of what is seen
    group("", "4000", 1000)
    assert hub.free_of_container(root, own) == 3000
    assert hub.free_of_container(root, tmp_path / "none") is None
    assert hub.free_of_container(root, root / "memory.max") is None


def test_a_containers_limit_is_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "free_of_container", lambda: 12345)
    assert hub.free_bytes("cpu") == 12345


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ModuleNotFoundError("No module named 'timm.data'", name="timm.data"), "get it by: pip install timm"),
        (ModuleNotFoundError("No module named 'bs4'", name="bs4"), "get it by: pip install beautifulsoup4"),
        (ImportError("\nT5Tokenizer requires the SentencePiece library but it was not found in your environment."),
         "get it by: pip install sentencepiece"),
        (ImportError("X requires the ftfy library; you can install it with pip: `pip install ftfy`. Restart."),
         "get it by: pip install ftfy"),
        (ImportError("Run `pip install -U transformers[torch]>=5`"), "get it by: pip install transformers[torch]>=5"),
        (ImportError("flash attention is not there"), "install the package that it names"),
    ],
)  # fmt: skip
def test_a_library_that_misses_a_package_is_said_with_the_line_that_gets_it(error: ImportError, line: str) -> None:
    assert hub.install_line(error) == line


def test_too_little_memory_is_said_before_it_is_used(tmp_path: Path) -> None:
    from arena.backends.diffusers import DiffusersBackend

    safetensors(tmp_path / "transformer" / "model.safetensors", "BF16", 10**15, 2)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(
        EnvironmentFault, match=r"take about 4000000.0 GB as float32, and .* GB are free .*try a smaller"
    ):
        DiffusersBackend(str(tmp_path), device="cpu")
    free = hub.free_bytes("cpu")
    assert free is None or free > 10**6
