"""Trained models to artifacts (extra `export`)."""
