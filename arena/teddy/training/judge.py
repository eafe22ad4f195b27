"""The embedded judge: a tiny Llava whose eye is a LeViT, trained to answer questions about teddy pictures.

`EyeTask` teaches the vision tower to tell attributes and quality; `JudgeTask` freezes it and teaches a small Llama to
answer. Many questions share one sequence: they follow the same images and do not see each other (their attention is
apart and their positions start anew), so that each is computed as if it stood alone.

A caption is judged by seven comparisons at once, and a verdict alone says next to nothing about which of them failed.
So `Pupil` is given hints: where the words of a caption end, after half of its layers, it has to know whether each image
shows them. The hints' weights are left out of what ships.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
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
    tokenizer: PreTrainedTokenizerFast, width: int = 128, layers: int = 5, eye: int = 256
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
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=1024,
        initializer_range=0.04,
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


@torch.no_grad()
def give_eye(network: LlavaForConditionalGeneration, eye: EyeNetwork, tokenizer: PreTrainedTokenizerFast) -> None:
    """Puts a trained eye in, and lets the projector start as its dictionary.

    The first rows of the projector are the eye's heads, and what each of them finds is written as the embedding of the
    word for it: an image begins as the words of what it shows. Training goes on from there.
    """
    network.model.vision_tower.load_state_dict(eye.tower.state_dict())
    projector, embedding = network.model.multi_modal_projector, network.get_input_embeddings()
    spoken = [_spoken(value) for kind in ATTRIBUTES.values() for value in kind] + [*questions.LEVELS[::-1]]
    words = torch.stack([embedding(torch.tensor(_ids(tokenizer, " " + text))).mean(0) for text in spoken])
    projector.linear_1.weight[: len(spoken)] = torch.cat([head.weight for head in eye.heads.values()])
    projector.linear_1.bias[: len(spoken)] = torch.cat([head.bias for head in eye.heads.values()])
    projector.linear_2.weight[:, : len(spoken)] = words.T


def _spoken(value: StrEnum) -> str:
    return ask.telling(value) or str(value)


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
PLEA_SHARE = 0.35
ABSENT_SHARE = 0.4
"""How often a change takes a hat, glasses or a held thing away: what is missing is the hardest to see."""


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
    """A question's last words, its answer, and what it hints at, if it asks about a caption.

    `caption` stands in the words and asks for `asked`; `seen` holds what each image shows.
    """

    words: str
    answer: str
    caption: str = ""
    asked: Labels = ()
    seen: tuple[Labels, ...] = ()


class Hint(NamedTuple):
    """At this token, the image (0 or 1) has the attribute right or not."""

    token: int
    image: int
    attribute: int
    right: bool


HINT_LAYER = 3
"""So many layers may look at the images before it has to be known what is right."""


class Pupil(nn.Module):
    """The judge in training: at the words of a caption it also says whether the images have them right."""

    def __init__(self, judge: LlavaForConditionalGeneration) -> None:
        super().__init__()
        self.judge = judge
        self.hints = nn.Linear(judge.config.text_config.hidden_size, 2 * len(ATTRIBUTES))


class Row(NamedTuple):
    """One beginning with its images, and the branches that follow it, each apart from the others."""

    beginning: tuple[str, ...]
    branches: tuple[Branch, ...]


class JudgeTask:
    """Cross entropy of the answers and of the hints. An answer's first token counts twice as much as one of its
    reason's, and one hint as much as a first token."""

    REASON_WEIGHT = 0.5
    ROWS = MappingProxyType({"_pair": 7, "_single": 3, "_caption": 3, "_rubric": 1})
    WORDS = MappingProxyType({"_single": 8, "_caption": 8})
    """The rows of the first lessons: one image, its attributes and its captions."""

    def __init__(
        self,
        bank: Bank,
        network: Pupil,
        tokenizer: PreTrainedTokenizerFast,
        rows: Mapping[str, int] = ROWS,
    ) -> None:
        self.bank, self.network, self.tokenizer = bank, network, tokenizer
        self.rows = {getattr(self, name): n for name, n in rows.items()}
        self.captions = ask.captions(held_out=False)
        self.showing: dict[Labels, list[int]] = {}
        for i, seen in enumerate(bank.labels):
            self.showing.setdefault(seen, []).append(i)
        network.train()
        network.judge.model.language_model.set_attn_implementation(ATTENTION)
        network.judge.model.vision_tower.requires_grad_(False).eval()

    def loss(self, rng: torch.Generator) -> Tensor:
        dice = random.Random(int(torch.randint(2**62, (), generator=rng)))
        with torch.autocast("cpu", torch.bfloat16):
            parts = [self._row_losses(make, n, dice, rng) for make, n in self.rows.items()]
        weights = sum(weight for _, weight in parts)
        return sum(losses for losses, _ in parts) / weights

    def _row_losses(self, make: Callable, n: int, dice: random.Random, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Summed weighted losses of `n` rows of one kind, and the sum of the weights."""
        index = [self._pictures(make, dice) for _ in range(n)]
        seen, levels = look(self.bank, [i for row in index for i in row], dice, rng)
        found = iter(levels.tolist())
        batch = packed(self.tokenizer, make(index, [[next(found) for _ in row] for row in index], dice))
        asked = batch.targets >= 0
        judge = self.network.judge
        states, halfway = hidden_states(judge, batch, seen)
        losses = F.cross_entropy(judge.lm_head(states[asked]).float(), batch.targets[asked], reduction="none")
        hints = self._hint_losses(halfway, batch.hints)
        return (losses * batch.weights[asked]).sum() + hints.sum(), batch.weights.sum() + hints.numel()

    def _hint_losses(self, states: Tensor, hints: Tensor) -> Tensor:
        """(k,) of states (n, length, width) and hints (k, 4): row, token, output, right."""
        row, token, output, right = hints.T
        logits = self.network.hints(states[row, token]).float()
        return F.binary_cross_entropy_with_logits(
            logits.gather(1, output[:, None])[:, 0], right.float(), reduction="none"
        )

    def _pictures(self, make: Callable, dice: random.Random) -> list[int]:
        first = _pick(self.bank, dice)
        if make != self._pair:
            return [first]
        pair = [first, self._like(self.bank.labels[first], dice)]
        return dice.sample(pair, 2)

    def _like(self, seen: Labels, dice: random.Random) -> int:
        """A picture that shows nearly the same: it differs in up to four attributes."""
        for _ in range(20):
            near = self.showing.get(ask.perturbed(seen, dice.choice((0, 1, 1, 1, 2, 2, 3, 4)), dice, ABSENT_SHARE))
            if near:
                return dice.choice(near)
        return _pick(self.bank, dice)

    def _asked(self, seen: Labels, changes: Sequence[int], plead: bool, dice: random.Random) -> tuple[Labels, str]:
        """A training caption near a picture, and its words, every other time with a plea if there are to be any."""
        while True:
            asked = ask.perturbed(seen, dice.choice(changes), dice, ABSENT_SHARE)
            if asked in self.captions:
                text = self.captions[asked]
                return asked, self._with_plea(text, dice) if plead and dice.random() < 0.5 else text

    def _with_plea(self, text: str, dice: random.Random) -> str:
        return ask.with_plea(text, ask.plea(dice) if dice.random() < 0.6 else self._babble(dice), dice)

    def _babble(self, dice: random.Random) -> str:
        """Random words of the vocabulary: nothing foreign in a caption may matter, whatever it says."""
        ids = [dice.randrange(len(SPECIAL) + 256, len(self.tokenizer)) for _ in range(dice.randint(1, 10))]
        return self.tokenizer.decode(ids)

    def _pair(self, index: list[list[int]], levels: list[list[int]], dice: random.Random) -> list[Row]:
        # Pleas make long rows, so a batch has some or none.
        plead = dice.random() < PLEA_SHARE
        return [self._pair_row(*(self.bank.labels[i] for i in both), plead, dice) for both in index]

    def _pair_row(self, one: Labels, two: Labels, plead: bool, dice: random.Random) -> Row:
        asked = [self._asked(dice.choice((one, two)), (0, 0, 1, 1, 2, 3), plead, dice) for _ in range(8)]
        branches = [
            Branch(
                questions.pair(text)[-1], ask.pair_answer(one, two, labels), self.captions[labels], labels, (one, two)
            )
            for labels, text in asked
        ]
        return Row(questions.pair("")[:-1], tuple(branches))

    def _single(self, index: list[list[int]], levels: list[list[int]], dice: random.Random) -> list[Row]:
        rows = []
        for (i,) in index:
            kinds = dice.choices((ask.ask_yes_no, ask.ask_open, ask.ask_presence), (2, 1, 1), k=12)
            branches = [_answered(kind(self.bank.labels[i], dice)) for kind in kinds]
            rows.append(Row((questions.IMAGE,), tuple(branches)))
        return rows

    def _caption(self, index: list[list[int]], levels: list[list[int]], dice: random.Random) -> list[Row]:
        rows, plead = [], dice.random() < PLEA_SHARE
        for (i,) in index:
            seen = self.bank.labels[i]
            asked = [self._asked(seen, (0, 0, 0, 1, 1, 2, 3, 4), plead, dice) for _ in range(8)]
            branches = [
                _answered(ask.ask_caption(seen, labels, text))._replace(
                    caption=self.captions[labels], asked=labels, seen=(seen,)
                )
                for labels, text in asked
            ]
            rows.append(Row((questions.IMAGE,), tuple(branches)))
        return rows

    def _rubric(self, index: list[list[int]], levels: list[list[int]], dice: random.Random) -> list[Row]:
        """The rows of a batch share their criteria. Quality is only asked where it is known of every picture."""
        criteria = (
            [*questions.CRITERIA] if dice.random() < 0.5 else dice.sample([*questions.CRITERIA], dice.randint(1, 3))
        )
        if any(level < 0 for (level,) in levels) and "visual_quality" in criteria:
            criteria = ["prompt_adherence"]
        return [
            self._rubric_row(self.bank.labels[i], questions.LEVELS[::-1][level], criteria, dice)
            for (i,), (level,) in zip(index, levels, strict=True)
        ]

    def _rubric_row(self, seen: Labels, quality: str, criteria: list[str], dice: random.Random) -> Row:
        branches = []
        for _ in range(4):
            asked, text = self._asked(seen, (0, 1, 2, 3, 4, 5), dice.random() < PLEA_SHARE, dice)
            answer = ask.rubric_answer(seen, asked, quality, criteria)
            words = questions.rubric(text, criteria)[-1]
            branches.append(Branch(words, answer, self.captions[asked], asked, (seen,)))
        return Row(questions.rubric("", criteria)[:-1], tuple(branches))


def _answered(qa: ask.QA) -> Branch:
    return Branch("\n" + qa.question, qa.answer)


class Packed(NamedTuple):
    """Rows of one kind: ids, positions, targets (-1: none) and weights, each (n, shared + branches * length).

    `hints` (k, 4): row, token, output of the hints' layer, and whether that attribute is right there.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    weights: Tensor
    hints: Tensor
    shared: int
    branches: int


def packed(tokenizer: PreTrainedTokenizerFast, rows: Sequence[Row]) -> Packed:
    """The rows, whose beginnings and numbers of branches must be the same, with branches padded to one length."""
    beginning = "".join(IMAGE * IMAGE_TOKENS if part == questions.IMAGE else part for part in rows[0].beginning)
    shared = _ids(tokenizer, USER + beginning)
    lines = [_line(tokenizer, branch) for row in rows for branch in row.branches]
    length, n, k = max(len(ids) for ids, *_ in lines), len(rows), len(rows[0].branches)

    def column(part: int, first: list, filler: float) -> Tensor:
        padded = torch.tensor([line[part] + [filler] * (length - len(line[part])) for line in lines])
        return torch.cat([torch.tensor(first).expand(n, -1), padded.view(n, k * length)], 1)

    start = len(shared)
    positions = torch.cat([torch.arange(start), torch.arange(start, start + length).repeat(k)]).expand(n, -1)
    ids, nothing = column(0, shared, tokenizer.pad_token_id), [-1] * start
    hints = [
        (i // k, start + i % k * length + hint.token, hint.image * len(ATTRIBUTES) + hint.attribute, hint.right)
        for i, branch in enumerate(branch for row in rows for branch in row.branches)
        for hint in _hints(tokenizer, branch)
    ]
    weights = column(2, [0.0] * start, 0.0)
    return Packed(
        ids, positions, column(1, nothing, -1), weights, torch.tensor(hints, dtype=torch.long).view(-1, 4), start, k
    )


def _hints(tokenizer: PreTrainedTokenizerFast, branch: Branch) -> list[Hint]:
    """One for each attribute and image; none where a plea has taken the caption apart."""
    begin = branch.words.find(branch.caption)
    if not branch.caption or begin < 0:
        return []
    encoded = tokenizer(branch.words, add_special_tokens=False, return_offsets_mapping=True)
    token_at = {end: token for token, (_, end) in enumerate(encoded["offset_mapping"])}
    return [
        Hint(token_at[begin + end], image, attribute, seen[attribute] == branch.asked[attribute])
        for attribute, end in enumerate(ask.told(branch.asked))
        for image, seen in enumerate(branch.seen)
        if begin + end in token_at
    ]


def _line(tokenizer: PreTrainedTokenizerFast, branch: Branch) -> tuple[list[int], list[int], list[float]]:
    """Ids, targets and weights of one branch."""
    words, answer = _ids(tokenizer, branch.words + END + ASSISTANT), _ids(tokenizer, branch.answer + END)
    before = len(words) - 1
    weights = [0.0] * before + [1.0] + [JudgeTask.REASON_WEIGHT] * (len(answer) - 1)
    return words + answer[:-1], [-1] * before + answer, weights


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def hidden_states(network: LlavaForConditionalGeneration, batch: Packed, seen: Tensor) -> tuple[Tensor, Tensor]:
    """States after the last layer and after `HINT_LAYER`, (n, length, width), of packed rows; the eye is frozen.

    `seen` are the images of all rows in order.
    """
    embedded = network.get_input_embeddings()(batch.ids)
    with torch.no_grad():
        features = network.model.vision_tower(seen).last_hidden_state
    tokens = network.model.multi_modal_projector(features).to(embedded.dtype)
    embedded = embedded.masked_scatter((batch.ids == network.config.image_token_id)[..., None], tokens)
    output = network.model.language_model(
        inputs_embeds=embedded,
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
        shared=batch.shared,
        branches=batch.branches,
    )
    return output.last_hidden_state, output.hidden_states[HINT_LAYER]


def branched_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: None,
    scaling: float,
    shared: int,
    branches: int,
    **_,
) -> tuple[Tensor, None]:
    """Causal attention in which every branch sees the shared beginning and itself; all (n, heads, length, size).

    The same as causal attention of each branch alone behind the beginning, at the cost of the beginning once.
    """
    first = F.scaled_dot_product_attention(
        query[:, :, :shared], key[:, :, :shared], value[:, :, :shared], is_causal=True, scale=scaling
    )
    own_query, own_key, own_value = (part[:, :, shared:].unflatten(2, (branches, -1)) for part in (query, key, value))
    length = own_query.shape[3]
    to_shared = (query[:, :, shared:] @ key[:, :, :shared].transpose(2, 3)).unflatten(2, (branches, length))
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    to_own = (own_query @ own_key.transpose(3, 4)).masked_fill(future, -torch.inf)
    shares = (torch.cat([to_shared, to_own], -1).float() * scaling).softmax(-1).to(value.dtype)
    seen = shares[..., :shared].flatten(2, 3) @ value[:, :, :shared]
    rest = seen + (shares[..., shared:] @ own_value).flatten(2, 3)
    return torch.cat([first, rest], 2).transpose(1, 2), None


ATTENTION = "branched"
AttentionInterface.register(ATTENTION, branched_attention)


def write_judge(network: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves model and processor as the hub has them, in float16. The network is changed to float16 by this."""
    network.generation_config.max_new_tokens = 64
    network.half().save_pretrained(folder)
    make_processor(tokenizer).save_pretrained(folder)


def _with_steps(contestant: TeddyContestant, steps: int | None) -> TeddyContestant:
    if steps is None:
        return contestant
    return replace(contestant, call={**contestant.call, "num_inference_steps": steps})
