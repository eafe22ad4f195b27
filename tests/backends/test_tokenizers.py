"""A T5 tokenizer as PixArt's repository holds it: `spiece.model` and nothing else, with and without its reader."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from arena.backends import hub
from arena.backends.diffusers import DiffusersBackend
from arena.errors import EnvironmentFault
from tests.backends.families import FAMILIES

CALL = {"steps": 1, "height": 32, "width": 32, "device": "cpu", **FAMILIES["pixart-sigma"].settings}


def spiece(file: Path) -> None:
    """A sentencepiece model over letters; another process makes it, as two descriptions of its format clash in one."""
    program = """
import sys
from transformers.utils import sentencepiece_model_pb2_new as format
model = format.ModelProto()
pieces = [("<pad>", 3), ("</s>", 3), ("<unk>", 2), *((chr(97 + k), 1) for k in range(26)), (chr(0x2581), 1)]
for score, (text, kind) in enumerate(pieces):
    piece = model.pieces.add()
    piece.piece, piece.score, piece.type = text, -float(score), kind
model.trainer_spec.model_type, model.trainer_spec.unk_id = 1, 2
open(sys.argv[1], "wb").write(model.SerializeToString())
"""
    subprocess.run([sys.executable, "-c", program, str(file)], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pixart")
    torch.manual_seed(0)
    FAMILIES["pixart-sigma"].build().save_pretrained(made)
    index = json.loads((made / "model_index.json").read_text())
    (made / "model_index.json").write_text(json.dumps({**index, "tokenizer": ["transformers", "T5Tokenizer"]}))
    shutil.rmtree(made / "tokenizer")
    (made / "tokenizer").mkdir()
    spiece(made / "tokenizer" / "spiece.model")
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "model_max_length": 300, "legacy": True}
    (made / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    return made


def test_it_loads_and_draws_with_the_package_that_reads_it(folder: Path) -> None:
    backend = DiffusersBackend(str(folder), **CALL)
    assert backend.pipeline.tokenizer("a bear").input_ids[-1] == 1, "T5 ends with </s>"
    assert len({*backend.pipeline.tokenizer("bear").input_ids}) >= 4, "letters are read, not unknown words"
    first, other = (backend.generate([prompt], [1])[0].tobytes() for prompt in ("a bear", "zzz qqq"))
    assert first != other


def test_without_that_package_the_line_that_gets_it_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"The tokenizer in 'tokenizer' needs .*: pip install sentencepiece$"):
        DiffusersBackend(str(folder), **CALL)


def test_a_tokenizer_that_is_whole_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T5 as Stable Diffusion 3.5 and HiDream have it: both files."""
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    for name in ("spiece.model", "tokenizer.json"):
        (tmp_path / name).write_text("")
    hub.needs_of_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(EnvironmentFault, match="pip install sentencepiece"):
        hub.needs_of_tokenizer(tmp_path)
