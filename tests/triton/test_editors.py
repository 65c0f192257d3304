"""A served policy that edits: models of editors run in the guard's own process, and decisions stay those made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tritonclient.grpc
from msgspec.structs import replace

from guardkit import Action, Guard
from guardkit.policy.load import load_preset
from guardkit.serve.config import Serving
from guardkit.serve.repository import write_repository
from tests.triton.server import TritonServer

TEXTS = (
    "a quiet harbour at dawn, watercolour",
    "a portrait of my neighbour John Doe from 12 Elm Street",
    "a damn big castle on a hill, oil painting",
    "a drawing of a stupid idiot with a hat",
    "i will find you and hurt you",
)


def test_a_served_policy_anonymizes_and_rewrites_as_one_here(tmp_path: Path) -> None:
    policy = replace(
        load_preset("text-to-image"), timeout_ms=None, output_image=None, output_text=None
    )
    write_repository(policy, tmp_path / "out", Serving(backend="python"))
    server = TritonServer(tmp_path / "out" / "models", tmp_path)
    server.start()
    try:
        client = tritonclient.grpc.InferenceServerClient(server.grpc)
        local, actions = Guard(policy), set()
        for text in TEXTS:
            tensor = tritonclient.grpc.InferInput("text", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=object))
            (said,) = client.infer("guard", [tensor]).as_numpy("decision").ravel()
            ours, theirs = local.check_prompt(text), json.loads(said)
            assert theirs["status"] == ours.status.value == "ok"
            assert (theirs["action"], theirs["text"]) == (ours.action.value, ours.text)
            assert [one["editor"] for one in theirs["edits"]] == [one.editor for one in ours.edits]
            actions.add(ours.action)
        assert actions >= {Action.EDIT, Action.BLOCK}
    finally:
        server.kill()
