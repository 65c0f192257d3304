"""Stable Diffusion pipelines of a few thousand random weights, built offline, and a tokenizer of single characters."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIDE = 64
"""Pixels of a picture; its latents are half as wide."""
_WIDTH, _TOKENS = 16, 77
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The noise of Stable Diffusion 1 (scheduler_config.json)."""


def tiny(kind: type[Any], scheduler: Any = None, *, seed: int = 0) -> Any:
    """A pipeline of a kind, with random weights."""
    torch.manual_seed(seed)
    pipeline = kind(
        vae=_autoencoder(),
        text_encoder=_text_encoder(),
        tokenizer=_tokenizer(),
        unet=_denoiser(),
        scheduler=scheduler or scheduler_of(DDIMScheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def scheduler_of(kind: type[Any], **settings: Any) -> Any:
    """A sampler as Stable Diffusion 1 has it."""
    once = {"clip_sample": False, "set_alpha_to_one": False} if kind is DDIMScheduler else {}
    return kind(**_TRAINED, steps_offset=1, **once, **settings)


def _tokenizer() -> Any:
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), _BEGIN, _END]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps({word: at for at, word in enumerate(words)}))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=_TOKENS)


def _text_encoder() -> Any:
    config = CLIPTextConfig(
        vocab_size=len(_tokenizer()),
        hidden_size=_WIDTH,
        intermediate_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=_TOKENS,
        bos_token_id=len(_tokenizer()) - 2,
        eos_token_id=len(_tokenizer()) - 1,
    )
    return CLIPTextModel(config).eval()


def _autoencoder() -> Any:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 8),
        norm_num_groups=4,
        sample_size=SIDE,
    ).eval()


def _denoiser() -> Any:
    return UNet2DConditionModel(
        sample_size=SIDE // 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()
