"""Scores of tiny real networks against one pair at a time by hand, torchmetrics, and everything that can be missing."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from arena.domain import Prompt
from arena.errors import EnvironmentFault, ImageError, UnknownName, UsageError, WeightsError
from arena.plugins import resolve
from evaluators import EVALUATORS
from evaluators.alignment import recipes
from evaluators.alignment.recipes import RECIPES, SOURCES, Fit, find_weights
from evaluators.alignment.score import AlignmentResult, TextImageScore
from evaluators.alignment.towers import pixels
from tests.evaluators.alignment.conftest import PROMPTS, SIDE, WIDTH, clip_model, write_clip

CLOSE = 2e-5
"""Tolerance of values against networks run one pair at a time: float32 rounding of features, scaled as the values."""


@pytest.fixture
def evaluator(
    clip_folder: Path, pickscore_folder: Path, hps_checkpoint: Path, aesthetic_head: Path, tiny_hps: None
) -> Callable[..., TextImageScore]:
    """The evaluator of a name with tiny weights."""
    chosen = {
        "clipscore-l14": {"weights": clip_folder}, "clipscore-hessel": {"weights": clip_folder},
        "pickscore": {"weights": pickscore_folder}, "hpsv2.1": {"weights": hps_checkpoint},
        "aesthetic-laion-v2": {"weights": clip_folder, "head": aesthetic_head},
    }  # fmt: skip
    return lambda name, **settings: TextImageScore(name, **chosen[name], **settings)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    a, b = one.flatten().tolist(), other.flatten().tolist()
    return sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


def open_clip_cosines(model: torch.nn.Module, images: list[NDArray[np.uint8]], prefix: str = "") -> list[float]:
    """One pair at a time through open_clip's own preprocessing and tokenizer."""
    preprocess, tokenizer = image_transform_v2(PreprocessCfg(size=SIDE), is_train=False), open_clip.SimpleTokenizer()
    with torch.inference_mode():
        return [
            cosine(
                model.encode_image(preprocess(Image.fromarray(image))[None]),
                model.encode_text(tokenizer([prefix + prompt])),
            )
            for prompt, image in zip(PROMPTS, images, strict=True)
        ]


def test_clipscores_are_the_plain_ones(evaluator: Callable[..., TextImageScore], images: list[np.ndarray]) -> None:
    model = clip_model(0)
    plain = open_clip_cosines(model, images)
    found = evaluator("clipscore-l14").score(PROMPTS, images)
    np.testing.assert_allclose(found.values, [100 * max(c, 0) for c in plain], atol=100 * CLOSE)
    hessel = evaluator("clipscore-hessel").score(PROMPTS, images)
    prefixed = open_clip_cosines(model, images, "A photo depicts ")
    np.testing.assert_allclose(hessel.values, [2.5 * max(c, 0) for c in prefixed], atol=2.5 * CLOSE)
    assert max(abs(a - b) for a, b in zip(plain, prefixed, strict=True)) > 0.01, "the prefix is read"
    assert found.truncated.tolist() == [False, False, False, False, True, False]


def test_clipscore_is_clamped_image_by_image(tmp_path: Path, images: list[np.ndarray]) -> None:
    """Some of these cosines are negative: clamping their mean, as torchmetrics does, would give another figure."""
    folder = write_clip(tmp_path / "other", seed=5)
    plain = np.array(open_clip_cosines(clip_model(5), images))
    assert plain.min() < -0.01 and plain.max() > 0.01, "choose another seed"
    found = TextImageScore("clipscore-l14", weights=folder).score(PROMPTS, images)
    np.testing.assert_allclose(found.values, 100 * np.maximum(plain, 0), atol=100 * CLOSE)
    assert found.mean.value > max(0.0, 100 * plain.mean()) + 0.1


