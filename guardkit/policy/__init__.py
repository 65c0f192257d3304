"""YAML to a policy, scores to a decision: no models."""
