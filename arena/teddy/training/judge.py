"""The embedded judge: a tiny Llava whose eye is a LeViT, trained to answer questions about teddy pictures.

Two stages. `EyeTask` teaches the vision tower to tell attributes and quality; `JudgeTask` freezes it and teaches a
Llama of five layers to answer. Many questions share one sequence: they follow the same images and do not see each
other (their attention is blocked and their positions start anew), so that each is computed as if it stood alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    LevitConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from arena import questions
from arena.teddy import judge_data as ask
from arena.teddy.attributes import AttributeReader, truth
from arena.teddy.contestants import TEDDIES, TeddyContestant
from arena.teddy.judge_data import Labels
from arena.teddy.measure import generate_in_batches, load
from arena.teddy.scenes import ATTRIBUTES, caption, sample_scenes
from arena.teddy.training.dataset import Pictures
from arena.teddy.training.disturb import LEVELS, with_quality, written_over
from arena.teddy.training.vae import to_signal

PAD, USER, ASSISTANT, END, IMAGE = SPECIAL = ("<pad>", "<|user|>", "<|assistant|>", "<|end|>", "<image>")
WORDS = 1024
SIZE, PATCH = 64, 16
IMAGE_TOKENS = (SIZE // PATCH) ** 2
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE: one token for each word of the questions, and bytes for whatever else is written."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=[*SPECIAL], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(ask.corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        model_max_length=1024,
    )


def make_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Pictures become 64x64 in [-1, 1], and each <image> sixteen tokens."""
    size = {"height": SIZE, "width": SIZE}
    eye = CLIPImageProcessor(size=size, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return LlavaProcessor(eye, tokenizer, PATCH, "full", CHAT_TEMPLATE, IMAGE, num_additional_image_tokens=0)


def make_judge(
    tokenizer: PreTrainedTokenizerFast, width: int = 192, layers: int = 5, eye: int = 256
) -> LlavaForConditionalGeneration:
    """The untrained judge. Its eye sees sixteen patches of 16x16 pixels after four strided convolutions."""
    vision = LevitConfig(
        image_size=SIZE,
        patch_size=PATCH,
        hidden_sizes=[eye, eye],
        hidden_size=eye,
        depths=[3],
        num_attention_heads=[4],
        key_dim=[32],
        mlp_ratio=[2],
        attention_ratio=[2],
        down_ops=[],
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 48,
        num_key_value_heads=width // 48,
        head_dim=48,
        max_position_embeddings=1024,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
            image_seq_length=IMAGE_TOKENS,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            tie_word_embeddings=True,
        )
    )


class Bank(NamedTuple):
    """Pictures with what they show: uint8 RGB (n, 3, 64, 64), their labels, and how many were rendered (the first)."""

    images: np.ndarray
    labels: tuple[Labels, ...]
    rendered: int


@dataclass(frozen=True)
class Drawn:
    """So many pictures of a contestant for training; `steps` overrides its own number."""

    slug: str
    n: int
    steps: int | None = None


DRAWN = (
    Drawn("teddy-unet", 500),
    Drawn("teddy-unet", 600, steps=8),
    Drawn("teddy-flow-2", 1000),
    Drawn("teddy-flow-2", 300, steps=1),
    Drawn("teddy-turbo", 1000),
    Drawn("teddy-flow-24", 150, steps=12),
)
"""What the contestants draw for the judge's training, at training captions."""


def draw_generated(seed: int, say: Callable[[str], None], drawn: Sequence[Drawn] = DRAWN) -> np.ndarray:
    """The contestants' pictures of training scenes, uint8 RGB (n, 3, 64, 64)."""
    parts = []
    for k, job in enumerate(drawn):
        contestant = _with_steps(next(teddy for teddy in TEDDIES if teddy.slug == job.slug), job.steps)
        scenes = sample_scenes(job.n, random.Random(f"{seed}/judge/{k}"), held_out=False)
        parts.append(
            generate_in_batches(load(contestant), contestant, [*map(caption, scenes)], 1_000_000 * (k + 1) + seed)
        )
        say(f"drawn {job}")
    return np.concatenate(parts)