def test_pickscore_is_the_plain_one(
    evaluator: Callable[..., TextImageScore], pickscore_folder: Path, images: list[np.ndarray]
) -> None:
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(pickscore_folder).eval()
    preprocess, tokenizer = image_transform_v2(PreprocessCfg(size=SIDE), is_train=False), open_clip.SimpleTokenizer()
    plain = []
    with torch.inference_mode():
        for prompt, image in zip(PROMPTS, images, strict=True):
            both = model(
                pixel_values=preprocess(Image.fromarray(image))[None], input_ids=tokenizer([prompt]),
                attention_mask=(tokenizer([prompt]) > 0).long(),
            )  # fmt: skip
            plain.append(float(both.logits_per_image))
    found = evaluator("pickscore").score(PROMPTS, images)
    np.testing.assert_allclose(found.values, plain, atol=model.logit_scale.exp().item() * CLOSE)


def test_hps_is_the_plain_one(
    evaluator: Callable[..., TextImageScore], hps_checkpoint: Path, images: list[np.ndarray]
) -> None:
    model = open_clip.create_model("tiny-clip").eval()
    model.load_state_dict(torch.load(hps_checkpoint, weights_only=True)["state_dict"])
    tokenizer = open_clip.SimpleTokenizer()
    with torch.inference_mode():
        plain = [
            cosine(model.encode_image(pixels(image, SIDE, Fit.PAD)[None]), model.encode_text(tokenizer([prompt])))
            for prompt, image in zip(PROMPTS, images, strict=True)
        ]
    found = evaluator("hpsv2.1").score(PROMPTS, images)
    np.testing.assert_allclose(found.values, plain, atol=CLOSE)


def test_the_aesthetic_score_is_the_plain_one_and_reads_no_text(
    evaluator: Callable[..., TextImageScore], aesthetic_head: Path, images: list[np.ndarray]
) -> None:
    state = torch.load(aesthetic_head, weights_only=True)
    model, preprocess = clip_model(0), image_transform_v2(PreprocessCfg(size=SIDE), is_train=False)
    plain = []
    for image in images:
        with torch.inference_mode():
            x = model.encode_image(preprocess(Image.fromarray(image))[None])[0].double().numpy()
        x = x / np.sqrt((x**2).sum())
        for number in (0, 2, 4, 6, 7):
            x = state[f"layers.{number}.weight"].double().numpy() @ x + state[f"layers.{number}.bias"].double().numpy()
        plain.append(x[0])
    found = evaluator("aesthetic-laion-v2").score(PROMPTS, images)
    np.testing.assert_allclose(found.values, plain, atol=1e-4)  # five layers of numbers up to ten
    assert not found.truncated.any()
    assert (evaluator("aesthetic-laion-v2").score(["?"] * len(images), images).values == found.values).all()


# torchmetrics.


def torchmetrics_scorer(folder: Path):  # type: ignore[no-untyped-def]
    """torchmetrics' own code around the same weights and vocabulary.

    torchmetrics 1.9 takes transformers' features for tensors, which they are no more; hence the subclass.
    """
    from torchmetrics.functional.multimodal import clip_score
    from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    class Features(CLIPModel):
        def get_text_features(self, ids, mask):  # type: ignore[no-untyped-def]
            return super().get_text_features(ids, mask).pooler_output

        def get_image_features(self, values):  # type: ignore[no-untyped-def]
            return super().get_image_features(values).pooler_output

    bpe = open_clip.SimpleTokenizer()
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {ends.get(word, word): number for word, number in bpe.encoder.items()}
    processor = CLIPProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
        CLIPTokenizer(vocab=vocabulary, merges=list(bpe.bpe_ranks)),
    )
    model = Features.from_pretrained(folder).eval()

    def score(image: np.ndarray, prompt: str) -> float:
        tensor = torch.from_numpy(image).permute(2, 0, 1)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.filterwarnings("ignore", "Encountered caption longer")
            return float(clip_score(tensor, prompt, lambda: (model, processor)))

    return score


@pytest.fixture
def clipscore_of_pickscore(monkeypatch: pytest.MonkeyPatch, pickscore_folder: Path) -> TextImageScore:
    """CLIPScore with the tiny network in transformers' format, so that both sides hold the same weights."""
    recipe = replace(RECIPES["pickscore"], name="clipscore-l14", formula="100 max(cos, 0)")
    monkeypatch.setitem(recipes.RECIPES, "clipscore-l14", recipe)  # type: ignore[arg-type]
    return TextImageScore("clipscore-l14", weights=pickscore_folder)


