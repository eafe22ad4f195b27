"""Tiny pipelines with random weights of the families that presets name, built from their configs with no hub.

Each has its family's own classes; what is small is their width and depth. Tokenizers are byte-level, without merges:
every byte is a token, so any text can be said. Where a family's pipeline takes its tokenizer from a processor (FLUX.2
dev), a tokenizer with a chat template stands for it: the pipeline asks it for no more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}"
)
SIDE = 32


@dataclass(frozen=True)
class Family:
    """How a tiny pipeline is built, and what the backend calls it with."""

    build: Callable[[], Any]
    settings: dict[str, Any] = field(default_factory=dict)
    side: int = SIDE


def tokenizer(length: int = 64) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: n for n, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        model_max_length=length, chat_template=CHAT,
    )  # fmt: skip


VOCABULARY = 300


def clip(width: int = 16, *, projected: bool = True) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, projection_dim=width, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(width: int = 32) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=VOCABULARY, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0, eos_token_id=2
    )
    return T5EncoderModel(config)


def language_model(kind: str, layers: int = 3, width: int = 32) -> Any:
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=32, num_hidden_layers=layers,
        num_attention_heads=2, num_key_value_heads=2, head_dim=16, max_position_embeddings=1024, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    return getattr(transformers, f"{kind}ForCausalLM")(config)


def vae(channels: int = 4, blocks: int = 2, **options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 16)[:blocks], down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks, latent_channels=channels, norm_num_groups=4, layers_per_block=1,
        sample_size=SIDE, **options,
    )  # fmt: skip


def flow(**options: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**options)


def flux2(*, klein: bool) -> Any:
    from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline, Flux2Pipeline, Flux2Transformer2DModel

    network = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=96, timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=not klein,
    )  # fmt: skip
    decoder = AutoencoderKLFlux2(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, layers_per_block=1,
        sample_size=SIDE,
    )  # fmt: skip
    shared = {"scheduler": flow(), "vae": decoder, "tokenizer": tokenizer(), "transformer": network}
    if klein:
        return Flux2KleinPipeline(text_encoder=language_model("Qwen3"), is_distilled=True, **shared)
    return Flux2Pipeline(text_encoder=mistral3(), **shared)


def mistral3() -> Any:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    text = {
        "model_type": "mistral", "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 32,
        "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": 1024, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    eye = {
        "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 16, "head_dim": 8,
    }  # fmt: skip
    return Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=eye, image_token_index=299))


def qwen_image() -> Any:
    from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    text = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    eye = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    reader = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=eye))
    network = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    decoder = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    return QwenImagePipeline(
        scheduler=flow(), vae=decoder, text_encoder=reader, tokenizer=tokenizer(2048), transformer=network
    )


def hidream() -> Any:
    from diffusers import HiDreamImagePipeline, HiDreamImageTransformer2DModel

    network = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, caption_channels=[32, 32], text_emb_dim=32, num_routed_experts=2,
        num_activated_experts=1, axes_dims_rope=(4, 2, 2), max_resolution=(32, 32), llama_layers=[0, 1],
    )  # fmt: skip
    return HiDreamImagePipeline(
        scheduler=flow(), vae=vae(blocks=1, shift_factor=0.1, scaling_factor=0.4), text_encoder=clip(),
        tokenizer=tokenizer(), text_encoder_2=clip(), tokenizer_2=tokenizer(), text_encoder_3=t5(),
        tokenizer_3=tokenizer(128), text_encoder_4=language_model("Llama"), tokenizer_4=tokenizer(128),
        transformer=network,
    )  # fmt: skip


def sd3() -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    network = SD3Transformer2DModel(
        sample_size=32, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=32, out_channels=4,
        pos_embed_max_size=32,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=network, scheduler=flow(), vae=vae(shift_factor=0.06, scaling_factor=1.5), text_encoder=clip(),
        tokenizer=tokenizer(), text_encoder_2=clip(), tokenizer_2=tokenizer(), text_encoder_3=t5(),
        tokenizer_3=tokenizer(),
    )  # fmt: skip


def sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    network = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(1, 2), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=(1, 1), norm_num_groups=4,
        projection_class_embeddings_input_dim=64, cross_attention_dim=32,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="trailing"
    )
    return StableDiffusionXLPipeline(
        vae=vae(), text_encoder=clip(projected=False), text_encoder_2=clip(), tokenizer=tokenizer(),
        tokenizer_2=tokenizer(), unet=network, scheduler=scheduler,
    )  # fmt: skip


def pixart() -> Any:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    network = PixArtTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
        cross_attention_dim=16, sample_size=16, caption_channels=32, use_additional_conditions=False,
    )  # fmt: skip
    return PixArtSigmaPipeline(
        tokenizer=tokenizer(), text_encoder=t5(), vae=vae(), transformer=network,
        scheduler=DPMSolverMultistepScheduler(),
    )  # fmt: skip


def z_image() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel

    network = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=16, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=32, axes_dims=[8, 4, 4], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    return ZImagePipeline(
        scheduler=flow(), vae=vae(16, shift_factor=0.1, scaling_factor=0.4), text_encoder=language_model("Qwen3"),
        tokenizer=tokenizer(512), transformer=network,
    )  # fmt: skip


SHORT = {"max_sequence_length": 64}
PIXART = {"max_sequence_length": 64, "use_resolution_binning": False, "clean_caption": False}
FAMILIES: dict[str, Family] = {
    # A system message of its own comes before the prompt, so 64 bytes would hold nothing of the prompt.
    "flux2-dev": Family(
        lambda: flux2(klein=False),
        {"guidance": 4.0, "call": {"max_sequence_length": 512, "text_encoder_out_layers": [1, 2, 3]}},
    ),
    "flux2-klein": Family(
        lambda: flux2(klein=True), {"guidance": 1.0, "call": {**SHORT, "text_encoder_out_layers": [1, 2, 3]}}
    ),
    "qwen-image": Family(qwen_image, {"guidance": 4.0, "call": {"negative_prompt": " "}}),
    # Its pipeline scales every size to 128 latents a side, which is 128 pixels with an autoencoder that scales nothing.
    "hidream-i1": Family(hidream, {"guidance": 5.0, "call": SHORT}, side=128),
    "sd35-large": Family(sd3, {"guidance": 3.5, "call": SHORT}),
    "sdxl": Family(sdxl, {"guidance": 5.0}),
    "sdxl-turbo": Family(sdxl, {"guidance": 0.0}),
    "pixart-sigma": Family(pixart, {"guidance": 4.5, "call": PIXART}),
    "z-image-turbo": Family(z_image, {"guidance": 0.0, "call": {"max_sequence_length": 256}}),
}
"""Preset -> its family, tiny."""
