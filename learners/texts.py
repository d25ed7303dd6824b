"""Text features that pass over an observation without the text, rather than raise.

What a token is cannot be chosen: a regular expression can take forever on some text.
"""

from __future__ import annotations

from typing import Any

from river import feature_extraction, preprocessing


class OptionalText:
    """Makes no tokens of a text that is absent or no text."""

    on: str | None

    def process_text(self, x: dict[Any, Any]) -> Any:
        if not isinstance(x.get(self.on or ""), str):
            return []
        return super().process_text(x)  # type: ignore[misc]


class BagOfWords(OptionalText, feature_extraction.BagOfWords):
    """Counts the tokens of a text.

    Parameters
    ----------
    on
        The feature that holds the text.
    strip_accents
        Whether accents are dropped.
    lowercase
        Whether letters are lowered.
    stop_words
        Tokens that are left out.
    ngram_range
        The least and the greatest number of tokens that are counted together.

    Examples
    --------
    >>> BagOfWords(on="text").transform_one({"text": "so so good"})
    {'so': 2, 'good': 1}
    >>> BagOfWords(on="text").transform_one({})
    {}

    """

    def __init__(
        self,
        on: str,
        strip_accents: bool = True,
        lowercase: bool = True,
        stop_words: set[str] | None = None,
        ngram_range: tuple[int, int] = (1, 1),
    ):
        super().__init__(
            on=on,
            strip_accents=strip_accents,
            lowercase=lowercase,
            stop_words=stop_words,
            ngram_range=ngram_range,
        )


class TFIDF(OptionalText, feature_extraction.TFIDF):
    """Weighs the tokens of a text by how rare they are among the texts so far.

    Parameters
    ----------
    on
        The feature that holds the text.
    normalize
        Whether the weights of a text have length one.
    strip_accents
        Whether accents are dropped.
    lowercase
        Whether letters are lowered.
    stop_words
        Tokens that are left out.
    ngram_range
        The least and the greatest number of tokens that are counted together.

    Examples
    --------
    >>> TFIDF(on="text").transform_one({"text": "good"})
    {'good': 1.0}
    >>> TFIDF(on="text").transform_one({})
    {}

    """

    def __init__(
        self,
        on: str,
        normalize: bool = True,
        strip_accents: bool = True,
        lowercase: bool = True,
        stop_words: set[str] | None = None,
        ngram_range: tuple[int, int] = (1, 1),
    ):
        super().__init__(
            normalize=normalize,
            on=on,
            strip_accents=strip_accents,
            lowercase=lowercase,
            stop_words=stop_words,
            ngram_range=ngram_range,
        )

    def learn_one(self, x: dict[Any, Any]) -> None:
        if isinstance(x.get(self.on or ""), str):
            super().learn_one(x)  # type: ignore[no-untyped-call]


class GapEncoder(preprocessing.GapEncoder):
    """Encodes dirty categories by latent topics of their letters.

    What it does not find is encoded as zeros, and what is absent is not learned.
    """

    def _preprocess(self, x: dict[Any, Any]) -> str:
        text = x.get(self.on or "")
        return str(super()._preprocess(x)) if isinstance(text, str) else ""
