"""Our classes that stand under River's names, because River's own are not exact or not pure.

Each behaves as River's does, but for what its module's docstring says.
"""

from __future__ import annotations

from learners import (
    aggregation,
    factorization,
    imputation,
    neighbors,
    ordered,
    patches,
    projections,
    selection,
    texts,
    trees,
)

SUBSTITUTES: dict[str, type] = {
    "compose.Grouper": aggregation.Grouper,
    "compose.Renamer": selection.Renamer,
    "dummy.NoChangeClassifier": ordered.NoChangeClassifier,
    "ensemble.SRPClassifier": patches.SRPClassifier,
    "facto.FFMClassifier": factorization.FFMClassifier,
    "facto.FFMRegressor": factorization.FFMRegressor,
    "facto.FMClassifier": factorization.FMClassifier,
    "facto.FMRegressor": factorization.FMRegressor,
    "facto.FwFMClassifier": factorization.FwFMClassifier,
    "facto.FwFMRegressor": factorization.FwFMRegressor,
    "facto.HOFMClassifier": factorization.HOFMClassifier,
    "facto.HOFMRegressor": factorization.HOFMRegressor,
    "feature_extraction.Agg": aggregation.Agg,
    "feature_extraction.TargetAgg": aggregation.TargetAgg,
    "feature_extraction.BagOfWords": texts.BagOfWords,
    "feature_extraction.RBFSampler": projections.RBFSampler,
    "feature_extraction.TFIDF": texts.TFIDF,
    "forest.AMFClassifier": ordered.AMFClassifier,
    "forest.ARFClassifier": trees.ARFClassifier,
    "forest.ARFRegressor": trees.ARFRegressor,
    "forest.OXTRegressor": trees.OXTRegressor,
    "multiclass.OneVsOneClassifier": ordered.OneVsOneClassifier,
    "neighbors.KNNClassifier": neighbors.KNNClassifier,
    "neighbors.KNNRegressor": neighbors.KNNRegressor,
    "neighbors.LazySearch": neighbors.LazySearch,
    "preprocessing.GapEncoder": texts.GapEncoder,
    "preprocessing.GaussianRandomProjector": projections.GaussianRandomProjector,
    "preprocessing.PreviousImputer": imputation.PreviousImputer,
    "preprocessing.SparseRandomProjector": projections.SparseRandomProjector,
    "preprocessing.StatImputer": imputation.StatImputer,
    "tree.ExtremelyFastDecisionTreeClassifier": trees.ExtremelyFastDecisionTreeClassifier,
    "tree.HoeffdingAdaptiveTreeClassifier": trees.HoeffdingAdaptiveTreeClassifier,
    "tree.HoeffdingAdaptiveTreeRegressor": trees.HoeffdingAdaptiveTreeRegressor,
    "tree.HoeffdingTreeClassifier": trees.HoeffdingTreeClassifier,
    "tree.HoeffdingTreeRegressor": trees.HoeffdingTreeRegressor,
    "tree.LASTClassifier": trees.LASTClassifier,
    "utils.Rolling": aggregation.Rolling,
}
