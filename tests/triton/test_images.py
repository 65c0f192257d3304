"""Images at a real Triton: crops over the connection and through shared memory, the same decisions as here."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from msgspec.structs import replace
from numpy.typing import NDArray

from guardkit import Action, Decision, Guard, Policy
from guardkit.artifacts import RunnerOptions, Triton
from guardkit.errors import ServerError
from guardkit.image.decode import decode
from guardkit.image.write import as_png
from guardkit.policy.rules import Rule, StagePolicy, When
from guardkit.serve.config import Serving
from guardkit.serve.repository import write_repository
from guardkit.types import Status
from tests.pictures import BLUE, RED, plain
from tests.tiny import change_manifest
from tests.tiny_image import build_tiny_faces, build_tiny_images
from tests.triton.server import TritonServer

Pixels = NDArray[np.uint8]
_PATIENT_MS = 20_000
_WAYS = [("grpc", False), ("grpc", True), ("http", False), ("http", True)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models whose scores are known by hand: red is `sexual`, a red dot a face."""
    models = build_tiny_faces(build_tiny_images(tmp_path_factory.mktemp("models")))
    (models / "image-safety").rename(models / "my-images")
    change_manifest(models / "my-images", {"name": "my-images"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUARDKIT_MODELS", str(models))
        yield


@pytest.fixture(scope="module")
def policy(tiny: None) -> Policy:
    rules = (
        Rule(name="no-red", when=When(category="sexual", at_least=0.5), action=Action.BLOCK),
        Rule(name="no-faces", when=When(category="privacy", at_least=0.5), action=Action.EDIT, using="blur-faces"),
    )  # fmt: skip
    scorers = ("my-images", "face-detector")
    stage = StagePolicy(scorers=scorers, editors=("blur-faces",), rules=rules)
    precise = {"my-images": RunnerOptions(mode="precise")}
    return Policy(policy="images", output_image=stage, models=precise)


@pytest.fixture(scope="module")
def images(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server of the models and the guard, for which none of them is installed but in its repository."""
    folder = tmp_path_factory.mktemp("repository") / "out"
    write_repository(policy, folder, Serving(backend="python"))
    server = TritonServer(folder / "models", tmp_path_factory.mktemp("work"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GUARDKIT_MODELS")
        server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    """48 pictures of two colours in many shapes: some are red, some have a face, the others neither."""
    drawn = []
    for number in range(48):
        rng = np.random.default_rng(number)
        height, width = rng.integers(64, 400, 2)
        pixels = plain(BLUE, width=int(width), height=int(height))
        pixels[: height // 2] = (255 * (number % 3 == 0), *rng.integers(0, 256, 2))
        if number % 3 == 1:
            pixels[40:44, 40:44] = RED
        drawn.append(pixels)
    return drawn


@pytest.fixture(scope="module")
def expected(policy: Policy, pictures: Sequence[Pixels]) -> list[Decision]:
    guard = Guard(policy)
    return [guard.check_output(image=one) for one in pictures]


def remote(policy: Policy, server: TritonServer, protocol: str, *, is_shared: bool) -> Guard:
    url = server.grpc if protocol == "grpc" else server.http
    triton = Triton(url=url, protocol=protocol, call_ms=_PATIENT_MS, shared_memory=is_shared)  # type: ignore[arg-type]
    options = RunnerOptions(backend="triton", triton=triton)
    models = {"my-images": replace(options, mode="precise"), "face-detector": options}
    return Guard(Policy(policy="images", output_image=policy.output_image, models=models))


def regions(server: TritonServer) -> set[str]:
    """The regions that the server has mapped."""
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    return set(client.get_system_shared_memory_status().regions)


def differing(ours: Sequence[Decision], theirs: Sequence[Decision]) -> list[int]:
    """Rows where two guards disagree in anything that a caller acts on."""

    def facts(one: Decision) -> Any:
        scores = {name: round(score or 0, 5) for name, score in one.scores.items()}
        fired = [fired.rule for fired in one.fired]
        image = None if one.image is None else np.asarray(one.image).tobytes()
        return one.action, scores, fired, one.regions, one.status, image

    pairs = enumerate(zip(ours, theirs, strict=True))
    return [row for row, (a, b) in pairs if facts(a) != facts(b)]


@pytest.mark.parametrize(("protocol", "is_shared"), _WAYS)
def test_decisions_through_the_server_are_those_made_here(
    policy: Policy, images: TritonServer, pictures: Sequence[Pixels],
    expected: Sequence[Decision], protocol: str, is_shared: bool,
) -> None:  # fmt: skip
    guard = remote(policy, images, protocol, is_shared=is_shared)
    assert bool(regions(images)) == is_shared
    answers = [guard.check_output(image=one) for one in pictures]
    assert differing(expected, answers) == []
    assert {one.action for one in expected} == {Action.ALLOW, Action.EDIT, Action.BLOCK}
    del guard, answers
    gc.collect()
    assert regions(images) == set()


@pytest.mark.parametrize(("protocol", "is_shared"), _WAYS)
def test_eight_clients_at_once_get_the_same_answers(
    policy: Policy, images: TritonServer, pictures: Sequence[Pixels],
    expected: Sequence[Decision], protocol: str, is_shared: bool,
) -> None:  # fmt: skip
    guard = remote(policy, images, protocol, is_shared=is_shared)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda one: guard.check_output(image=one), pictures))
    assert differing(expected, answers) == []


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_restarted_server_is_given_new_memory(
    policy: Policy, images: TritonServer, pictures: Sequence[Pixels],
    expected: Sequence[Decision], protocol: str,
) -> None:  # fmt: skip
    guard = remote(policy, images, protocol, is_shared=True)
    assert differing(expected[:4], [guard.check_output(image=one) for one in pictures[:4]]) == []
    images.kill()
    assert guard.check_output(image=pictures[0]).status is Status.ERROR
    images.start()
    until_s = time.monotonic() + _PATIENT_MS / 1000
    while guard.check_output(image=pictures[0]).status is not Status.OK:  # until it is tried again
        assert time.monotonic() < until_s
        time.sleep(0.1)
    answers = [guard.check_output(image=one) for one in pictures[:8]]
    assert differing(expected[:8], answers) == []


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_forbids_shared_memory_is_an_error_at_the_start(
    policy: Policy, tmp_path: Path, protocol: str
) -> None:
    write_repository(policy, tmp_path / "out", Serving(backend="python"))
    refuse = "shared-memory:key=secret"
    options = [f"--grpc-restricted-protocol={refuse}", f"--http-restricted-api={refuse}"]
    server = TritonServer(tmp_path / "out" / "models", tmp_path, *options)
    server.start()
    try:
        with pytest.raises(ServerError, match="does not take shared memory"):
            remote(policy, server, protocol, is_shared=True)
        remote(policy, server, protocol, is_shared=False)
    finally:
        server.kill()
    assert list(Path("/dev/shm").glob("guardkit-*")) == []  # noqa: S108


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_served_guard_decides_as_one_here(
    images: TritonServer, pictures: Sequence[Pixels], expected: Sequence[Decision], protocol: str
) -> None:
    client, kind = {
        "grpc": (tritonclient.grpc.InferenceServerClient(images.grpc), tritonclient.grpc.InferInput),
        "http": (tritonclient.http.InferenceServerClient(images.http), tritonclient.http.InferInput),
    }[protocol]  # fmt: skip
    for pixels, ours in zip(pictures, expected, strict=True):
        inputs = []
        for name, content in (("text", b""), ("image", as_png(pixels))):
            tensor = kind(name, [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[content]], dtype=object))
            inputs.append(tensor)
        answer = client.infer("guard", inputs)
        (said,), (edited,) = (
            answer.as_numpy(name).ravel() for name in ("decision", "edited_image")
        )
        theirs = json.loads(said)
        assert (theirs["stage"], theirs["status"]) == ("output-image", "ok")
        assert theirs["action"] == ours.action.value
        assert theirs["scores"] == pytest.approx(dict(ours.scores), abs=1e-5)
        assert bool(edited) == (ours.action is Action.EDIT)
        if edited:
            np.testing.assert_array_equal(decode(edited).frames[0], ours.image)
