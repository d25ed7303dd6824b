"""Headrace: online learning, served. A model is a fold over its durable log."""

__version__ = "0.1.0"
