"""What a policy says must make sense: rules name categories that are scored and editors that exist.

Works on plain values, parts of which may be `BAD` (already reported), so that a file's faults of
form and of meaning come out together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guardkit.artifacts import Artifact, artifact_names, find_artifact
from guardkit.errors import ArtifactError
from guardkit.policy.rules import VideoLimits
from guardkit.policy.shape import nearest
from guardkit.policy.tree import Key
from guardkit.steps import (
    BLOCKLIST,
    EDITORS,
    FACE_DETECTOR,
    GROUND,
    IDENTIFIERS,
    IMAGE_EDITORS,
    IMAGE_TEXT,
    IMAGE_TRANSFORM,
    PUBLIC_FIGURES,
    REWRITE,
    REWRITER,
    SCORERS,
    TEXT_SAFETY,
    needs_faces,
)
from guardkit.taxonomy import IMAGE_STAGES, TAXONOMY, Category, Stage

_OF_ONE = {
    IDENTIFIERS: Category.PRIVACY,
    PUBLIC_FIGURES: Category.PUBLIC_FIGURE,
    IMAGE_TEXT: Category.TEXT,
}
"""Scorers of one category each; their own rooms stand a floor above."""
_READS = {True: "images", False: "text"}
Where = tuple[Key, ...]
Problem = tuple[Where, str]


@dataclass(frozen=True, slots=True)
class Known:
    """Steps of the caller's own that a policy may name."""

    scorers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> categories it scores."""
    editors: frozenset[str] = frozenset()
    image_scorers: frozenset[str] = frozenset()
    """Which of `scorers` look at images."""


def check_meaning(data: Mapping[str, Any], known: Known) -> Iterator[Problem]:
    """Every contradiction in a policy, as (path, problem)."""
    lists = _mapping(data.get("lists"))
    for stage in Stage:
        policy = data.get(stage.value)
        if isinstance(policy, dict):
            yield from _check_stage(policy, (stage.value,), lists, data, known)
    yield from _check_languages(_mapping(data.get("languages")), data)
    named = {
        name
        for stage in Stage
        for name in _models_of(_mapping(data.get(stage.value)), has_images=stage in IMAGE_STAGES)
    }
    for name, options in _mapping(data.get("models")).items():
        yield from _check_backend(_mapping(options), ("models", name))
        if name not in named:
            hint = nearest(name, named)
            yield (
                ("models", name),
                f"no stage uses a model '{name}'. Remove it or name it under scorers.{hint}",
            )
    for name, entries in lists.items():
        yield from _check_list(_mapping(entries), ("lists", name))
    yield from _check_videos(_mapping(_mapping(data.get("limits")).get("videos")))
    yield from _check_ground(_mapping(data.get("ground")), data)
    yield from concept_problems(_mapping(data.get("concepts")))
    if data.get("concepts_file") is not None:  # `load_policy` reads the file and takes the key out
        yield ("concepts_file",), "is read from policy files alone. Put the entries in 'concepts'."


def _models_of(stage: Mapping[str, Any], *, has_images: bool) -> Iterator[str]:
    """What a stage runs: its scorers, and the models that they and its editors ask."""
    scorers, editors = _texts(stage.get("scorers")), [name for _, name in _editors(stage)]
    yield from scorers
    if REWRITE in editors:
        yield REWRITER
    if has_images and needs_faces(scorers, editors):
        yield FACE_DETECTOR
    if has_images and not {IMAGE_TEXT, IMAGE_TRANSFORM}.isdisjoint(scorers):
        yield TEXT_SAFETY


def _check_videos(limits: Mapping[str, Any]) -> Iterator[Problem]:
    """No more frames are to agree than are looked at."""
    default = VideoLimits()
    frames = limits.get("frames", default.frames)
    agreeing = limits.get("agreeing", default.agreeing)
    if isinstance(frames, int) and isinstance(agreeing, int) and agreeing > frames:
        where: Where = ("limits", "videos", "agreeing" if "agreeing" in limits else "frames")
        yield (
            where,
            f"{agreeing} frames are to agree, {frames} are looked at. Lower 'agreeing' or raise 'frames'.",
        )


def concept_problems(concepts: Mapping[str, Any]) -> Iterator[Problem]:
    """No phrase belongs to two concepts, and no replacement is or holds one (a cycle)."""
    owners = dict[str, str]()
    for name, entry in concepts.items():
        at: Where = ("concepts", name)
        for phrase in (name, *_texts(_mapping(entry).get("examples"))):
            if not any(map(str.isalnum, phrase)):
                yield at, f"'{phrase}' needs a letter or a digit."
            elif owners.setdefault(phrase.lower(), name) != name:
                yield at, f"'{phrase}' belongs to '{owners[phrase.lower()]}' too. Remove one."
    for name, entry in concepts.items():
        replacement = entry if isinstance(entry, str) else _mapping(entry).get("replacement")
        if not isinstance(replacement, str):
            continue
        if not any(map(str.isalnum, replacement)):
            yield ("concepts", name), "its replacement is empty. Say what is to stand there."
        words = f" {' '.join(replacement.lower().split())} "
        held = next((phrase for phrase in owners if f" {phrase} " in words), None)
        if held is not None:
            problem = f"its replacement '{replacement}' holds '{held}' of '{owners[held]}', a cycle. Say it otherwise."
            yield ("concepts", name), problem


def _check_backend(options: Mapping[str, Any], path: Where) -> Iterator[Problem]:
    """A server's address is there exactly when a server is asked."""
    is_served, has_server = options.get("backend") == "triton", options.get("triton") is not None
    if is_served and not has_server:
        yield path, "backend: triton needs to know where. Add triton: {url: host:8001}."
    if has_server and options.get("backend") in (None, "onnx"):
        yield (*path, "triton"), "is of no use without backend: triton. Add that, or remove this."


