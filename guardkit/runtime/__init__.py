"""Runs graphs; the only place that names a backend."""
