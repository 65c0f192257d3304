"""Every error guardkit raises, in one tree: pick the branch you want to catch.

GuardkitError
    InputError             what the caller handed in cannot be used (also a ValueError)
        ImageError             an image or a video cannot be decoded, or is over a limit
    PolicyError            a policy or cases file has faults; `faults` lists all of them
    ArtifactError          a model folder cannot be used
        MissingArtifactError   no such artifact; the message lists every place tried
        ManifestError          the manifest is unreadable, or disagrees with the files or the graph
        DigestError            a file is not the one the manifest describes
        ParityError            exported outputs differ from the reference beyond the tolerance
    BackendError           a model could not be run
        MissingExtraError      an optional package is not installed (also an ImportError)
        ProviderError          the provider asked for is not the one that would run
        ServerError            a server is absent, or does not serve what was asked for
        RunError               the graph failed while running, or gave unusable output
        OverloadError          too many checks wait already; this one was refused
        DeadlineError          a step did not finish in time (also a TimeoutError)
    Blocked                raised by `Guard.enforce` alone, never by a check; carries the decision

No message ever holds a user's text or image. Order in a message: where, what is wrong, what was
found, what is allowed, what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guardkit.decision import Decision


class GuardkitError(Exception):
    """The root of every error guardkit raises."""


class InputError(GuardkitError, ValueError):
    """What the caller handed in cannot be used."""


class ImageError(InputError):
    """An image or a video cannot be decoded, or is over a limit."""

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        """The path; `image` or `video` where there is none."""
        self.problem = problem
        """What is wrong, found, allowed, and what to do; never what it holds."""
        super().__init__(where, problem)  # what pickle builds it from again

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing wrong in a YAML file."""

    file: str
    line: int
    """1-based."""
    column: int
    """1-based."""
    path: str
    """Where in the document, for example `prompt.rules[0].when.category`."""
    problem: str
    """What is wrong, found, allowed, and what to do."""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.line}:{self.column}: {where}{self.problem}"


class PolicyError(GuardkitError):
    """A policy or cases file has faults; all of them are in `faults`."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__(self.faults)  # what pickle builds it from again

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class ArtifactError(GuardkitError):
    """A model folder cannot be used."""


class MissingArtifactError(ArtifactError):
    """No such artifact; the message lists every place tried."""


class ManifestError(ArtifactError):
    """The manifest is unreadable, or disagrees with the files or the graph."""


class DigestError(ArtifactError):
    """A file is not the one the manifest describes."""


class ParityError(ArtifactError):
    """Exported outputs differ from the reference beyond the stated tolerance."""


class BackendError(GuardkitError):
    """A model could not be run."""


class MissingExtraError(BackendError, ImportError):
    """An optional package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        self.feature = feature
        self.extra = extra
        super().__init__(feature, extra)  # what pickle builds it from again

    def __str__(self) -> str:
        return (
            f"{self.feature} needs the extra '{self.extra}', which is not installed. "
            f'Run: pip install "guardkit[{self.extra}]"'
        )


class ProviderError(BackendError):
    """The provider asked for is not the one that would run."""


class ServerError(BackendError):
    """An inference server is absent, or does not serve the model that was asked for."""


class RunError(BackendError):
    """The graph failed while running, or gave unusable output."""


class OverloadError(BackendError):
    """Too many checks wait already; this one was refused, and nothing was checked."""


class DeadlineError(BackendError, TimeoutError):
    """A step did not finish in time."""


class Blocked(GuardkitError):  # noqa: N818  public name fixed in the API
    """A decision that does not allow the content, as an exception; see `Guard.enforce`."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(decision)  # what pickle builds it from again

    def __str__(self) -> str:
        return f"{self.decision.action.value}: {'; '.join(self.decision.reasons) or 'no reason'}"
