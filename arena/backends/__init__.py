"""Backends: from prompts and seeds to images. One file each, one line here; others come as entry points.

A backend of another package registers itself in the entry point group `arena.backends`.
"""

BACKENDS = {
    "diffusers": "arena.backends.diffusers:DiffusersBackend",
    "swatch": "arena.backends.swatch:SwatchBackend",
}
