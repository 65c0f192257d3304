"""Guard a diffusers pipeline: its prompts, what brackets hide in them, its steps and its pictures. Takes torch and diffusers."""

import json
import tempfile
from pathlib import Path

from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from guardkit import Guard
from guardkit.integrations.diffusers import Terms, guarded, preview_guard

POLICY = """policy: pictures
extends: text-to-image
timeout_ms: 10000
output-image: {scorers: [image-safety], rules: [{name: no-gore, when: {category: gore, at_least: 0.6}, action: regenerate}]}
"""


def tiny(folder: Path) -> StableDiffusionPipeline:
    """Stands for `StableDiffusionPipeline.from_pretrained(...)`: random weights, which draw fog."""
    words = [chr(code) + end for code in range(33, 127) for end in ("", "</w>")] + ["<|startoftext|>", "<|endoftext|>"]  # fmt: skip
    (folder / "vocab").write_text(json.dumps({word: at for at, word in enumerate(words)}))
    (folder / "merges").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab"), str(folder / "merges"), model_max_length=77)
    text = CLIPTextConfig(vocab_size=len(words), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, bos_token_id=188, eos_token_id=189)  # fmt: skip
    blocks = {"down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",)}  # fmt: skip
    unet = UNet2DConditionModel(24, block_out_channels=(32,), cross_attention_dim=32, **blocks)
    return StableDiffusionPipeline(AutoencoderKL(sample_size=24), CLIPTextModel(text), tokenizer, unet, DDIMScheduler(steps_offset=1, clip_sample=False), None, None, requires_safety_checker=False)  # fmt: skip


with tempfile.TemporaryDirectory() as name:
    (Path(name) / "pictures.yaml").write_text(POLICY)
    guard = Guard.from_file(Path(name) / "pictures.yaml")
    draw = guarded(tiny(Path(name)), guard, Terms(steps=preview_guard(guard, eta=4)))
for prompt in ("a boat in the fog", "Jane Roe in a boat", "[a boat:I will ki(l)l you all:0.3]"):
    one = draw(prompt, num_inference_steps=10, seed=7).pictures[0]
    print(prompt, "->", one.result.output, *one.result.decision.reasons, *one.steps)
