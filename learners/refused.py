"""What River publishes and a spec may not name, each with the reason.

Everything else that River publishes for our tasks may be named.
"""

from __future__ import annotations

from learners.published import EXPORTED, PUBLISHED, is_of_other_task

OTHER_TASK = "it serves another task than binary, multiclass, regression and anomaly"

REFUSED: dict[str, str] = {
    "bandit.ThompsonSampling": "it draws from distributions, and choosing models gives it a metric",
    "compose.FuncTransformer": "it takes a function, which JSON cannot say",
    "compose.Pipeline": "a pipeline is written as a list of steps",
    "compose.Select": 'a selection is written as {"select": ...}',
    "compose.SelectType": 'a selection by type is written as {"select": {"type": ...}}',
    "compose.Discard": 'leaving out is written as {"discard": ...}',
    "compose.TransformerUnion": 'transformers side by side are written as {"union": [...]}',
    "compose.TransformerProduct": 'products of transformers are written as {"product": [...]}',
    "compose.TargetTransformRegressor": "it takes functions, which JSON cannot say",
    "active.EntropySampler": "it answers pairs of a prediction and a question, not predictions",
    "feature_extraction.RandomTreesEmbedding": "it cannot be kept: it knows its leaves by address",
    "feature_selection.PoissonInclusion": "it draws random numbers while predicting",
    "misc.ZstdClassifier": "it needs a module that Python has from 3.14 only",
    "neighbors.SWINN": "it draws random numbers while predicting, and all its graphs share state",
    "preprocessing.LDA": "predicting changes it",
    "stats.KolmogorovSmirnov": "it draws random numbers without a seed",
}


def refusal_of(name: str) -> str | None:
    """Why `name` may not be named, or None when it may or River does not publish it.

    Examples
    --------
    >>> refusal_of("cluster.KMeans") == OTHER_TASK, refusal_of("optim.SGD")
    (True, None)

    """
    if name in REFUSED:
        return REFUSED[name]
    cls = EXPORTED.get(name)
    return OTHER_TASK if cls is not None and is_of_other_task(cls) else None


NAMEABLE: dict[str, type] = {
    name: cls for name, cls in PUBLISHED.items() if refusal_of(name) is None
}
