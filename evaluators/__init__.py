"""Automatic scores: distances between sets of images, text-image alignment, and judges.

Two contracts, in `evaluators.base`. A name becomes an object by `arena.plugins.resolve("evaluator", EVALUATORS, name)`.
"""

EVALUATORS = {
    "set-metric": "evaluators.distribution.measure:SetMetric",
    "clipscore-l14": "evaluators.alignment.score:clipscore_l14",
    "clipscore-hessel": "evaluators.alignment.score:clipscore_hessel",
    "pickscore": "evaluators.alignment.score:pickscore",
    "hpsv2.1": "evaluators.alignment.score:hpsv2_1",
    "aesthetic-laion-v2": "evaluators.alignment.score:aesthetic_laion",
    "vqascore": "evaluators.judge.pointwise:vqascore",
    "rubric": "evaluators.judge.pointwise:rubric",
}