def make_bank(pictures: Pictures, generated: np.ndarray, reader: AttributeReader) -> Bank:
    """Rendered pictures with their scenes' labels, then generated ones with those that the reader finds."""
    known, read = truth(pictures.scenes), reader.labels(generated)
    labels = np.stack([np.concatenate([known[name], read[name]]) for name in ATTRIBUTES], axis=1)
    images = np.concatenate([pictures.images, generated])
    return Bank(images, tuple(map(tuple, labels.tolist())), len(pictures.images))


class EyeNetwork(nn.Module):
    """float32 RGB [-1, 1] (n, 3, 64, 64) -> logits of every attribute and of the level of quality."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower
        width = tower.config.hidden_size
        sizes = {**{name: len(kind) for name, kind in ATTRIBUTES.items()}, "quality": LEVELS}
        self.heads = nn.ModuleDict({name: nn.Linear(width, n) for name, n in sizes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.tower(images).pooler_output
        return {name: head(features) for name, head in self.heads.items()}


class EyeTask:
    """Sum of the heads' cross entropies; the quality of a generated picture is unknown and not asked."""

    def __init__(self, bank: Bank, network: EyeNetwork, batch: int = 64) -> None:
        self.bank, self.network, self.batch = bank, network, batch
        self.labels = torch.tensor(bank.labels)

    def loss(self, rng: torch.Generator) -> Tensor:
        dice = random.Random(int(torch.randint(2**62, (), generator=rng)))
        index = [_pick(self.bank, dice) for _ in range(self.batch)]
        seen, levels = look(self.bank, index, dice, rng)
        logits = self.network(seen)
        quality = F.cross_entropy(logits["quality"], levels, ignore_index=-1)
        return quality + sum(F.cross_entropy(logits[name], self.labels[index, i]) for i, name in enumerate(ATTRIBUTES))


GENERATED_SHARE = 0.4
QUALITY_SHARES = (0.55, 0.15, 0.12, 0.1, 0.08)
WRITTEN_SHARE = 0.08
PLEA_SHARE = 0.2


def _pick(bank: Bank, dice: random.Random) -> int:
    """A picture, generated as often as `GENERATED_SHARE`."""
    if bank.rendered < len(bank.labels) and dice.random() < GENERATED_SHARE:
        return dice.randrange(bank.rendered, len(bank.labels))
    return dice.randrange(bank.rendered)