def squares(count: int) -> list[np.ndarray]:
    """Of the network's own size, since transformers resizes tensors and not with Pillow."""
    return list(np.random.default_rng(4).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8))


def test_short_prompts_score_as_in_torchmetrics(clipscore_of_pickscore: TextImageScore, pickscore_folder: Path) -> None:
    theirs = torchmetrics_scorer(pickscore_folder)
    prompts = ["a photo of a cat", "a teddy bear, with a red hat!", "7 dogs", "cat " * 75]
    found = clipscore_of_pickscore.score(prompts, squares(4))
    assert not found.truncated.any()
    plain = [theirs(image, prompt) for image, prompt in zip(squares(4), prompts, strict=True)]
    # A single score is clamped at 0 there as here.
    np.testing.assert_allclose(found.values, np.maximum(plain, 0), atol=100 * CLOSE)


def test_long_prompts_lose_their_end_token_in_torchmetrics_and_here_they_do_not(
    clipscore_of_pickscore: TextImageScore, pickscore_folder: Path
) -> None:
    """Without its end a text is read at its first token, which is the same for all: long prompts score alike."""
    theirs = torchmetrics_scorer(pickscore_folder)
    image = squares(1)[0]
    prompts = ["cat " * 76, "a bear in a red hat " * 20, "cat " * 75]
    wrong = [theirs(image, prompt) for prompt in prompts]
    assert wrong[0] == pytest.approx(wrong[1], abs=100 * CLOSE)
    found = clipscore_of_pickscore.score(prompts, [image] * 3)
    assert found.truncated.tolist() == [True, True, False]
    assert found.values[0] == pytest.approx(found.values[2], abs=100 * CLOSE), "the 76th word is all that is lost"
    assert found.values[2] == pytest.approx(max(wrong[2], 0), abs=100 * CLOSE)
    assert abs(found.values[0] - found.values[1]) > 0.1
    assert abs(found.values[0] - max(wrong[0], 0)) > 0.1


# Whatever the batch, the order and the neighbours.


@pytest.mark.parametrize("name", RECIPES)
def test_batches_order_and_gaps_change_nothing(
    evaluator: Callable[..., TextImageScore], images: list[np.ndarray], name: str
) -> None:
    whole = evaluator(name).score(PROMPTS, images)
    assert np.isfinite(whole.values).all() and whole.values.std() > 0
    parts = evaluator(name, batch_size=2).score(PROMPTS, iter(images))
    size = np.abs(whole.values).max()
    np.testing.assert_allclose(parts.values, whole.values, atol=10 * CLOSE * size)
    assert parts.protocol.fingerprint == whole.protocol.fingerprint
    turned = evaluator(name).score(PROMPTS[::-1], images[::-1])
    np.testing.assert_allclose(turned.values[::-1], whole.values, atol=10 * CLOSE * size)
    gaps = [None, *images[1:3], None, *images[4:]]
    some = evaluator(name).score(PROMPTS, gaps)
    assert np.isnan(some.values).tolist() == [image is None for image in gaps] and some.unscored == 2
    np.testing.assert_allclose(some.values[[1, 2, 4, 5]], whole.values[[1, 2, 4, 5]], atol=10 * CLOSE * size)
    assert some.mean.n == 4 and some.as_json()["unscored"] == 2


def test_progress_is_reported_and_stops_the_work(
    evaluator: Callable[..., TextImageScore], images: list[np.ndarray]
) -> None:
    said = []
    evaluator("clipscore-l14", batch_size=2, progress=lambda *step: said.append(step)).score(PROMPTS, images)
    assert said[:3] == [("clipscore-l14 prompts", done, 5) for done in (2, 4, 5)], "five distinct prompts of six"
    assert said[3:] == [("clipscore-l14 images", done, 6) for done in (2, 4, 6)]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator("clipscore-l14", progress=stop).score(PROMPTS, images)


# The protocol.


