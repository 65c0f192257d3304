"""A runner made of a function: the whole SDK without a model."""

from __future__ import annotations

from collections.abc import Callable

from guardkit.runtime.base import Arrays, RunnerInfo
from guardkit.runtime.clock import Stop, check_time


class FakeRunner:
    """Runs a function instead of a graph; what tests and examples use.

    >>> import numpy as np
    >>> runner = FakeRunner(lambda inputs: {"logits": np.zeros((1, 2), np.float32)})
    >>> runner.run({})["logits"].shape
    (1, 2)
    """

    def __init__(self, function: Callable[[Arrays], Arrays], *, name: str = "fake") -> None:
        self._function = function
        self._info = RunnerInfo(name, "0", "0" * 64, "fake", "cpu", "fp32")

    @property
    def info(self) -> RunnerInfo:
        """What is really running: nothing but the function."""
        return self._info

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Call the function, unless the time is over."""
        check_time(stop, self._info.name)
        return self._function(inputs)
