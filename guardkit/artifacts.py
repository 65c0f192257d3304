"""Artifacts: the folders that hold exported models, where they are found, and what they promise.

An artifact is a Triton model folder plus `manifest.json`:

    text-safety/manifest.json, CARD.md, parity.json, config.pbtxt, labels.txt, 1/model.onnx, 1/tokenizer.json
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from guardkit.errors import DigestError, ManifestError, MissingArtifactError
from guardkit.places import MODELS
from guardkit.taxonomy import TAXONOMY

FORMAT = 1
PARITY_FILE = "parity.json"
"""Reference outputs; the SDK does not read it, `guardkit models verify` does."""

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class FileEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of an artifact."""

    sha256: Digest
    size_bytes: Annotated[int, Meta(ge=0)]


class TensorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of the graph."""

    name: str
    dtype: str
    """numpy's name, for example `int64`."""
    shape: tuple[int | str, ...]
    """A number is fixed; a word names a dimension that varies."""


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """Platt scaling of one category: score = 1 / (1 + exp(-(scale * logit + shift)))."""

    scale: Annotated[float, Meta(gt=0)]
    shift: float

    def log_odds(self, logit: float) -> float:
        """The exponent above, with the sign turned: log(score / (1 - score))."""
        return self.scale * logit + self.shift


_LARGEST = 60.0  # beyond it a float64 probability is 0 or 1, and exp may overflow


def probability(log_odds: float) -> float:
    """A score in [0, 1] from its log-odds: 1 / (1 + exp(-x)).

    >>> probability(0.0)
    0.5
    """
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -_LARGEST), _LARGEST)))


Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]
BILINEAR: Resample = "bilinear"


