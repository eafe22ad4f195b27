"""What looks like a key or a password: by its name, by its form, or by its place in an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

STRUCK = "(not shown)"
NAMES = re.compile(
    r"(^|[_\W])(key|token|secret|password|passwd|pwd|passphrase|authori[sz]ation|credentials?|bearer|cookie|jwt)$"
    r"|api_?keys?$|(access|auth|client|secret|session|subscription|bearer|private)_?(key|token|secret)$"
    r"|^(x-)?auth$|password",
    re.IGNORECASE,
)
NO_KEYS = re.compile(r"(^|_)(bos|eos|unk|pad|sep|cls|mask|trigger|instance|class|placeholder|special)_tokens?$", re.I)
"""Names of a tokenizer's and a training's own words."""
FORMS = re.compile(
    r"\b(?:sk|pk|xai|gsk|fal)-[A-Za-z0-9_-]{16,}|\b(?:sk|pk|hf|r8|gh[opsu]|github_pat|xai|gsk)_[A-Za-z0-9_-]{16,}"
    r"|\bAKIA[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}|\b(?:Bearer|Basic) [A-Za-z0-9_.~+/=-]{8,}"
)
WHOLE = re.compile(r"(?:sk-|hf_|xai-|r8_|gsk_|gh[opsu]_)[A-Za-z0-9_-]{8,}|(?:Bearer|Basic) \S{8,}")
"""A value that is nothing else may be shorter."""
USER = re.compile(r"(?<=://)[^/?#\s\"']*@")
PARAMETER = re.compile(r"(?<=[?&;#])([A-Za-z0-9_.~%-]{1,64})=([^&;#\s\"'<>]+)")
OF_ADDRESSES = re.compile(r"^(code|sig|signature|auth|access|pass)$", re.IGNORECASE)
"""Names that mean a key in an address alone: of functions, of signed addresses."""
NO_SECRET = frozenset({"api-version"})


def is_name(name: str) -> bool:
    """Whether what stands under this name is a key: api_key, Ocp-Apim-Subscription-Key, accessToken, password."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return bool(NAMES.search(words)) and not NO_KEYS.search(words)


def holds_key(name: str, value: Any) -> bool:
    """Whether a setting, or anything inside it, is named or looks like a key, or is an address with one in it."""
    if isinstance(value, Mapping):
        return any(holds_key(_inner(name, inner), one) for inner, one in value.items())
    if isinstance(value, list | tuple):
        return any(holds_key(name, one) for one in value)
    if value in (None, "") or isinstance(value, bool):
        return False
    return is_name(name) or (isinstance(value, str) and (bool(WHOLE.fullmatch(value)) or struck(value) != value))


def _inner(outer: str, name: object) -> str:
    """All that is below the name of a key is one."""
    return outer if is_name(outer) else str(name)


def without_keys(plain: Any, mark: str = STRUCK, name: str = "") -> Any:
    """Plain JSON in which whatever is named or looks like a key is struck out."""
    if isinstance(plain, Mapping):
        return {inner: without_keys(value, mark, _inner(name, inner)) for inner, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [without_keys(value, mark, name) for value in plain]
    if plain not in (None, "") and not isinstance(plain, bool) and is_name(name):
        return mark
    if not isinstance(plain, str):
        return plain
    return mark if WHOLE.fullmatch(plain) else struck(plain, mark, everything=name == "base_url")


def struck(text: str, mark: str = STRUCK, everything: bool = False) -> str:
    """The text without keys, and without users, passwords and keys in its addresses.

    `everything`: of what stands behind an address's question mark only the version of an API stays.
    """

    def parameter(found: re.Match[str]) -> str:
        name = found[1]
        secret = everything or is_name(name) or bool(OF_ADDRESSES.match(name))
        return f"{name}={mark}" if secret and name not in NO_SECRET else found[0]

    if "://" in text or everything:
        text = PARAMETER.sub(parameter, USER.sub(mark, text))
    return FORMS.sub(mark, text)


def query(address: str) -> dict[str, str]:
    """What stands behind an address's question mark, by name."""
    pairs = (part.partition("=") for part in urlsplit(address).query.split("&") if part)
    return {name: value for name, _, value in pairs}
