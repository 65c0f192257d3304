"""The Triton wing: model repositories, and the models that run inside the server."""