@pytest.mark.parametrize("name", RECIPES)
def test_a_protocol_says_everything_that_changes_the_number(
    evaluator: Callable[..., TextImageScore], images: list[np.ndarray], name: str
) -> None:
    found = evaluator(name).score(PROMPTS, images).protocol
    assert found.id == f"{name}@{RECIPES[name].version}"
    assert len(found.settings["weights_sha256"]) == 64 and found.settings["network_dtype"] == "float32"
    assert ("formula" in found.settings) == ("text" in found.settings) == RECIPES[name].reads_text
    assert ("head_sha256" in found.settings) != RECIPES[name].reads_text
    library = "transformers" if name == "pickscore" else "open-clip-torch"
    assert {"torch", library} <= found.settings["packages"].keys()
    assert found.settings["packages"][library] == version(library)


def test_other_weights_are_another_fingerprint(tmp_path: Path, images: list[np.ndarray]) -> None:
    """Also under the same path: a file is known by its contents."""
    folder = write_clip(tmp_path / "clip", seed=1)
    before = TextImageScore("clipscore-l14", weights=folder).score(PROMPTS, images)
    again = TextImageScore("clipscore-l14", weights=str(folder)).score(PROMPTS, images)
    assert again.protocol.fingerprint == before.protocol.fingerprint and (again.values == before.values).all()
    write_clip(folder, seed=2)
    after = TextImageScore("clipscore-l14", weights=folder).score(PROMPTS, images)
    assert after.protocol.fingerprint != before.protocol.fingerprint
    assert np.abs(after.values - before.values).max() > 0.1


def test_recipes_and_the_table_of_evaluators_name_the_same() -> None:
    for name in RECIPES:
        made = resolve("evaluator", EVALUATORS, name)(batch_size=3)
        assert made == TextImageScore(name, batch_size=3)
    for recipe in RECIPES.values():
        assert recipe.weights in SOURCES and (not recipe.head or recipe.head in SOURCES)
    with pytest.raises(ValueError, match="a formula of"):
        replace(RECIPES["pickscore"], formula="cosine")


def test_results_become_scores(evaluator: Callable[..., TextImageScore], images: list[np.ndarray]) -> None:
    found = evaluator("clipscore-l14").score(PROMPTS, images)
    score = found.as_score("Teddy", contestant_id=3, run_id=4)
    assert (score.metric, score.value, score.contestant_id, score.run_id) == ("clipscore-l14", found.mean.value, 3, 4)
    assert score.protocol == found.protocol and score.unscored is None
    assert (score.details["n"], score.details["prompts"], score.details["truncated"]) == (6, 5, 1)
    assert score.details["low"] < score.value < score.details["high"]
    assert list(found.as_json())[:3] == ["clipscore-l14", "low", "high"]
    nothing = evaluator("clipscore-l14").score(["a", "b"], [None, None]).as_score("Teddy")
    assert nothing.value is None and nothing.unscored == "there is no image"
    one = evaluator("clipscore-l14").evaluate(Prompt(PROMPTS[0]), images[:1])
    assert one.subject == PROMPTS[0] and one.value == pytest.approx(found.values[0]) and one.details["low"] is None
    empty = evaluator("pickscore").score([], [])
    assert isinstance(empty, AlignmentResult) and empty.mean.value is None and empty.values.shape == (0,)


# What can go wrong.


def test_bad_input_is_refused_in_one_sentence(
    evaluator: Callable[..., TextImageScore], images: list[np.ndarray]
) -> None:
    clip = evaluator("clipscore-l14")
    for given, said in [(images[:2], "There are 2 images for 3 prompts"), (images, "There are more than 3 images")]:
        with pytest.raises(UsageError, match=said):
            clip.score(["a", "b", "c"], given)
    for bad in (images[0].astype(np.float32), images[0][..., 0], images[0][..., :1], images[0][:0]):
        with pytest.raises(ImageError, match=r"Image 1 is .*: give uint8 RGB arrays"):
            clip.score(["a", "b"], [images[0], bad])
    with pytest.raises(UsageError, match="batch_size must be at least 1, got 0"):
        evaluator("clipscore-l14", batch_size=0).score([], [])
    with pytest.raises(UnknownName, match="did you mean 'pickscore'"):
        TextImageScore("pikscore").score([], [])
    with pytest.raises(UsageError, match="Unknown device 'abacus'"):
        evaluator("clipscore-l14", device="abacus").score([], [])
    if not torch.cuda.is_available():
        with pytest.raises(EnvironmentFault, match="No device 'cuda' here"):
            evaluator("clipscore-l14", device="cuda").score([], [])


