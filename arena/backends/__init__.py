"""Backends: from prompts and seeds to images. One file each, one line here; others come as entry points.

A backend of another package registers itself in the entry point group `arena.backends`.
"""

BACKENDS = {
    "diffusers": "arena.backends.diffusers:DiffusersBackend",
    "inference-providers": "arena.backends.inference_providers:InferenceProviders",
    "openai": "arena.backends.openai_images:OpenAIImages",
    "swatch": "arena.backends.swatch:SwatchBackend",
}