def _check_languages(languages: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Problem]:
    """Every tier a rule asks for exists, and no language is in two."""
    tiers, seen = _mapping(languages.get("tiers")), dict[str, str]()
    for name, codes in tiers.items():
        for index, code in enumerate(_texts(codes)):
            if code in seen:
                where = ("languages", "tiers", name, index)
                yield where, f"'{code}' is in tier '{seen[code]}' too. Remove one of the two."
            seen.setdefault(code, name)
    for stage in Stage:
        for index, rule in enumerate(_items(_mapping(data.get(stage.value)).get("rules"))):
            tier = _mapping(_mapping(rule).get("when")).get("language_tier")
            if isinstance(tier, str) and tier not in tiers:
                known = ", ".join(tiers) or "none"
                at = (stage.value, "rules", index, "when", "language_tier")
                yield at, f"unknown tier '{tier}'. Tiers: {known}.{nearest(tier, tiers)}"


def _check_list(entries: Mapping[str, Any], path: Where) -> Iterator[Problem]:
    for index, word in enumerate(_items(entries.get("block"))):
        if isinstance(word, str) and not any(map(str.isalnum, word)):
            yield (*path, "block", index), "an entry needs a letter or a digit."
    for kind in ("block", "allow"):
        if f"{kind}_file" in entries:  # `load_policy` reads the file and takes the key out
            problem = f"is read from policy files alone. Put the entries under '{kind}'."
            yield (*path, f"{kind}_file"), problem


def _check_ground(ground: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Problem]:
    """The editor `ground` has something to say, and says nothing that it would have to say again."""
    attributes, specific = _mapping(ground.get("attributes")), _items(ground.get("specific"))
    if not any(attributes.values()) and not specific:
        for stage in Stage:
            for index, editor in _editors(_mapping(data.get(stage.value))):
                if editor == GROUND:
                    example = "ground: {attributes: {gender: {woman: 1, man: 1}}}"
                    where = (stage.value, "editors", index)
                    yield where, f"ground has nothing to fill in. Add for example {example}."
    for name, values in attributes.items():
        at = ("ground", "attributes", name)
        if values == {}:  # only a file can say so: a Policy leaves an empty one out
            yield at, "has no values. Add at least one (value: weight), or leave it out."
        for value in _mapping(values):
            if not any(map(str.isalpha, value)):
                yield (*at, value), f"'{value}' is no word. Write what is to stand in a prompt."
    vague = [_mapping(one).get("vague") for one in specific]
    phrases = [phrase.lower() for phrase in vague if isinstance(phrase, str)]
    for index, one in enumerate(specific):
        yield from _check_specific(_mapping(one), ("ground", "specific", index), phrases)


