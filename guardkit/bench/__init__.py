"""The measuring code behind `guardkit bench`."""
