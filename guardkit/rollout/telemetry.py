"""Opt-in counters for Prometheus and spans for OpenTelemetry, one decision at a time; no content in either.

    guardkit_decisions_total         {stage, action, status}     every decision
    guardkit_fired_total             {stage, category, action}   rules that were true, once a category and action
    guardkit_not_measured_total      {stage, status}             decisions of which something could not be measured: errors,
                                                                 apart from what was blocked for what it says
    guardkit_check_seconds           {stage}                     histogram of the time a check took

Labels are names of a policy, never of a text. In shadow mode `action` is what would have been done.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from guardkit.decision import Decision
from guardkit.errors import MissingExtraError
from guardkit.types import RunResult, Status

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

# Seconds; chosen: around what one model run takes, up to a time limit of a policy.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_NS = 1_000_000  # nanoseconds a millisecond


class Counters:
    """Counts decisions for Prometheus; safe to share between threads."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Register the counters.

        Args:
            registry: Where; None: the process's own, once a process.

        Raises:
            MissingExtraError: prometheus-client is not installed.
        """
        try:
            from prometheus_client import REGISTRY, Counter, Histogram
        except ImportError as e:
            raise MissingExtraError("counters for Prometheus", "telemetry") from e
        where = registry or REGISTRY
        self._decisions = Counter(
            "guardkit_decisions", "Decisions", ("stage", "action", "status"), registry=where
        )
        self._fired = Counter(
            "guardkit_fired",
            "Rules that were true",
            ("stage", "category", "action"),
            registry=where,
        )
        self._not_measured = Counter(
            "guardkit_not_measured",
            "Decisions of which something could not be measured",
            ("stage", "status"),
            registry=where,
        )
        self._seconds = Histogram(
            "guardkit_check_seconds",
            "Time of a check",
            ("stage",),
            buckets=_BUCKETS,
            registry=where,
        )

    def observe(self, decision: Decision) -> None:
        """Count one decision."""
        stage, status = decision.stage.value, decision.status.value
        action = (decision.shadow or decision.action).value
        self._decisions.labels(stage, action, status).inc()
        for category, asked in {(one.category, one.action.value) for one in decision.fired}:
            self._fired.labels(stage, category, asked).inc()
        if decision.status is not Status.OK:
            self._not_measured.labels(stage, status).inc()
        if (total_ms := decision.timings_ms.get("total")) is not None:
            self._seconds.labels(stage).observe(total_ms / 1000)

    def observe_run(self, result: RunResult) -> None:
        """Count every decision of a run."""
        for decision in decisions_of(result):
            self.observe(decision)


class Spans:
    """Makes a span of a decision for OpenTelemetry, under the span that is current; safe to share between threads."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Get a tracer.

        Args:
            provider: Of tracers; None: the process's own.

        Raises:
            MissingExtraError: opentelemetry-api is not installed.
        """
        try:
            from opentelemetry.trace import get_tracer
        except ImportError as e:
            raise MissingExtraError("spans for OpenTelemetry", "telemetry") from e
        self._tracer = get_tracer("guardkit", tracer_provider=provider)

    def observe(self, decision: Decision) -> None:
        """Make a span of a decision that was just made: it ends now, and began when the check did."""
        end_ns = time.time_ns()
        start_ns = end_ns - int(decision.timings_ms.get("total", 0.0) * _NS)
        span = self._tracer.start_span(f"guardkit {decision.stage.value}", start_time=start_ns)
        span.set_attributes(
            {
                "guardkit.stage": decision.stage.value,
                "guardkit.action": (decision.shadow or decision.action).value,
                "guardkit.status": decision.status.value,
                "guardkit.policy": decision.policy_id,
                "guardkit.models": decision.models,
                "guardkit.rules": tuple(one.rule for one in decision.fired),
                "guardkit.is_shadow": decision.shadow is not None,
                **{f"guardkit.ms.{step}": took for step, took in decision.timings_ms.items()},
            }
        )
        span.end(end_ns)

    def observe_run(self, result: RunResult) -> None:
        """Make a span of every decision of a run; their ends lie at its end."""
        for decision in decisions_of(result):
            self.observe(decision)


def decisions_of(result: RunResult) -> tuple[Decision, ...]:
    """What was decided in a run: on the prompt, and on each attempt."""
    prompt = () if result.prompt is None else (result.prompt,)
    return (*prompt, *(attempt.decision for attempt in result.attempts))
