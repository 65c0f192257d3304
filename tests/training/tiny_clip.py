"""A tiny CLIP model with random weights, and generated pictures with and without red discs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

SIDE, WIDTH = 32, 24
_WORDS = ["<pad>", "<unk>", "<start>", "<end>", "a", "photo", "of", "the", "sea", "disc", "red"]
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def build_clip(folder: Path, *, seed: int = 3) -> Path:
    """Write a CLIP model and its tokenizer; features that differ enough to learn from."""
    torch.manual_seed(seed)
    ends = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    text = {**_TOWER, **ends, "vocab_size": len(_WORDS), "max_position_embeddings": 16}
    vision = {**_TOWER, "image_size": SIDE, "patch_size": 8}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)
    model = CLIPModel(config)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.dim() > 1 and "embedding" not in name:
                one.mul_(2)  # the usual start is so small that all pictures look alike
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words; texts of a few."""
    vocabulary = {word: at for at, word in enumerate(_WORDS)}
    plain = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = Whitespace()
    plain.post_processor = TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=16,
    )


def draw_picture(random: np.random.Generator, *, disc: bool, colour: int = 0) -> NDArray[np.uint8]:
    """Soft noise of 48x48 pixels, with a disc of one full colour channel or without."""
    pixels = random.integers(80, 130, (6, 6, 3)).repeat(8, axis=0).repeat(8, axis=1)
    if disc:
        down, across = np.mgrid[:48, :48]
        middle = random.integers(16, 32, 2)
        inside = np.hypot(down - middle[0], across - middle[1]) < 15
        pixels[inside] = np.eye(3, dtype=int)[colour] * 255
    return pixels.astype(np.uint8)


def write_pictures(folder: Path, categories: dict[str, int], *, count: int = 40) -> Path:
    """A folder as `guardkit eval image` reads it: `safe`, and each category with discs of its colour."""
    random = np.random.default_rng(8)
    for name, colour in {"safe": None, **categories}.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw_picture(random, disc=colour is not None, colour=colour or 0)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
    return folder
