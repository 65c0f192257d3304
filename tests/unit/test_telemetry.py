"""Counters and spans: what a decision becomes, errors apart from blocks, and no content."""

from __future__ import annotations

import sys

import pytest
from msgspec.structs import replace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from guardkit import Guard, Policy
from guardkit.errors import MissingExtraError
from guardkit.policy.rules import StagePolicy
from guardkit.rollout.telemetry import Counters, Spans
from guardkit.types import Action
from tests.fake_steps import FakeScorer, own_guard, rule, says
from tests.unit.test_loop_run import POLICY, Scripted, guard_of

SECRET = "my secret idiot"


def counted(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


def test_decisions_are_counted_by_action_category_and_status() -> None:
    registry = CollectorRegistry()
    counters = Counters(registry)
    guard = guard_of()
    for text in ("a boat", "a boat", "kill him", SECRET):
        counters.observe(guard.check_prompt(text))
    name = "guardkit_decisions_total"
    assert counted(registry, name, stage="prompt", action="allow", status="ok") == 2
    assert counted(registry, name, stage="prompt", action="block", status="ok") == 1
    assert counted(registry, name, stage="prompt", action="edit", status="ok") == 1
    fired = {"stage": "prompt", "category": "threat", "action": "block"}
    assert counted(registry, "guardkit_fired_total", **fired) == 1
    assert counted(registry, "guardkit_check_seconds_count", stage="prompt") == 4
    assert b"secret" not in generate_latest(registry)


def test_an_error_is_counted_apart_from_a_block() -> None:
    registry = CollectorRegistry()
    counters = Counters(registry)
    counters.observe(
        own_guard(FakeScorer(says(None)), rule("insult", Action.BLOCK)).check_prompt(SECRET)
    )
    counters.observe(
        own_guard(FakeScorer(says(0.9)), rule("insult", Action.BLOCK)).check_prompt(SECRET)
    )
    assert counted(registry, "guardkit_not_measured_total", stage="prompt", status="error") == 1
    name = "guardkit_decisions_total"
    assert counted(registry, name, stage="prompt", action="block", status="error") == 1
    assert counted(registry, name, stage="prompt", action="block", status="ok") == 1


def test_in_shadow_mode_what_would_have_been_done_is_counted() -> None:
    registry = CollectorRegistry()
    guard = guard_of(replace(POLICY, mode="shadow"))
    Counters(registry).observe(guard.check_prompt("kill him"))
    labels = {"stage": "prompt", "action": "block", "status": "ok"}
    assert counted(registry, "guardkit_decisions_total", **labels) == 1


def test_every_decision_of_a_run_is_counted() -> None:
    registry = CollectorRegistry()
    Counters(registry).observe_run(guard_of().run(Scripted("an idiot", "a boat"), "a boat"))
    name = "guardkit_decisions_total"
    assert counted(registry, name, stage="prompt", action="allow", status="ok") == 1
    assert counted(registry, name, stage="output-text", action="regenerate", status="ok") == 1
    assert counted(registry, name, stage="output-text", action="allow", status="ok") == 1


def test_a_decision_becomes_a_span_without_content() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(provider)
    decision = guard_of().check_prompt(SECRET)
    spans.observe(decision)
    spans.observe_run(guard_of().run(Scripted("a boat"), SECRET))
    first, *others = exporter.get_finished_spans()
    assert first.attributes is not None
    assert first.name == "guardkit prompt"
    assert first.attributes["guardkit.action"] == "edit"
    assert first.attributes["guardkit.rules"] == ("insult-edit",)
    assert first.attributes["guardkit.policy"] == decision.policy_id
    assert first.attributes["guardkit.ms.total"] == decision.timings_ms["total"]
    assert first.start_time is not None
    assert first.end_time is not None
    took_ms = (first.end_time - first.start_time) / 1e6
    assert took_ms == pytest.approx(decision.timings_ms["total"], abs=0.01)
    assert [span.name for span in others] == ["guardkit prompt", "guardkit output-text"]
    assert "secret" not in "".join(span.to_json() for span in (first, *others))


@pytest.mark.parametrize(
    ("module", "opener"),
    [pytest.param("prometheus_client", Counters), pytest.param("opentelemetry.trace", Spans)],
)
def test_a_missing_package_names_its_extra(
    module: str, opener: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"guardkit\[telemetry\]"):
        opener()


def test_a_policy_without_rules_counts_too() -> None:
    registry = CollectorRegistry()
    guard = Guard(Policy("calm", prompt=StagePolicy()))
    Counters(registry).observe(guard.check_prompt("a boat"))
    labels = {"stage": "prompt", "action": "allow", "status": "ok"}
    assert counted(registry, "guardkit_decisions_total", **labels) == 1
