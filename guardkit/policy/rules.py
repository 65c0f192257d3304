"""What a policy may say. `load.py` reads YAML against these types; the JSON Schema is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from guardkit.artifacts import RunnerOptions
from guardkit.taxonomy import IMAGE_STAGES, Stage
from guardkit.types import Action

Name = Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="kebab-case name")]
Probability = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
FailureAction = Annotated[
    Literal["block", "regenerate", "allow"],
    Meta(description="what to do when something could not be measured"),
]


class When(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The condition of a rule: a score at or above a threshold, in a context and beside a topic if they are named."""

    category: Name
    at_least: Probability
    language: str | None = None
    """ISO 639-1; that of the context, or else the one the text is found to be in."""
    language_tier: Name | None = None
    """One of the policy's `languages.tiers`."""
    audience: str | None = None
    speaker: str | None = None
    listener: str | None = None
    situation: str | None = None
    topic: Name | None = None
    """A list of the policy (`lists`): only where the text holds one of its words, too."""


class Rule(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A name, a condition and an action."""

    name: Name
    when: When
    action: Action
    using: Name | None = None
    """The editor to run; for `action: edit` alone."""


class EditorEntry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An editor, and whether it waits for a rule that names it."""

    name: Name
    when: Literal["fired", "always"] = "fired"


class StagePolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happens at one stage."""

    scorers: tuple[Name, ...] = ()
    """Always run, in this order."""
    editors: tuple[Name | EditorEntry, ...] = ()
    """Run in this order; an editor runs when a fired rule names it, or always."""
    rules: tuple[Rule, ...] = ()
    after_edit: FailureAction = "block"
    """What to do when the edited text is still not allowed."""


class ImageLimits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bounds on an image; one over them is not decoded, and `on_failure` answers."""

    max_bytes: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 33_554_432
    max_pixels: Annotated[int, Meta(ge=256, le=89_000_000)] = 20_000_000
    """Of one frame; while it is decoded, a pixel takes up to 9 bytes. Pillow itself warns from 89 million."""
    max_frames: Annotated[int, Meta(ge=1, le=100_000)] = 500
    max_animated_pixels: Annotated[int, Meta(ge=256)] = 100_000_000
    """Of all frames of an animation: to reach a late frame, every earlier one is decoded."""
    max_ratio: Annotated[float, Meta(ge=1, le=100)] = 16
    """Longer side to shorter side; a crop is scored for about each."""
    frames: Annotated[int, Meta(ge=1, le=100)] = 8
    """Frames of an animation that are scored, spread evenly; the others are not looked at."""


class VideoLimits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bounds on a video, and how it is looked at; a frame of it is held to `limits.images` as well."""

    max_bytes: Annotated[int, Meta(ge=1, le=4_000_000_000)] = 268_435_456
    max_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 600
    max_frames: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    """Counted before any is decoded."""
    frames: Annotated[int, Meta(ge=1, le=1000)] = 16
    """Frames that are scored, the first, the last and others evenly between; the rest is not looked at."""
    agreeing: Annotated[int, Meta(ge=1, le=1000)] = 1
    """Of them, how many must reach a rule's threshold: 1, any one; k, k of `frames`. A video of fewer frames: all of them."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Bounds on the work one check may cause."""

    edits: Annotated[int, Meta(ge=0, le=3)] = 1
    """Edit rounds; each costs one more scoring run. Those after the first are for what `rewrite` left, not allowed or only just."""
    regenerations: Annotated[int, Meta(ge=0, le=16)] = 1
    max_characters: Annotated[int, Meta(ge=1, le=1_000_000)] = 8000
    too_long: FailureAction = "block"
    images: ImageLimits = ImageLimits()
    videos: VideoLimits = VideoLimits()


class Gather(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How concurrent `acheck_prompt` calls of one event loop are gathered into common runs."""

    wait_ms: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    """The first caller waits this long for others, at most."""
    at_most: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Callers in one run; 1: each for itself."""
    queue: Annotated[int, Meta(ge=1)] = 1024
    """Callers that may wait; one more gets an `OverloadError`."""


class Anonymize(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the editor `anonymize` does."""

    mode: Literal["placeholder", "generic", "mask", "hash"] = "placeholder"
    """What stands in place of personal data; `surrogate` would be found again, and is for
    `Guard.anonymize` alone."""
    vault_s: Annotated[float, Meta(gt=0)] | None = None
    """Seconds after which a decision's vault forgets; None: it lasts as long as the decision."""


Weight = Annotated[float, Meta(gt=0, description="how often, beside the other values")]


class Attributes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What `ground` may say of a person: value -> weight. An attribute left out is never filled.

    Over the first n values a guard draws of an attribute, each was drawn within 1 of n times its share of the weights.
    """

    gender: dict[str, Weight] = {}
    """`woman` and `man` are put as the noun asks ("female engineer", "a woman"); another value stands as it is."""
    ethnicity: dict[str, Weight] = {}
    """Adjectives."""
    age: dict[str, Weight] = {}
    """Adjectives (`elderly`), or phrases that follow the noun, with `their` for his or her (`in their forties`)."""


class Specific(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A vague phrase behind a person, and what to say instead when nothing follows it."""

    vague: str
    instead: tuple[str, ...]
    """Drawn in turn; should name nobody."""


class Ground(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the editor `ground` does."""

    seed: int | None = None
    """Equal seeds and prompts give equal texts; None: other ones every time."""
    attributes: Attributes = Attributes()
    specific: tuple[Specific, ...] = ()


class Concept(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What takes the place of a concept wherever a text is rewritten."""

    replacement: str
    examples: tuple[str, ...] = ()
    """Other words for the concept (`zombies`, `the undead`), replaced as its name is."""


class Languages(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to do about languages that the scorers know less well, or not at all."""

    tiers: dict[Name, tuple[str, ...]] = {}
    """Tier -> ISO 639-1 codes; a rule may ask for a tier (`when.language_tier`)."""
    low_evidence: FailureAction | None = None
    """For a text in a language that no scorer of a category knows; None: as `on_failure`."""

    def tier_of(self, language: str | None) -> str | None:
        """The tier a language belongs to; None when it is in none.

        >>> Languages(tiers={"low": ("am", "tt")}).tier_of("tt")
        'low'
        """
        return next((name for name, codes in self.tiers.items() if language in codes), None)


class WordList(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Words and phrases that score 1 for a category, and phrases that no scorer may hold against anyone."""

    block: tuple[str, ...] = ()
    block_file: str | None = None
    """A text file beside the policy, one entry a line, `#` starts a comment."""
    allow: tuple[str, ...] = ()
    allow_file: str | None = None


class Policy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A validated policy. `Guard` turns it, with its models, into decisions."""

    policy: Name
    version: Annotated[int, Meta(ge=1)] = 1
    description: str = ""
    extends: str | None = None
    prompt: StagePolicy | None = None
    output_text: StagePolicy | None = msgspec.field(default=None, name="output-text")
    output_image: StagePolicy | None = msgspec.field(default=None, name="output-image")
    edit: StagePolicy | None = None
    turn: StagePolicy | None = None
    on_failure: FailureAction = "block"
    timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] | None = None
    """Longest time the steps of one check may take, in milliseconds; None: no limit."""
    on_timeout: FailureAction | None = None
    """None: as `on_failure`."""
    limits: Limits = Limits()
    gather: Gather = Gather()
    anonymize: Anonymize = Anonymize()
    ground: Ground = Ground()
    concepts: dict[str, str | Concept] = {}
    """Concept -> what the editor `rewrite` puts in its place, before its model sees the text."""
    concepts_file: str | None = None
    """A YAML file beside the policy that holds such a mapping; `concepts` is laid over it."""
    mode: Literal["enforce", "shadow"] = "enforce"
    languages: Languages = Languages()
    lists: dict[Name, WordList] = {}
    models: dict[Name, RunnerOptions] = {}

    def stage(self, stage: Stage) -> StagePolicy | None:
        """What this policy has to say about one stage; None: nothing."""
        policy: StagePolicy | None = getattr(self, stage.name.lower())
        return policy

    @property
    def stages(self) -> Mapping[Stage, StagePolicy]:
        """The stages this policy has something to say about."""
        stages = {stage: self.stage(stage) for stage in Stage}
        return {stage: policy for stage, policy in stages.items() if policy is not None}

    @property
    def scorers(self) -> tuple[str, ...]:
        """What its stages name under `scorers`, once each."""
        names = (name for stage in self.stages.values() for name in stage.scorers)
        return tuple(dict.fromkeys(names))

    @property
    def image_scorers(self) -> tuple[str, ...]:
        """Likewise, those of its stages that look at images."""
        stages = (policy for stage, policy in self.stages.items() if stage in IMAGE_STAGES)
        return tuple(dict.fromkeys(name for policy in stages for name in policy.scorers))

    @property
    def text_scorers(self) -> tuple[str, ...]:
        """Likewise, those of its other stages."""
        stages = (policy for stage, policy in self.stages.items() if stage not in IMAGE_STAGES)
        return tuple(dict.fromkeys(name for policy in stages for name in policy.scorers))

    @property
    def editors(self) -> tuple[str, ...]:
        """What its stages name under `editors`, once each."""
        names = (name for stage in self.stages for name in self.editors_of(stage))
        return tuple(dict.fromkeys(names))

    def editors_of(self, stage: Stage) -> tuple[str, ...]:
        """What one stage names under `editors`."""
        policy = self.stage(stage)
        entries = policy.editors if policy else ()
        return tuple(entry if isinstance(entry, str) else entry.name for entry in entries)

    @property
    def digest(self) -> str:
        """SHA-256 of everything the policy says, whatever file says it.

        Where its models lie or are served is left out, as is the name of the policy it extends, whose
        content is in this one.
        """
        here = {
            name: msgspec.structs.replace(
                options, path=None, cache=None, backend="onnx", triton=None
            )
            for name, options in self.models.items()
        }
        models = {name: options for name, options in here.items() if options != RunnerOptions()}
        said = msgspec.structs.replace(self, extends=None, models=models)
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()

    @property
    def id(self) -> str:
        """`name/version#digest`, the first 12 digits of the digest.

        >>> Policy(policy="mine").id.split("#")[0]
        'mine/1'
        """
        return f"{self.policy}/{self.version}#{self.digest[:12]}"


def json_schema() -> dict[str, object]:
    """The JSON Schema of policy files, for editors."""
    return msgspec.json.schema(Policy)
