"""The error tree: what a caller can catch, and that errors travel between processes."""

from __future__ import annotations

import pickle

import pytest

from guardkit import errors
from guardkit.decision import Decision
from guardkit.errors import (
    Blocked,
    DeadlineError,
    Fault,
    GuardkitError,
    InputError,
    MissingExtraError,
    PolicyError,
)
from guardkit.taxonomy import Stage
from guardkit.types import Action, Scores

DECISION = Decision(
    action=Action.BLOCK, stage=Stage.PROMPT, scores=Scores({"insult": 0.9}), reasons=("rude: high",)
)


@pytest.mark.parametrize(
    ("leaf", "branch"),
    [
        # The tree drawn in the docstring of errors.py.
        pytest.param(errors.InputError, ValueError, id="input-is-value-error"),
        pytest.param(errors.MissingArtifactError, errors.ArtifactError, id="missing-artifact"),
        pytest.param(errors.ManifestError, errors.ArtifactError, id="manifest"),
        pytest.param(errors.DigestError, errors.ArtifactError, id="digest"),
        pytest.param(errors.ParityError, errors.ArtifactError, id="parity"),
        pytest.param(errors.MissingExtraError, errors.BackendError, id="missing-extra"),
        pytest.param(errors.MissingExtraError, ImportError, id="missing-extra-is-import-error"),
        pytest.param(errors.ProviderError, errors.BackendError, id="provider"),
        pytest.param(errors.RunError, errors.BackendError, id="run"),
        pytest.param(errors.DeadlineError, errors.BackendError, id="deadline"),
        pytest.param(errors.DeadlineError, TimeoutError, id="deadline-is-timeout-error"),
        pytest.param(errors.ArtifactError, GuardkitError, id="artifact-is-ours"),
        pytest.param(errors.BackendError, GuardkitError, id="backend-is-ours"),
        pytest.param(errors.PolicyError, GuardkitError, id="policy-is-ours"),
        pytest.param(errors.Blocked, GuardkitError, id="blocked-is-ours"),
    ],
)
def test_a_leaf_is_caught_by_its_branch(leaf: type[Exception], branch: type[Exception]) -> None:
    assert issubclass(leaf, branch)


def test_faults_are_told_in_the_order_of_the_file() -> None:
    late, early = Fault("p.yaml", 9, 1, "b", "wrong."), Fault("p.yaml", 2, 5, "", "wrong too.")
    assert str(PolicyError([late, early])) == "p.yaml:2:5: wrong too.\np.yaml:9:1: b: wrong."


def test_a_missing_extra_says_how_to_install_it() -> None:
    assert str(MissingExtraError("running a model", "cpu")) == (
        "running a model needs the extra 'cpu', which is not installed. "
        'Run: pip install "guardkit[cpu]"'
    )


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(InputError("text is int. Expected str."), id="plain"),
        pytest.param(PolicyError([Fault("p.yaml", 1, 2, "policy", "is missing.")]), id="policy"),
        pytest.param(MissingExtraError("running a model", "cpu"), id="missing-extra"),
        pytest.param(DeadlineError("scorers: no answer within 5 ms."), id="deadline"),
        pytest.param(Blocked(DECISION), id="blocked"),
    ],
)
def test_an_error_comes_out_of_another_process_as_it_went_in(error: GuardkitError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_blocked_carries_the_decision_and_says_its_reasons() -> None:
    assert Blocked(DECISION).decision is DECISION
    assert str(Blocked(DECISION)) == "block: rude: high"
