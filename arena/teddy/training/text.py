"""The text side of every contestant: a word tokenizer of the grammar and a tiny T5 encoder."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from arena.teddy.scenes import all_scenes, caption

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
LENGTH = 32
"""Tokens of the longest prompt, end included; captions have 27 at most."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token for each word of the grammar and the comma; other words become <unk>."""
    vocabulary = {word: i for i, word in enumerate([PAD, END, UNKNOWN, *_words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=LENGTH
    )


@functools.cache
def _words() -> tuple[str, ...]:
    return tuple(sorted({word for scene in all_scenes() for word in caption(scene).replace(",", " ,").split()}))


def make_text_encoder(words: int, width: int = 128, layers: int = 3) -> T5EncoderModel:
    """An untrained encoder: token ids (n, length) -> float (n, length, width)."""
    return T5EncoderModel(
        T5Config(
            vocab_size=words,
            d_model=width,
            d_kv=32,
            num_heads=width // 32,
            d_ff=2 * width,
            num_layers=layers,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
            tie_word_embeddings=False,
        )
    )


def tokens(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask (1 keep, 0 padding), both int64 (n, length)."""
    found = tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return found.input_ids, found.attention_mask


def with_dropped(ids: Tensor, mask: Tensor, share: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replaces a random share of the captions by the empty one, which guidance subtracts."""
    dropped = torch.rand(len(ids), generator=rng) < share
    ids, mask = ids.clone(), mask.clone()
    ids[dropped], mask[dropped] = 0, 0
    ids[dropped, 0], mask[dropped, 0] = 1, 1
    return ids, mask
