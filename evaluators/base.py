"""The two contracts of automatic evaluation. An evaluator is a small frozen object holding its settings.

SetEvaluator      two sets of images       -> Score
PromptEvaluator   a prompt and its images  -> Score or Outcome
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from arena.domain import Outcome, Prompt, Score

# A folder; files by name, each as a function that reads its bytes; or uint8 RGB arrays (h, w, 3) of any sizes.
ImageSet = Path | str | Mapping[str, Callable[[], bytes]] | Iterable[np.ndarray]
# Called with (stage, done, total), total 0 where unknown. What it raises stops the work and reaches the caller.
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


class SetEvaluator(typing.Protocol):
    def score(
        self,
        real: ImageSet,
        generated: ImageSet,
        *,
        subject: str,
        contestant_id: int | None = None,
        run_id: int | None = None,
    ) -> Score:
        """One figure for the generated set, its protocol in it. Raises ArenaError where there is none to give."""


class PromptEvaluator(typing.Protocol):
    def evaluate(self, prompt: Prompt, images: Sequence[np.ndarray]) -> Score | Outcome:
        """A Score of one image, or the Outcome between a left and a right one (uint8 RGB, (h, w, 3)).

        What cannot be judged is a Score with a reason in `unscored`, never 0 and never a tie.
        """
