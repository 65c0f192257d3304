"""Text in, scores and edits out: no thresholds, no actions."""
