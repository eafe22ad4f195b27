"""Automatic scores: distances between sets of images, text-image alignment, and judges.

Two contracts, in `evaluators.base`. A name becomes an object by `arena.plugins.resolve("evaluator", EVALUATORS, name)`.
"""

EVALUATORS = {
    "fid": "evaluators.distribution.fid:Fid",
}
