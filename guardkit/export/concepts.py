"""Concepts that a user describes in words, scored by a CLIP model of the user's: `ConceptSimilarity`.

    guardkit export image-concepts --clip ./clip-vit-base-patch32 --concepts concepts.yaml --name my-concepts --out models

    hate-symbol:
      - {text: "a flag with a purple spiral", at_least: 0.26}
      - {text: "a tattoo of a purple spiral", at_least: 0.28}

As in the safety checker of Stable Diffusion, a concept has a threshold of its own for the cosine of picture and text:

    logit = s * max over concepts of (cos(picture, concept) - at_least)      s: the model's own scale, exp(logit_scale)

so a score of 0.5 is the threshold of the nearest concept, and the policy's thresholds go on from there. Texts are read at export: the
artifact holds their vectors and the vision tower, and a policy names it like any other scorer of images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import torch
from msgspec import Meta, Struct
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoTokenizer

from guardkit.artifacts import Artifact, Calibration
from guardkit.errors import Fault, InputError, PolicyError
from guardkit.export.artifact import MODEL, check_name
from guardkit.export.image_artifact import AboutImages, new_artifact, write_image_artifact
from guardkit.export.image_heads import ScoredCrops, export_crops
from guardkit.export.image_parity import DRAWN, drawn_crops
from guardkit.export.label_map import IMAGE_CATEGORIES
from guardkit.policy.shape import check_shape, nearest
from guardkit.policy.tree import read_tree
from guardkit.train.image_encoder import READING, ImageEncoder, clip_encoder, load_clip

_FORM = "Expected 'category:' over a list of {text: ..., at_least: ...}."


class Concept(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that a picture may show."""

    text: str
    """As CLIP was trained on: a caption, "a photo of ..."."""
    at_least: Annotated[float, Meta(ge=-1, le=1)]
    """The cosine from which on a picture counts as showing it."""


_Concepts = dict[str, tuple[Concept, ...]]


@dataclass(frozen=True, slots=True)
class ConceptsRequest:
    """What to make of which CLIP model."""

    clip: str
    """A folder that `save_pretrained` wrote, with tokenizer, or a name of the hub."""
    concepts: Path
    name: str
    """Of the artifact, kebab-case."""
    licence: str = "not stated"
    version: str = "0.1.0"


class ConceptSimilarity(nn.Module):
    """Embeddings of crops to a logit a category."""

    def __init__(
        self,
        texts: Tensor,
        concepts: Sequence[Concept],
        counts: Sequence[int],
        scale: float,
    ) -> None:
        """Take concepts, those of the first category first.

        Args:
            texts: f32 [concepts, width], of any length.
            concepts: With their thresholds.
            counts: How many each category has.
            scale: The model's, of cosines.
        """
        super().__init__()
        self.counts, self.scale = tuple(counts), scale
        self.register_buffer("texts", functional.normalize(texts, dim=-1))
        self.register_buffer("at_least", torch.tensor([one.at_least for one in concepts]))

    def forward(self, embeddings: Tensor) -> Tensor:
        """f32 [crops, width] to f32 [crops, categories]."""
        cosines = functional.normalize(embeddings, dim=-1) @ self.texts.T
        over = (self.scale * (cosines - self.at_least)).split(self.counts, dim=-1)
        return torch.stack([one.amax(dim=-1) for one in over], dim=-1)


def export_concepts(request: ConceptsRequest, out: Path) -> Artifact:
    """Write the artifact.

    Args:
        request: The model, the concepts, and what the manifest should say.
        out: The folder that holds artifacts; nothing is left there when something fails.

    Raises:
        InputError: The name is taken, or the model or the concepts cannot be read.
        ParityError: The graph does not give what the model gives.
    """
    check_name(request.name)
    concepts = read_concepts(request.concepts)
    encoder, head = _open(request.clip, concepts)
    identity = dict.fromkeys(concepts, Calibration(1.0, 0.0))
    about = AboutImages(request.name, request.version, request.licence, identity, encoder.look.side)
    model = ScoredCrops(encoder, head).eval()

    def write(folder: Path) -> Artifact:
        export_crops(model, about.side, folder / MODEL)
        return write_image_artifact(folder, about, _scores(model, about.side))

    return new_artifact(out, request.name, write)


def read_concepts(path: Path) -> _Concepts:
    """Read concepts, by category.

    Raises:
        InputError: The file has faults; the message lists all of them with line and column.
    """
    faults: list[Fault] = []
    try:
        tree = read_tree(path, faults)
    except PolicyError as e:
        raise InputError(f"{e}\n{_FORM}") from e
    found = check_shape(tree, _Concepts, faults)
    for name, key in tree.keys.items():
        if name not in IMAGE_CATEGORIES:
            known, hint = ", ".join(IMAGE_CATEGORIES), nearest(name, IMAGE_CATEGORIES)
            faults.append(key.fault(name, f"unknown category of images. Known: {known}.{hint}"))
        elif tree.mapping and not tree.mapping[name].items:
            faults.append(key.fault(name, f"found no concept. {_FORM}"))
    if not tree.mapping:
        faults.append(tree.fault("", f"found {tree.kind} without entries. {_FORM}"))
    if faults:
        raise InputError("\n".join(map(str, sorted(faults))))
    return msgspec.convert(found, _Concepts)


def _open(
    clip: str, concepts: Mapping[str, Sequence[Concept]]
) -> tuple[ImageEncoder, ConceptSimilarity]:
    """Both towers of a model: the one for pictures, and what the one for texts says of the concepts."""
    every = [one for of in concepts.values() for one in of]
    try:
        model = load_clip(clip)
        tokenizer = AutoTokenizer.from_pretrained(clip)
        texts = _embedded(model, tokenizer, [one.text for one in every])
        encoder = clip_encoder(model, clip)
    except READING as e:
        raise InputError(
            f"--clip {clip}: no CLIP model ({type(e).__name__}). Expected a folder with config.json, safetensors "
            "weights and a tokenizer, or its name on the hub."
        ) from e
    counts = [len(of) for of in concepts.values()]
    return encoder, ConceptSimilarity(texts, every, counts, float(model.logit_scale.exp()))


def _embedded(model: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
    tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return model.get_text_features(tokens["input_ids"], tokens["attention_mask"])


def _scores(model: nn.Module, side: int) -> NDArray[np.floating]:
    with torch.no_grad():
        return model(torch.from_numpy(drawn_crops(DRAWN, side))).sigmoid().numpy()
