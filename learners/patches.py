"""Streaming random patches that predicting does not change, not even before the first example.

River draws the subspaces when it is first asked, from the features that it is asked about; here
they are drawn from the first example.
"""

from __future__ import annotations

from typing import Any

from river import ensemble


class SRPClassifier(ensemble.SRPClassifier):
    """Streaming random patches for classification."""

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        if not len(self):
            return {}
        shares: dict[Any, float] = super().predict_proba_one(x, **kwargs)  # type: ignore[no-untyped-call]
        return shares