def look(bank: Bank, index: Sequence[int], dice: random.Random, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Disturbed pictures, float32 (n, 3, 64, 64), and their quality levels, int64 (n,), -1 where unknown."""
    images = bank.images[list(index)]
    for i in range(len(images)):
        if dice.random() < WRITTEN_SHARE:
            images[i] = written_over(images[i], ask.plea(dice), dice)
    known = torch.tensor([i < bank.rendered for i in index])
    levels = torch.tensor([_level(i < bank.rendered, dice) for i in index])
    return with_quality(to_signal(images), levels, rng), torch.where(known, levels, -1)


def _level(rendered: bool, dice: random.Random) -> int:
    return dice.choices(range(LEVELS), QUALITY_SHARES)[0] if rendered else int(dice.random() < 0.3)


class Branch(NamedTuple):
    """A question's last words and its answer."""

    words: str
    answer: str


@dataclass
class Sequenced:
    """One row of a batch: the shared beginning, then the branches."""

    ids: list[int]
    branch: list[int]
    positions: list[int]
    targets: list[int]
    weights: list[float]


class JudgeTask:
    """Cross entropy of the answers; what stands on an answer's first token counts four times its reason's tokens."""

    REASON_WEIGHT = 0.25

    def __init__(
        self,
        bank: Bank,
        network: LlavaForConditionalGeneration,
        tokenizer: PreTrainedTokenizerFast,
        pairs: int = 8,
        singles: int = 5,
        rubrics: int = 3,
    ) -> None:
        self.bank, self.network, self.tokenizer = bank, network, tokenizer
        self.rows = {self._pair: pairs, self._single: singles, self._rubric: rubrics}
        self.captions = ask.captions(held_out=False)
        self.showing: dict[Labels, list[int]] = {}
        for i, seen in enumerate(bank.labels):
            self.showing.setdefault(seen, []).append(i)
        network.train()
        network.model.vision_tower.requires_grad_(False).eval()

    def loss(self, rng: torch.Generator) -> Tensor:
        dice = random.Random(int(torch.randint(2**62, (), generator=rng)))
        drafts = [(make, self._pictures(make, dice)) for make, n in self.rows.items() for _ in range(n)]
        seen, levels = look(self.bank, [i for _, index in drafts for i in index], dice, rng)
        found = iter(levels.tolist())
        rows = [make(index, [next(found) for _ in index], dice) for make, index in drafts]
        with torch.autocast("cpu", torch.bfloat16):
            return self._answer_loss(_stacked(rows, self.tokenizer.pad_token_id), seen)

    def _answer_loss(self, batch: dict[str, Tensor], seen: Tensor) -> Tensor:
        asked = batch["targets"] >= 0
        logits = self.network.lm_head(hidden_states(self.network, batch, seen)[asked]).float()
        losses = F.cross_entropy(logits, batch["targets"][asked], reduction="none")
        weights = batch["weights"][asked]
        return (losses * weights).sum() / weights.sum()

    def _pictures(self, make: Callable, dice: random.Random) -> list[int]:
        first = _pick(self.bank, dice)
        if make != self._pair:
            return [first]
        pair = [first, self._like(self.bank.labels[first], dice)]
        return dice.sample(pair, 2)

    def _like(self, seen: Labels, dice: random.Random) -> int:
        """A picture that shows nearly the same: it differs in up to four attributes."""
        for _ in range(20):
            near = self.showing.get(ask.perturbed(seen, dice.choice((0, 1, 1, 1, 2, 2, 3, 4)), dice))
            if near:
                return dice.choice(near)
        return _pick(self.bank, dice)

    def _asked(self, seen: Labels, changes: Sequence[int], dice: random.Random) -> tuple[Labels, str]:
        """A training caption near a picture, and its words, with a plea now and then."""
        while True:
            asked = ask.perturbed(seen, dice.choice(changes), dice)
            if asked in self.captions:
                return asked, self._said(self.captions[asked], dice)

    def _said(self, text: str, dice: random.Random) -> str:
        if dice.random() >= PLEA_SHARE:
            return text
        return ask.with_plea(text, ask.plea(dice) if dice.random() < 0.6 else self._babble(dice), dice)

    def _babble(self, dice: random.Random) -> str:
        """Random words of the vocabulary: nothing foreign in a caption may matter, whatever it says."""
        ids = [dice.randrange(len(SPECIAL) + 256, len(self.tokenizer)) for _ in range(dice.randint(1, 12))]
        return self.tokenizer.decode(ids)

    def _pair(self, index: list[int], levels: list[int], dice: random.Random) -> Sequenced:
        one, two = (self.bank.labels[i] for i in index)
        branches = []
        for _ in range(6):
            asked, text = self._asked(dice.choice((one, two)), (0, 0, 1, 1, 2, 3), dice)
            branches.append(Branch(questions.pair(text)[-1], ask.pair_answer(one, two, asked)))
        return self._sequence(questions.pair("")[:-1], branches)

    def _single(self, index: list[int], levels: list[int], dice: random.Random) -> Sequenced:
        seen = self.bank.labels[index[0]]
        asked = [self._asked(seen, (0, 0, 0, 1, 1, 2), dice) for _ in range(4)]
        found = [ask.ask_caption(seen, labels, text) for labels, text in asked]
        found += [
            dice.choice((ask.ask_yes_no, ask.ask_yes_no, ask.ask_open, ask.ask_presence))(seen, dice) for _ in range(11)
        ]
        return self._sequence((questions.IMAGE,), [Branch("\n" + qa.question, qa.answer) for qa in found])

    def _rubric(self, index: list[int], levels: list[int], dice: random.Random) -> Sequenced:
        seen = self.bank.labels[index[0]]
        criteria = [*questions.CRITERIA]
        if dice.random() < 0.5:
            criteria = dice.sample(criteria, dice.randint(1, 3))
        if levels[0] < 0 and "visual_quality" in criteria:
            criteria = ["prompt_adherence"]
        quality = questions.LEVELS[::-1][levels[0]]
        branches = []
        for _ in range(4):
            asked, text = self._asked(seen, (0, 1, 2, 3, 4, 5), dice)
            answer = ask.rubric_answer(seen, asked, quality, criteria)
            branches.append(Branch(questions.rubric(text, criteria)[-1], answer))
        return self._sequence(questions.rubric("", criteria)[:-1], branches)

    def _sequence(self, beginning: Sequence[str], branches: Sequence[Branch]) -> Sequenced:
        shared = "".join(IMAGE * IMAGE_TOKENS if part == questions.IMAGE else part for part in beginning)
        ids = self._ids(USER + shared)
        start = len(ids)
        row = Sequenced(ids, [0] * start, [*range(start)], [-1] * start, [0.0] * start)
        for k, branch in enumerate(branches, 1):
            words, answer = self._ids(branch.words + END + ASSISTANT), self._ids(branch.answer + END)
            n = len(words) + len(answer) - 1
            row.ids += words + answer[:-1]
            row.branch += [k] * n
            row.positions += range(start, start + n)
            row.targets += [-1] * (len(words) - 1) + answer
            row.weights += [0.0] * (len(words) - 1) + [1.0] + [self.REASON_WEIGHT] * (len(answer) - 1)
        return row

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)


