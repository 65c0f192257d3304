"""Training scripts, one a model (extra `train`)."""
