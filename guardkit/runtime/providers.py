"""What onnxruntime is asked to run a graph on, and with which options.

Unmeasured: no machine with an NVIDIA card has run these yet (README, "Many callers, and a GPU"). TensorRT builds engines for a
range of shapes; the first run of a new range takes minutes, and the caches make the next start quick. int8
artifacts are for the CPU: their MatMulInteger has no GPU kernel, so a GPU wants an fp16 or fp32 export.
Options: onnxruntime's documentation of CUDAExecutionProvider and TensorrtExecutionProvider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from guardkit.artifacts import Manifest, RunnerOptions, TensorSpec
from guardkit.errors import ProviderError

NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""A policy's word -> onnxruntime's."""
_NEEDS = {
    "cuda": 'an NVIDIA driver and pip install "guardkit[gpu]" (in place of the extra cpu)',
    "tensorrt": 'an NVIDIA driver, pip install "guardkit[gpu]" and the TensorRT libraries (pip install tensorrt-cu12)',
}
_CONTEXT_TOKENS = 65  # beyond a window: text.encode.LONGEST_CONTEXT, which stands a floor above
_TYPICAL = (8, 32)  # windows, tokens: what an engine is tuned for
_TYPICAL_CROPS = 3  # of a picture that is not square


def providers_for(
    options: RunnerOptions, manifest: Manifest, available: Iterable[str]
) -> list[tuple[str, dict[str, str]]]:
    """The one provider asked for, with its options.

    Args:
        options: The policy's `models.<name>`.
        manifest: Of the artifact; its shapes bound TensorRT's engines.
        available: What this onnxruntime has.

    Raises:
        ProviderError: This onnxruntime does not have it, or it cannot run the artifact's precision.
    """
    name = NAMES[options.provider]
    available = list(available)
    if name not in available:
        raise ProviderError(
            f"{manifest.id}: provider {options.provider} was asked for; this onnxruntime has "
            f"{', '.join(available)}. It needs {_NEEDS[options.provider]}."
        )
    if options.provider == "cpu":
        return [(name, {})]
    if manifest.precision == "int8":
        raise ProviderError(
            f"{manifest.id}: its int8 graph is for the CPU; {options.provider} would run its matrix "
            f"products there too. Use an fp16 or fp32 artifact (models.{manifest.name}.path)."
        )
    device = {"device_id": str(options.device)}
    if options.provider == "cuda":
        return [(name, device)]
    return [(name, device | _tensorrt(options, manifest))]


def _tensorrt(options: RunnerOptions, manifest: Manifest) -> dict[str, str]:
    ours = options.tensorrt
    wanted = {"trt_fp16_enable": str(int(ours.fp16)), **_profiles(ours.most_windows, manifest)}
    if ours.cache is not None:
        # One folder a graph: an engine belongs to its model.
        folder = Path(ours.cache) / manifest.files[manifest.model].sha256[:16]
        wanted |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": ours.cache,
        }
    return wanted


def _profiles(most_windows: int, manifest: Manifest) -> dict[str, str]:
    """The smallest, usual and largest shapes of every input with free dimensions."""
    if manifest.image is not None:
        crops = {"min": (1,), "opt": (min(_TYPICAL_CROPS, most_windows),), "max": (most_windows,)}
        return _profile_options(crops, manifest)
    if manifest.text is None:
        return {}
    longest = manifest.text.max_tokens + _CONTEXT_TOKENS
    typical = (min(_TYPICAL[0], most_windows), min(_TYPICAL[1], longest))
    sizes = {"min": (1, 1), "opt": typical, "max": (most_windows, longest)}
    return _profile_options(sizes, manifest)


def _profile_options(sizes: Mapping[str, tuple[int, ...]], manifest: Manifest) -> dict[str, str]:
    return {
        f"trt_profile_{name}_shapes": ",".join(_shape(spec, size) for spec in manifest.inputs)
        for name, size in sizes.items()
    }


def _shape(spec: TensorSpec, size: tuple[int, ...]) -> str:
    """`input_ids:8x32`; free dimensions are windows and tokens, in this order, or crops."""
    free = iter(size)
    dimensions = [next(free) if isinstance(one, str) else one for one in spec.shape]
    return f"{spec.name}:{'x'.join(map(str, dimensions))}"
