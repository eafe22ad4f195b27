"""What looks like a key, and what does not: in a page, a command's answer and an export alike."""

from __future__ import annotations

import pytest

from arena.keys import holds_key, without_keys
from arena.services import dataset_export

GONE = "(not shown)"


@pytest.mark.parametrize(
    ("plain", "left"),
    [
        ({"base_url": "https://host/v1?api_key=abcdef&n=1"}, {"base_url": f"https://host/v1?api_key={GONE}&n={GONE}"}),
        ({"base_url": "https://h/v1?api-version=2025-04-01"}, {"base_url": "https://h/v1?api-version=2025-04-01"}),
        ({"base_url": "https://me:pw@h/v1"}, {"base_url": f"https://{GONE}h/v1"}),
        ({"extra": {"Ocp-Apim-Subscription-Key": "abc"}}, {"extra": {"Ocp-Apim-Subscription-Key": GONE}}),
        ({"extra": {"apiKey": "abc", "X-Auth": "abc"}}, {"extra": {"apiKey": GONE, "X-Auth": GONE}}),
        ({"headers": {"Authorization": ["abc", "def"]}}, {"headers": {"Authorization": [GONE, GONE]}}),
        ({"token": {"value": "abc"}}, {"token": {"value": GONE}}),
        ({"password": 12345}, {"password": GONE}),
        (["see https://h/x?code=abc&page=2#access_token=def"], [f"see https://h/x?code={GONE}&page=2#access_token={GONE}"]),
        ("HTTP 401: Bearer abcdefghijkl", f"HTTP 401: {GONE}"),
        ("a key sk-proj-abcdefghijklmnop in a text", f"a key {GONE} in a text"),
        ("hf_abcdefgh", GONE),
    ],
)  # fmt: skip
def test_a_key_is_struck_out(plain: object, left: object) -> None:
    assert without_keys(plain) == left
    assert holds_key("", plain) == (plain != left)
    assert str(dataset_export.without_keys(plain)) == str(left).replace(GONE, "(not exported)")


@pytest.mark.parametrize(
    "plain",
    [
        {"max_tokens": 5, "key_frames": "a", "trigger_token": "sks", "eos_token": "</s>", "author": "me"},
        {"key_variable": "LAB_KEY", "seed_field": "", "token": "", "api_key": None, "auth": True},
        {"model": "hf-internal-testing/tiny-stable-diffusion-pipe"},
        {"model": "fal-ai/flux/schnell-something-long"},
        {"url": "https://huggingface.co/lab/painter?page=2#readme", "mail": "me@example.org"},
        "a sky-blue bear with sk-8 shoes",
    ],
)  # fmt: skip
def test_what_is_no_key_stays(plain: object) -> None:
    assert without_keys(plain) == plain and not holds_key("", plain)
