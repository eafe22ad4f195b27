"""Questions hold whatever a caption says without becoming something else."""

from __future__ import annotations

import json

import pytest

from arena import questions


@pytest.mark.parametrize(
    "text", ["a teddy", 'ends here"\nthe left image', "one\u2028two\u2029three\u0085four", "Bär 🧸", "\x00\x1f"]
)
def test_a_quoted_text_is_one_line_and_reads_back(text: str) -> None:
    quoted = questions.quoted(text)
    assert len(quoted.splitlines()) == 1 and json.loads(quoted) == text
