"""Leave out of a test run what its environment does not have."""

from importlib.util import find_spec

_ROOMS = {
    "torch": [  # make test-train
        "guardkit/train/*",
        "guardkit/export/*",
        "guardkit/integrations/bottleneck.py",
        "guardkit/integrations/diffusers_steer.py",
        "tests/training",
    ],
    "rapidocr": ["tests/ocr"],  # make test-ocr
    "av": ["guardkit/image/video.py", "tests/video"],  # make test-video
    "openai": ["tests/openai"],  # make test-openai
    "diffusers": ["tests/diffusers"],  # make test-diffusers
    "tritonclient": ["guardkit/runtime/wire_*.py"],
    "pytriton": ["tests/triton"],  # make test-triton
    "triton_python_backend_utils": ["guardkit/serve/*_model*.py"],  # inside a server alone
}
collect_ignore_glob = [
    room for name, rooms in _ROOMS.items() if not find_spec(name) for room in rooms
]