def _check_specific(one: Mapping[str, Any], path: Where, vague: Sequence[str]) -> Iterator[Problem]:
    phrase, instead = one.get("vague"), _texts(one.get("instead"))
    if isinstance(phrase, str):
        if not any(map(str.isalnum, phrase)):
            yield (*path, "vague"), "a phrase needs a letter or a digit."
        elif vague.count(phrase.lower()) > 1:
            yield (*path, "vague"), f"'{phrase}' is there twice. Put all its phrases in one entry."
    if not _items(one.get("instead")) and "instead" in one:
        yield (*path, "instead"), "is empty. Add at least one phrase."
    for index, text in enumerate(instead):
        if not any(map(str.isalnum, text)) or any(one in text.lower() for one in vague):
            problem = "holds a vague phrase" if text.strip() else "is empty"
            yield (*path, "instead", index), f"'{text}' {problem}. Say what is to be seen."


def _check_stage(
    stage: Mapping[str, Any],
    path: Where,
    lists: Mapping[str, Any],
    data: Mapping[str, Any],
    known: Known,
) -> Iterator[Problem]:
    scored: dict[str, None] = {}
    unresolved, has_images = False, path[0] in IMAGE_STAGES
    for index, name in enumerate(_items(stage.get("scorers"))):
        if not isinstance(name, str):
            unresolved = True
            continue
        try:
            scored |= dict.fromkeys(_categories_of(name, lists, data, known))
            sees_images = _sees_images(name, data, known)
            reads_both = name == PUBLIC_FIGURES and name not in known.scorers
            if sees_images is not has_images and not reads_both:
                problem = f"'{name}' reads {_READS[sees_images]}, the stage has {_READS[has_images]}. Name another scorer."
                yield (*path, "scorers", index), problem
            if _compares(name, data, known) and path[0] != Stage.EDIT:
                problem = f"'{name}' compares a picture with the one before it. Name it under {Stage.EDIT.value}."
                yield (*path, "scorers", index), problem
        except ArtifactError as e:
            unresolved = True
            names = [*SCORERS, *known.scorers]
            hint = nearest(name, [*names, *artifact_names()])
            problem = f"no scorer '{name}'. Known: {', '.join(names)}, or a model; {e}{hint}"
            yield (*path, "scorers", index), problem
    editors = list(_editors(stage))
    for index, editor in editors:
        allowed = {*IMAGE_EDITORS} if has_images else {*EDITORS, *known.editors}
        if editor not in allowed:
            hint = nearest(editor, allowed)
            what = "editor of images" if has_images else "editor"
            problem = f"unknown {what} '{editor}'. Known: {', '.join(sorted(allowed))}.{hint}"
            yield (*path, "editors", index), problem
    context = _StageNames(
        scored=None if unresolved else tuple(scored),
        topics=tuple(lists),
        editors=tuple(editor for _, editor in editors),
    )
    yield from _check_rules(stage.get("rules"), (*path, "rules"), context)


@dataclass(frozen=True, slots=True)
class _StageNames:
    """What the rules of a stage may refer to."""

    scored: tuple[str, ...] | None
    """None when a scorer is unknown: then nothing can be said."""
    topics: tuple[str, ...]
    editors: tuple[str, ...]


def _check_rules(rules: object, path: Where, names: _StageNames) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, rule in enumerate(_items(rules)):
        if not isinstance(rule, dict):
            continue
        here = (*path, index)
        name = rule.get("name")
        if isinstance(name, str):
            if name in seen:
                yield (
                    (*here, "name"),
                    f"two rules are named '{name}' (also rules[{seen[name]}]). Rename one.",
                )
            seen.setdefault(name, index)
        when = _mapping(rule.get("when"))
        yield from _check_category(when.get("category"), here, names)
        yield from _check_topic(when.get("topic"), here, names)
        yield from _check_using(rule, here, names)


