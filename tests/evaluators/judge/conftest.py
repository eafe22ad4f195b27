"""Tiny vision-language models with random weights, of the hub's real classes and in its real files."""

import warnings

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

SPECIAL = ["<pad>", "<|end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<image>"]
WORDS = ["A", "B", "tie", "yes", "no", "Yes"]
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and a few words; small enough to read, real enough to load."""
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            if word[:end] not in pieces:
                pieces.append(word[:end])
                merges.append((word[: end - 1], word[end - 1]))
    bytes_and_words = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    bytes_and_words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_and_words.decoder = decoders.ByteLevel()
    found = PreTrainedTokenizerFast(tokenizer_object=bytes_and_words, pad_token="<pad>", eos_token="<|end|>")
    found.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
    return found


def template(image: str) -> str:
    return (
        "{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}" + image + "{% else %}{{ p.text }}"
        "{% endif %}{% endfor %}<|end|>{% endfor %}"
    )


def text_config(words: PreTrainedTokenizerFast, **more) -> dict:
    return {
        **SMALL,
        "num_key_value_heads": 1,
        "vocab_size": len(words) + 8,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        **more,
    }


def llava(words):
    vision = {**SMALL, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 16}
    config = LlavaConfig(
        vision_config=vision,
        text_config={"model_type": "llama", **text_config(words)},
        image_token_index=words.convert_tokens_to_ids("<image>"),
    )
    eye = CLIPImageProcessor(size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(eye, words, 16, "default", template("<image>"), num_additional_image_tokens=1)
    return LlavaForConditionalGeneration(config), processor


def qwen2_vl(words):
    ids = {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    ids |= {f"{name}_token_id": words.convert_tokens_to_ids(f"<|{name}_pad|>") for name in ("image", "video")}
    rope = {"type": "mrope", "mrope_section": [2, 3, 3]}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 8, "mlp_ratio": 2}
    config = Qwen2VLConfig(text_config=text_config(words, rope_scaling=rope), vision_config=vision, **ids)
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(patch_size=8, merge_size=2, min_pixels=16 * 16, max_pixels=32 * 32),
        words,
        Qwen2VLVideoProcessor(patch_size=8, merge_size=2),
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return Qwen2VLForConditionalGeneration(config), processor


def idefics3(words):
    eye = Idefics3ImageProcessor(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False
    )
    processor = Idefics3Processor(eye, words, image_seq_len=1, chat_template=template("<image>"))
    config = Idefics3Config(
        text_config={"model_type": "llama", **text_config(words)},
        vision_config={**SMALL, "patch_size": 16, "image_size": 32},
        image_token_id=words.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return Idefics3ForConditionalGeneration(config), processor


ZOO = {"llava": llava, "qwen2_vl": qwen2_vl, "idefics3": idefics3}


@pytest.fixture(scope="session", params=[*ZOO])
def folder(request, tmp_path_factory):
    """A folder as a hub would give it."""
    path = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, processor = ZOO[request.param](tokenizer())
        model.save_pretrained(path)
        processor.save_pretrained(path)
    return path
