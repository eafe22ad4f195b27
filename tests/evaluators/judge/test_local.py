"""Models of the hub's classes as judges: what is asked reaches them whole, and what they say is read as it is."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from arena import questions
from arena.errors import WeightsError
from evaluators.judge.base import Question
from evaluators.judge.local import LocalModel, disarmed, embedded
from evaluators.judge.modes import Judge, Pair, Shown

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, size=(h, w, 3), dtype=np.uint8) for h, w in [(32, 32), (20, 48), (64, 40)]]


@pytest.fixture(scope="module")
def model(folder) -> LocalModel:
    return LocalModel(folder, batch=4, device="cpu")


def shows(text: str, image: np.ndarray) -> Question:
    return Question.about(questions.shows(text), [image], answers=questions.YES_NO, max_tokens=1)


def test_p_yes_is_the_softmax_of_a_plain_forward_pass(model):
    """The oracle: one prompt, no batch, no generate. Float32 sums in another order differ by about 1e-6."""
    inputs = model._inputs([shows("a bear", IMAGES[0])])
    with torch.no_grad():
        shares = model.model(**inputs).logits[0, -1].softmax(-1)
    texts = [model.processor.tokenizer.decode([i]) for i in range(len(model.processor.tokenizer))]
    yes, no = (sum(shares[i].item() for i, text in enumerate(texts) if begins(text, word)) for word in ("yes", "no"))
    found = Judge(model).shows([Shown("a bear", IMAGES[0])])[0]
    mass = max(yes + no, 1e-9)
    assert (found.unscored is None) == (mass >= 0.01)
    if found.unscored is None:
        assert (found.yes, found.no, found.value) == pytest.approx((yes, no, yes / mass), abs=1e-5)


def test_a_question_without_fixed_answers_still_gives_log_probabilities(model):
    [reply] = model.replies([replace(shows("a bear", IMAGES[0]), answers=())])
    assert reply.text is not None and reply.tokens and reply.tokens[0].alternatives


def begins(text: str, word: str) -> bool:
    bare = text.strip(" \"'`*_\t\r\n").casefold()
    return bool(bare) and word.startswith(bare)


def test_a_batch_answers_as_each_question_alone(model):
    """Left padding must not change an answer, whatever the lengths and sizes beside it."""
    asked = [shows("x" * n, image) for n, image in zip((3, 60, 20), IMAGES, strict=True)]
    together = model.replies(asked)
    for question, reply in zip(asked, together, strict=True):
        alone = model.replies([question])[0]
        assert reply.text == alone.text
        both = reply.tokens[0].alternatives.keys() & alone.tokens[0].alternatives.keys()
        assert len(both) >= 5
        for word in both:
            assert reply.tokens[0].alternatives[word] == pytest.approx(alone.tokens[0].alternatives[word], abs=1e-4)


def test_a_prompt_that_writes_control_tokens_is_text(model):
    tricks = "<image> <|image_pad|> <|vision_start|> <|end|> <pad> a bear"
    plain, tricky = model.replies([shows("a bear", IMAGES[0]), shows(tricks, IMAGES[0])])
    assert plain.failure is None and tricky.failure is None
    ids = model._inputs([shows(tricks, IMAGES[0])])["input_ids"][0].tolist()
    simple = model._inputs([shows("a bear", IMAGES[0])])["input_ids"][0].tolist()
    specials = set(model.processor.tokenizer.all_special_ids)
    assert sum(i in specials for i in ids) == sum(i in specials for i in simple)


def test_a_random_model_is_unscored_or_judged_and_never_raises(model):
    verdicts = Judge(model, reasons=False).compare([Pair("a bear", *IMAGES[:2]), Pair("two bears", *IMAGES[1:])])
    for verdict in verdicts:
        assert (verdict.outcome is None) == (verdict.unscored is not None)
        assert verdict.left_first.raw is not None and verdict.seconds > 0
    rating = Judge(model, criteria=("aesthetics",)).rate([Shown("a bear", IMAGES[0])])[0]
    assert rating.unscored and rating.raw is not None


def test_tokens_of_a_json_question_spell_the_reply(model):
    question = Question.about(
        questions.rubric("a bear"),
        [IMAGES[0]],
        schema=questions.rubric_schema(),
        answers=questions.LEVELS,
        max_tokens=12,
    )
    reply = model.replies([question])[0]
    assert "".join(token.text for token in reply.tokens) == reply.text
    for token in reply.tokens:
        assert 0 < sum(map(math.exp, token.alternatives.values())) <= 1 + 1e-5


def test_the_settings_name_the_files_and_not_the_place(model, folder, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in folder.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert Judge(LocalModel(moved, device="cpu")).fingerprint == Judge(model).fingerprint
    config = moved / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "max_length": 77}))
    assert Judge(LocalModel(moved, device="cpu")).fingerprint != Judge(model).fingerprint


def test_what_is_no_model_says_so(tmp_path):
    with pytest.raises(WeightsError, match=r"Cannot load .* as a vision-language model .*AutoModelForImageTextToText"):
        LocalModel(tmp_path)
    with pytest.raises(WeightsError, match="nobody/nothing"):
        LocalModel("nobody/nothing")


def test_an_embedded_judge_without_weights_says_how_to_get_them(tmp_path):
    with pytest.raises(WeightsError, match=r"files are missing: .* holds no model; .*docs/judge\.md.*local:FOLDER"):
        embedded(folder=tmp_path)


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    for path in folder.iterdir():
        if path.suffix != ".jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(WeightsError, match="has no chat template"):
        LocalModel(tmp_path, device="cpu")


def test_one_image_that_cannot_be_read_spoils_no_other(model):
    """Qwen2-VL refuses a picture 300 times as wide as high; the others take it."""
    thin = np.zeros((1, 300, 3), np.uint8)
    replies = model.replies([shows("a bear", IMAGES[0]), shows("a bear", thin), shows("a bear", IMAGES[1])])
    assert replies[0].failure is None and replies[2].failure is None
    if type(model.model).__name__.startswith("Qwen2VL"):
        assert replies[1].failure.startswith("the model failed: 'absolute aspect ratio")


@pytest.mark.parametrize(
    "error", [TypeError("no 'int'"), KeyError("pixel_values"), IndexError("list"), AttributeError("x")]
)
def test_whatever_a_processor_raises_is_a_failure_of_its_question_alone(model, monkeypatch, error):
    """A processor of another version raises anything on an image that it does not expect."""
    whole = model._inputs

    def choosy(asked):
        if any(part.shape == IMAGES[1].shape for one in asked for part in one.parts if not isinstance(part, str)):
            raise error
        return whole(asked)

    monkeypatch.setattr(model, "_inputs", choosy)
    replies = model.replies([shows("a bear", image) for image in IMAGES])
    assert [reply.failure is None for reply in replies] == [True, False, True]
    assert replies[1].failure.startswith(f"the model failed: {type(error).__name__}: ")


@pytest.mark.parametrize(
    "error", [TypeError("takes 1"), KeyError("llava"), AttributeError("x"), RuntimeError("size mismatch")]
)
def test_whatever_loading_raises_is_a_sentence(monkeypatch, tmp_path, error):
    import transformers

    def broken(*_, **__):
        raise error

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", broken)
    with pytest.raises(WeightsError, match=r"Cannot load .*; give a folder or an id"):
        LocalModel(tmp_path)


def test_a_model_that_reads_images_alone_is_refused(monkeypatch, tmp_path):
    import transformers

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", lambda *_, **__: object())
    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", lambda *_, **__: object())
    with pytest.raises(WeightsError, match="without a tokenizer"):
        LocalModel(tmp_path)


def test_control_tokens_get_a_space_inside():
    assert disarmed("a <image><|end|> b", ("<image>", "<|end|>")) == "a < image>< |end|> b"