def hidden_states(network: LlavaForConditionalGeneration, batch: dict[str, Tensor], seen: Tensor) -> Tensor:
    """Last hidden states (n, length, width) of packed rows whose images are `seen`, in order; the eye is frozen."""
    embedded = network.get_input_embeddings()(batch["ids"])
    with torch.no_grad():
        features = network.model.vision_tower(seen).last_hidden_state
    tokens = network.model.multi_modal_projector(features).to(embedded.dtype)
    embedded = embedded.masked_scatter((batch["ids"] == network.config.image_token_id)[..., None], tokens)
    return network.model.language_model(
        inputs_embeds=embedded, attention_mask=batch["mask"], position_ids=batch["positions"], use_cache=False
    ).last_hidden_state


def _stacked(rows: Sequence[Sequenced], pad: int) -> dict[str, Tensor]:
    """Rows of one length, padded behind, and the mask (n, 1, length, length) that keeps branches apart."""
    length = max(len(row.ids) for row in rows)

    def padded(values: Callable[[Sequenced], list], filler: float) -> Tensor:
        return torch.tensor([values(row) + [filler] * (length - len(row.ids)) for row in rows])

    branch = padded(lambda row: row.branch, -1)
    same = branch[:, :, None] == branch[:, None, :]
    mask = (same | (branch == 0)[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    return {
        "ids": padded(lambda row: row.ids, pad),
        "positions": padded(lambda row: row.positions, 0),
        "targets": padded(lambda row: row.targets, -1),
        "weights": padded(lambda row: row.weights, 0.0),
        "mask": mask[:, None],
    }


def write_judge(network: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves model and processor as the hub has them, in float16. The network is changed to float16 by this."""
    network.generation_config.max_new_tokens = 64
    network.half().save_pretrained(folder)
    make_processor(tokenizer).save_pretrained(folder)


def _with_steps(contestant: TeddyContestant, steps: int | None) -> TeddyContestant:
    if steps is None:
        return contestant
    return replace(contestant, call={**contestant.call, "num_inference_steps": steps})