def test_weights_that_are_not_there_say_what_to_do(tmp_path: Path, clip_folder: Path) -> None:
    for name, source in SOURCES.items():
        with pytest.raises(WeightsError, match="cannot be downloaded") as caught:
            find_weights(name)
        assert f"hf download {source.repository}" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="look whether someone/clip is on the hub"):
        find_weights("clip-vit-l14", "someone/clip")
    with pytest.raises(WeightsError, match=r"has no open_clip_config\.json"):
        find_weights("clip-vit-l14", tmp_path)
    partly = tmp_path / "partly"
    shutil.copytree(clip_folder, partly)
    (partly / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no open_clip_model\.safetensors"):
        find_weights("clip-vit-l14", partly)


def test_a_repository_in_the_hubs_cache_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clip_folder: Path, images: list[np.ndarray]
) -> None:
    """The cache's own layout, without a network: blobs by hash, a snapshot of links, a reference to it."""
    import hashlib

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for repository in ("someone/tiny-clip", SOURCES["clip-vit-l14"].repository):
        kept = tmp_path / f"models--{repository.replace('/', '--')}"
        snapshot = kept / "snapshots" / ("a" * 40)
        for folder in (snapshot, kept / "blobs", kept / "refs"):
            folder.mkdir(parents=True)
        (kept / "refs" / "main").write_text("a" * 40)
        for file in clip_folder.iterdir():
            blob = kept / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(blob)
    local = TextImageScore("clipscore-l14", weights=clip_folder).score(PROMPTS, images)
    for weights in (None, "someone/tiny-clip"):
        found = TextImageScore("clipscore-l14", weights=weights).score(PROMPTS, images)
        assert found.protocol.fingerprint == local.protocol.fingerprint
        np.testing.assert_array_equal(found.values, local.values)


def test_damaged_weights_are_refused(
    tmp_path: Path,
    clip_folder: Path,
    pickscore_folder: Path,
    hps_checkpoint: Path,
    aesthetic_head: Path,
    tiny_hps: None,
) -> None:
    from safetensors.torch import load_file, save_file

    cut = tmp_path / "cut"
    shutil.copytree(clip_folder, cut)
    tensors = cut / "open_clip_model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="does not load as open_clip folder of clipscore-l14"):
        TextImageScore("clipscore-l14", weights=cut).score([], [])

    lacking = tmp_path / "lacking"
    shutil.copytree(pickscore_folder, lacking)
    state = load_file(lacking / "model.safetensors")
    del state["text_projection.weight"]
    save_file(state, lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"it lacks text_projection\.weight"):
        TextImageScore("pickscore", weights=lacking).score([], [])

    other = tmp_path / "other.pt"
    torch.save({"state_dict": {"a": torch.zeros(1)}}, other)
    with pytest.raises(WeightsError, match="does not load as open_clip checkpoint"):
        TextImageScore("hpsv2.1", weights=other).score([], [])

    wide = torch.load(aesthetic_head, weights_only=True) | {"layers.0.weight": torch.zeros(8, WIDTH + 1)}
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(WeightsError, match=f"an aesthetic head for {WIDTH} features"):
        TextImageScore("aesthetic-laion-v2", weights=clip_folder, head=tmp_path / "wide.pth").score([], [])
    del wide["layers.7.weight"], wide["layers.7.bias"]
    wide["layers.0.weight"] = torch.zeros(8, WIDTH)
    torch.save(wide, tmp_path / "two.pth")
    with pytest.raises(WeightsError, match="gives 2 numbers for an image"):
        TextImageScore("aesthetic-laion-v2", weights=clip_folder, head=tmp_path / "two.pth").score([], [])


def test_features_that_are_not_finite_give_no_number(tmp_path: Path, images: list[np.ndarray]) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_clip(tmp_path / "clip")
    state = load_file(folder / "open_clip_model.safetensors")
    state["visual.proj"] = torch.full_like(state["visual.proj"], torch.nan)
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(EnvironmentFault, match="NaN or infinite"):
        TextImageScore("clipscore-l14", weights=folder).score(PROMPTS, images)