class ImageOptions(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How images reach the graph: as square crops, uint8 RGB [crops, side, side, 3]."""

    side: Annotated[int, Meta(ge=16, le=1024)]
    """Pixels of a crop's side."""
    resample: Resample = BILINEAR
    """How pictures are resized to it; what the model was trained on."""
    second: Name | None = None
    """The artifact that votes too under `models.<name>.mode: precise`; None: there is none."""


class FaceOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How images reach a detector of faces: whole, uint8 RGB [pictures, height, width, 3]."""

    shortest: Annotated[int, Meta(ge=32, le=4096)]
    """Pixels of the longer side of the smallest picture it sees well; a smaller one is enlarged."""
    longest: Annotated[int, Meta(ge=32, le=4096)]
    """Likewise of the largest; a larger one is shrunk."""
    multiple: Annotated[int, Meta(ge=1, le=256)]
    """Both sides of what the graph gets are multiples of it."""
    stride: Annotated[int, Meta(ge=1, le=64)]
    """Pixels of the picture a cell of its maps, along a side."""


class EditOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How an edit reaches the graph: a picture before and after it, what differs between both, and the request."""

    side: Annotated[int, Meta(ge=16, le=1024)]
    """Of the two crops, uint8 RGB [edits, 2, side, side, 3]: each picture squeezed to a square."""
    signals: tuple[str, ...]
    """What is measured of both, in the order of the graph's `signals`."""
    said: tuple[str, ...]
    """Categories of text-safety, whose log-odds for the request the graph's `log_odds` holds in this order."""


class BottleneckOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a bottleneck stands: f32 [batch, tokens, width] in and out."""

    width: Annotated[int, Meta(ge=1)]
    """Numbers a token has there."""
    base: str
    """The model whose features it takes."""
    layer: str
    """The name of the module that gives them."""


class TextOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """How text reaches the graph."""

    max_tokens: Annotated[int, Meta(ge=8)]
    """Longest window, special tokens included."""
    overlap: Annotated[int, Meta(ge=0)]
    """Tokens that neighbouring windows share."""
    tokenizer: str = "1/tokenizer.json"
    span_threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    """A token whose score is at least this carries the category."""


class Fitted(Struct, frozen=True, forbid_unknown_fields=True):
    """What the bounds of a fast tier were chosen for; beside anything else they promise nothing."""

    model: str
    """`name@version` of the full model."""
    scores_digest: Digest
    """Its `Manifest.scores_digest`."""
    thresholds: dict[str, float]
    """Category -> the lowest threshold the bounds hold for."""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What an artifact holds: the typed content of `manifest.json`."""

    format: int
    name: Name
    version: str
    task: str
    """`text-scores`, `text-tags`, `image-scores`, `faces`, `edit-scores`, `bottleneck`, or `text-clears`: a fast tier, which
    reads another model's tokens."""
    precision: str
    """`fp32`, `fp16` or `int8`."""
    licence: str
    categories: tuple[str, ...]
    """In the order of the graph's `logits`."""
    calibration: dict[str, Calibration]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: dict[str, FileEntry]
    """Relative path -> digest; every file the SDK reads is listed."""
    text: TextOptions | None = None
    """None: it takes no text of its own."""
    image: ImageOptions | None = None
    """None: it takes no crops of images."""
    faces: FaceOptions | None = None
    """None: it detects no faces."""
    edits: EditOptions | None = None
    """None: it does not compare a picture with what it was made of."""
    bottleneck: BottleneckOptions | None = None
    """None: it stands in no generator."""
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes it was trained and measured on; () when nobody said: it then takes any."""
    model: str = "1/model.onnx"
    kinds: tuple[str, ...] = ()
    """Of a tagger: kinds of personal data, in the order of its `token_logits`."""
    clears: dict[str, Annotated[float, Meta(ge=0, le=1)]] = {}
    """Of a fast tier: category -> bound; it clears a text whose scores are all below theirs."""
    fitted: Fitted | None = None
    """Of a fast tier: what `clears` was chosen for."""

    @property
    def sees_images(self) -> bool:
        """Whether it looks at images rather than at text."""
        return any(one is not None for one in (self.image, self.faces, self.edits))

    @property
    def columns(self) -> tuple[str, ...]:
        """What the columns of the graph's outputs stand for."""
        return self.kinds or self.categories

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def scores_digest(self) -> str:
        """SHA-256 of all that a text's scores depend on: graph, tokenizer, windows, calibration."""
        files = [self.files[self.model].sha256]
        if self.text:
            files.append(self.files[self.text.tokenizer].sha256)
        parts = (files, self.categories, self.calibration, self.text)
        return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


class TensorRT(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How TensorRT builds and keeps its engines."""

    fp16: bool = True
    """Whether it may compute in half precision."""
    cache: str | None = None
    """Folder for engines and timings, relative to the policy file; None: built anew at every start."""
    most_windows: Annotated[int, Meta(ge=1, le=1024)] = 16
    """Windows or crops in one run, at most: `text.score` and `image.score` run no more together."""


class Tls(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Encryption towards a server. Paths are relative to the policy file."""

    ca: str | None = None
    """PEM file of the authorities to trust; None: those of the system."""
    certificate: str | None = None
    """PEM file, with `key`, by which the server may know this client."""
    key: str | None = None


class Breaker(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """When a server that fails is left alone for a while."""

    failures: Annotated[int, Meta(ge=1)] = 5
    """Calls that fail in a row before no more are made."""
    pause_ms: Annotated[float, Meta(ge=0)] = 1000
    """How long none is made; then one call tries, while others are still refused."""


class Triton(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a Triton server is, and how it is spoken to."""

    url: Annotated[str, Meta(pattern=r"^[^/\s]+:[0-9]+$")]
    """`host:port`: of gRPC (8001 as a rule) or of HTTP (8000)."""
    protocol: Literal["grpc", "http"] = "grpc"
    model: Name | None = None
    """Its name at the server; None: the artifact's."""
    tls: Tls | None = None
    """None: not encrypted."""
    token_env: str | None = None
    """Environment variable that holds a bearer token; the token itself stays out of policies."""
    call_ms: Annotated[float, Meta(gt=0)] = 1000
    """Longest wait for one call, retries included; a policy's `timeout_ms` may end it earlier."""
    retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """More tries when the server cannot be reached, within the wait."""
    pad_to: Annotated[int, Meta(ge=1, le=128)] = 8
    """Tokens are padded to a multiple of it, for the server batches inputs of one length alone."""
    breaker: Breaker = Breaker()
    shared_memory: bool = False
    """Whether inputs reach a server on this machine through /dev/shm: for images, whose crops are large."""


class RunnerOptions(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How an artifact is run: the policy's `models.<name>`."""

    backend: Literal["onnx", "triton"] = "onnx"
    """`triton`: by a server; the artifact here says how to read and calibrate what it answers."""
    triton: Triton | None = None
    """For `backend: triton` alone, which needs it."""
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    """What is asked for runs, or there is an error: never a silent CPU."""
    device: Annotated[int, Meta(ge=0)] = 0
    """Which GPU."""
    tensorrt: TensorRT = TensorRT()
    threads: Annotated[int, Meta(ge=1, le=256)] = 1
    """Threads of one run; 1 suits a web server, where requests are the parallelism."""
    path: str | None = None
    """The artifact's folder, relative to the policy file, when it is not in a usual place."""
    cache: str | None = None
    """Folder, relative to the policy file, that keeps optimized graphs for the next start; None: no."""
    languages: tuple[str, ...] | None = None
    """Which of the model's languages it is asked for; None: all."""
    kinds: tuple[str, ...] | None = None
    """Of a tagger: which of its kinds count, for example `[PERSON, ADDRESS, PLACE]`; None: people and addresses."""
    mode: Literal["fast", "precise"] = "fast"
    """Of an image model: `precise` has its second model vote, for about twice the time."""
    reads_request: bool = True
    """Of `image-transform`: whether its scores may depend on the request; false: on both pictures alone."""
    cascade: bool = True
    """Whether a fast tier fitted to this model, where there is one, may clear texts before it."""


class Artifact(Struct, frozen=True):
    """A folder and its manifest. `read` checks the digest of what it returns."""

    path: Path
    manifest: Manifest

    def read(self, relative: str) -> bytes:
        """Read one file of the artifact, in memory, after checking it against the manifest.

        Raises:
            ManifestError: The manifest does not list the file.
            DigestError: The file is missing, truncated or changed.
        """
        entry = self.manifest.files.get(relative)
        if entry is None:
            raise ManifestError(f"{self.path / 'manifest.json'}: lists no file '{relative}'.")
        path = self.path / relative
        try:
            content = path.read_bytes()
        except OSError as e:
            raise DigestError(f"{path}: cannot be read ({e.strerror}). {_REINSTALL}") from e
        if len(content) != entry.size_bytes:
            raise DigestError(
                f"{path}: {len(content)} bytes, the manifest says {entry.size_bytes}. {_REINSTALL}"
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.sha256:
            raise DigestError(
                f"{path}: SHA-256 {digest[:12]}..., the manifest says {entry.sha256[:12]}... {_REINSTALL}"
            )
        return content

    def verify(self) -> None:
        """Check every file the manifest lists.

        Raises:
            DigestError: A file is missing, truncated or changed.
        """
        for relative in self.manifest.files:
            self.read(relative)


_SPECIAL_TOKENS = 2  # the [CLS] and [SEP] of every window
_REINSTALL = "Reinstall guardkit or export the artifact again."


_WHEELS = {
    "text-safety-multi": "guardkit-text-safety-multi",
    "image-safety": "guardkit-image-models",
    "image-safety-second": "guardkit-image-models",
    "face-detector": "guardkit-image-models",
    "image-transform": "guardkit-image-models",
}
"""Artifact -> the wheel it comes with, where that is not guardkit itself."""


def find_artifact(name: str, *, path: Path | None = None) -> Artifact:
    """Find an artifact by name and read its manifest.

    Places, first hit wins: `path` (a policy's `models.<name>.path`), each folder of
    `$GUARDKIT_MODELS`, the installed package, installed data-only wheels, a checkout.

    Raises:
        MissingArtifactError: It is in none of them.
        ManifestError: Its manifest cannot be used.
    """
    if path is not None:
        return load_artifact(path)
    tried: list[str] = []
    for folder in MODELS.folders():
        if (folder / name / "manifest.json").is_file():
            return load_artifact(folder / name)
        tried.append(str(folder / name))
    install = f"Install it (pip install {_WHEELS[name]}), or set" if name in _WHEELS else "Set"
    raise MissingArtifactError(
        f"artifact '{name}' not found. Tried: {'; '.join(tried)}. "
        f"{install} {MODELS.environment_variable} to the folder that holds it, or the policy's models.{name}.path."
    )


def artifact_names() -> list[str]:
    """The names of every artifact that can be found; nothing is read."""
    manifests = (file for folder in MODELS.folders() for file in folder.glob("*/manifest.json"))
    return sorted({file.parent.name for file in manifests})


def list_artifacts() -> list[Artifact]:
    """Every artifact that can be found, by name; the first folder that has it wins."""
    found: dict[str, Artifact] = {}
    for folder in MODELS.folders():
        for manifest in sorted(folder.glob("*/manifest.json")):
            found.setdefault(manifest.parent.name, load_artifact(manifest.parent))
    return [found[name] for name in sorted(found)]


def load_artifact(path: Path) -> Artifact:
    """Read the manifest of the artifact in a folder.

    Raises:
        MissingArtifactError: The folder has no manifest.
        ManifestError: The manifest is malformed or contradicts itself.
    """
    file = path / "manifest.json"
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except OSError as e:
        raise MissingArtifactError(f"{file}: cannot be read ({e.strerror}).") from e
    except msgspec.DecodeError as e:  # ValidationError is one
        raise ManifestError(f"{file}: {e}. {_REINSTALL}") from e
    _check_manifest(manifest, file)
    return Artifact(path, manifest)


def _check_manifest(manifest: Manifest, file: Path) -> None:
    if manifest.format != FORMAT:
        raise ManifestError(
            f"{file}: format {manifest.format}, this guardkit reads {FORMAT}. Upgrade guardkit."
        )
    unknown = [name for name in manifest.categories if name not in TAXONOMY]
    if unknown:
        raise ManifestError(f"{file}: unknown categories {unknown}. Known: {', '.join(TAXONOMY)}.")
    if len(set(manifest.categories)) < len(manifest.categories):
        raise ManifestError(f"{file}: a category is listed twice: {list(manifest.categories)}.")
    uncalibrated = [name for name in manifest.categories if name not in manifest.calibration]
    if uncalibrated:
        raise ManifestError(f"{file}: no calibration for {uncalibrated}.")
    for name in (manifest.model, *([manifest.text.tokenizer] if manifest.text else [])):
        if name not in manifest.files:
            raise ManifestError(f"{file}: '{name}' is used but not listed under files.")
    text = manifest.text
    if text and text.overlap >= text.max_tokens - _SPECIAL_TOKENS:
        raise ManifestError(
            f"{file}: windows of {text.max_tokens} tokens cannot overlap by {text.overlap}."
        )
    bounded = manifest.fitted.thresholds.keys() if manifest.fitted else set()
    if manifest.clears.keys() != bounded or not bounded <= set(manifest.categories):
        raise ManifestError(
            f"{file}: clears {list(manifest.clears)}, fitted for {list(bounded)}. Expected the same "
            f"categories, of {list(manifest.categories)}."
        )
    escaping = [
        name for name in manifest.files if ".." in Path(name).parts or Path(name).is_absolute()
    ]
    if escaping:
        raise ManifestError(f"{file}: files outside the artifact: {escaping}.")
