"""What a judge's verdicts add to 1,000 human votes: rank sets of humans alone, of both together, of the judge alone.

    python benchmarks/fusion.py [DATA]

DATA is the folder `ppr_chatbot_arena` of github.com/Networks-Learning/prediction-powered-ranking: 26,919 human votes
on pairs of 20 language models, and the verdicts of three judges on the same battles. Each draw takes 1,000 battles
with their human votes and the judge's verdicts on all. Held against the ranks that all human votes give.
"""

from __future__ import annotations

import argparse
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from arena.rating import bradley_terry as bt
from arena.rating import fusion, uncertainty
from arena.rating.comparisons import Code, Comparisons, aggregate

DATA = Path(__file__).parents[2] / "shared" / "data" / "ppr_chatbot_arena"
JUDGES = {
    "gpt-4": "gpt-4-0125-preview.jsonl.gz",
    "claude-3-opus": "claude-3-opus-20240229.jsonl.gz",
    "gpt-3.5": "gpt-3.5-turbo.jsonl.gz",
}
WINNERS = {"model_a": Code.LEFT, "model_b": Code.RIGHT, "tie": Code.TIE, "tie (bothbad)": Code.BOTH_BAD}


@dataclass(frozen=True, eq=False)
class Battles:
    """Positions (n,) of both sides among `names`, the human codes (n,), and each judge's codes (n,)."""

    names: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    human: np.ndarray
    judges: dict[str, np.ndarray]

    def comparisons(self, codes: np.ndarray, rows: np.ndarray | slice = slice(None)) -> Comparisons:
        return aggregate(self.names, self.left[rows], self.right[rows], codes[rows])

    def paired(self, judge: str, rows: np.ndarray) -> fusion.Paired:
        return fusion.Paired(
            self.names, self.left[rows], self.right[rows], self.human[rows], self.judges[judge][rows]
        )  # fmt: skip

    def split(self, judge: str, n: int, rng: np.random.Generator) -> tuple[fusion.Paired, Comparisons]:
        """n battles with their human votes, and the judge's verdicts on all others."""
        order = rng.permutation(len(self.left))
        return self.paired(judge, order[:n]), self.comparisons(self.judges[judge], order[n:])


def load(folder: Path) -> Battles:
    def read(name: str) -> list[dict[str, str]]:
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    human = read("human.jsonl.gz")
    names = tuple(sorted({row[side] for row in human for side in ("model_a", "model_b")}))
    position = {name: i for i, name in enumerate(names)}
    judges = {}
    for judge, file in JUDGES.items():
        verdicts = {row["question_id"]: row["winner"] for row in read(file)}
        judges[judge] = np.array([WINNERS[verdicts[row["question_id"]]] for row in human])
    return Battles(
        names,
        np.array([position[row["model_a"]] for row in human]),
        np.array([position[row["model_b"]] for row in human]),
        np.array([WINNERS[row["winner"]] for row in human]),
        judges,
    )


def strengths(battles: Battles, codes: np.ndarray) -> np.ndarray:
    """Bradley-Terry, a tie as half a win for both."""
    return bt.fit(bt.win_matrix(battles.comparisons(codes)))


def set_width(ranks: uncertainty.Ranks) -> float:
    return float((ranks.high - ranks.low + 1).mean())


def covers(ranks: uncertainty.Ranks, truth: np.ndarray) -> bool:
    """Whether every contestant's true rank is in its set."""
    return bool(((ranks.low <= truth) & (truth <= ranks.high)).all())


@dataclass(frozen=True)
class Line:
    """One judge: agreement with humans, and means over draws. Shares and ranks."""

    judge: str
    agreement: float
    tau: float
    lam: float
    width_ratio: float
    human_set: float
    fused_set: float
    judge_set: float
    human_coverage: float
    fused_coverage: float
    judge_coverage: float


def line(battles: Battles, judge: str, n: int, draws: int, seed: int) -> Line:
    rng, codes = np.random.default_rng(seed), battles.judges[judge]
    whole = strengths(battles, battles.human)
    truth = 1 + (whole[:, None] < whole[None, :]).sum(1)
    alone = battles.comparisons(codes)
    judged = bt.fit(bt.win_matrix(alone))
    judge_ranks = uncertainty.ranks(judged, uncertainty.sandwich(alone, judged))
    found = []
    for _ in range(draws):
        fused = fusion.fuse(*battles.split(judge, n, rng))
        if fused.unrated:
            raise SystemExit(f"{n} human votes leave {sorted(fused.unrated)} unrated; draw more.")
        human = uncertainty.ranks(fused.human.theta, fused.human.covariance)
        both = uncertainty.ranks(fused.theta, fused.covariance)
        found.append(
            (fused.lam, fused.width_ratio, set_width(human), set_width(both), covers(human, truth), covers(both, truth))
        )
    lam, ratio, human_set, fused_set, human_coverage, fused_coverage = np.mean(found, axis=0)
    return Line(
        judge, fusion.agreement(battles.human, codes), float(stats.kendalltau(whole, judged).statistic), lam, ratio,
        human_set, fused_set, set_width(judge_ranks), human_coverage, fused_coverage, float(covers(judge_ranks, truth)),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=DATA)
    parser.add_argument("--n", type=int, default=1000, help="human votes in each draw")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.data / "human.jsonl.gz").is_file():
        raise SystemExit(f"{options.data} has no human.jsonl.gz; name the folder ppr_chatbot_arena.")
    battles = load(options.data)
    print(f"{options.n:,} human votes of {len(battles.left):,}, {options.draws} draws, seed {options.seed}\n")
    print(
        "| judge | agreement | Kendall tau | lam | width of intervals | rank set, humans | both | judge alone "
        "| all sets right, humans | both | judge alone |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for judge in JUDGES:
        r = line(battles, judge, options.n, options.draws, options.seed)
        print(
            f"| {judge} | {r.agreement:.3f} | {r.tau:.3f} | {r.lam:.2f} | {r.width_ratio:.3f} | {r.human_set:.2f} "
            f"| {r.fused_set:.2f} | {r.judge_set:.2f} | {r.human_coverage:.2f} | {r.fused_coverage:.2f} "
            f"| {'yes' if r.judge_coverage else 'no'} |"
        )


if __name__ == "__main__":
    main()