def _check_category(category: object, path: Where, names: _StageNames) -> Iterator[Problem]:
    if not isinstance(category, str):
        return
    where = (*path, "when", "category")
    known = [*TAXONOMY, *names.topics]
    if category not in known and category not in (names.scored or ()):
        allowed = ", ".join(known)
        yield where, f"unknown category '{category}'. Known: {allowed}.{nearest(category, known)}"
    elif names.scored is not None and category not in names.scored:
        scored = ", ".join(names.scored) or "none"
        yield (
            where,
            f"no scorer of this stage scores '{category}'. Scored: {scored}. Add a scorer or drop the rule.",
        )


def _check_topic(topic: object, path: Where, names: _StageNames) -> Iterator[Problem]:
    if not isinstance(topic, str) or names.scored is None:
        return
    found = [one for one in names.topics if one in names.scored]
    if topic not in found:
        listed = ", ".join(found) or "none"
        problem = f"no list '{topic}' that this stage looks up. Lists: {listed}. Add it under lists, with words to block, and the scorer {BLOCKLIST}.{nearest(topic, found)}"
        yield (*path, "when", "topic"), problem


def _check_using(rule: Mapping[str, Any], path: Where, names: _StageNames) -> Iterator[Problem]:
    using, action = rule.get("using"), rule.get("action")
    if action == "edit" and using is None:
        editors = ", ".join(names.editors) or "none; list one under editors"
        yield path, f"action edit needs 'using'. Editors of this stage: {editors}."
    if isinstance(using, str) and isinstance(action, str) and action != "edit":
        yield (*path, "using"), f"'using' goes with action edit, found action {action}. Remove it."
    elif isinstance(using, str) and using not in names.editors:
        editors = ", ".join(names.editors) or "none"
        hint = nearest(using, names.editors)
        yield (
            (*path, "using"),
            f"'{using}' is not an editor of this stage. Editors: {editors}.{hint}",
        )


def _categories_of(
    scorer: str, lists: Mapping[str, Any], data: Mapping[str, Any], known: Known
) -> tuple[str, ...]:
    """The categories a scorer of a policy gives; reads manifests, never a model."""
    if scorer in known.scorers:
        return known.scorers[scorer]
    if scorer == BLOCKLIST:
        return tuple(name for name, entries in lists.items() if _mapping(entries).get("block"))
    if scorer in _OF_ONE:
        return (_OF_ONE[scorer].value,)
    return _artifact_of(scorer, data).manifest.categories


def _sees_images(scorer: str, data: Mapping[str, Any], known: Known) -> bool:
    """Whether a scorer looks at images; it is known by now that there is such a scorer."""
    if scorer in known.scorers:
        return scorer in known.image_scorers
    if scorer in SCORERS:
        return scorer == IMAGE_TEXT
    return _artifact_of(scorer, data).manifest.sees_images


def _compares(scorer: str, data: Mapping[str, Any], known: Known) -> bool:
    """Whether a scorer needs a picture before and after; it is known by now that there is such a scorer."""
    if scorer in known.scorers or scorer in SCORERS:
        return False
    return _artifact_of(scorer, data).manifest.edits is not None


def _artifact_of(scorer: str, data: Mapping[str, Any]) -> Artifact:
    path = _mapping(_mapping(data.get("models")).get(scorer)).get("path")
    return find_artifact(scorer, path=Path(path) if isinstance(path, str) else None)


def _editors(stage: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    for index, entry in enumerate(_items(stage.get("editors"))):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if isinstance(name, str):
            yield index, name


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> Sequence[Any]:
    """The items of a list; a `Policy` turned into plain values has tuples for lists."""
    return value if isinstance(value, list | tuple) else ()


def _texts(value: object) -> list[str]:
    return [text for text in _items(value) if isinstance(text, str)]
