"""HTTP, and nothing else: one file per surface, and what the surfaces share."""
