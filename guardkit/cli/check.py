"""`guardkit check` and `guardkit score`: texts, images, edits or videos in, decisions or scores out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from guardkit.cli.shared import Verbs, add_verb, policy_file, print_json
from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.taxonomy import Stage
from guardkit.types import Action, Region, Scores

_SHOWN_SCORES = 4
_PRESET, _IMAGE_PRESET, _EDIT_PRESET = "text-to-image", "generated-images", "image-edits"


def add(verbs: Verbs) -> None:
    """Add both verbs."""
    check = add_verb(
        verbs,
        "check",
        text="check texts, images, edits of images or videos against a policy and say what to do with them",
        example='guardkit check --policy chat "you are an idiot"',
    )
    _add_inputs(check)
    check.set_defaults(policy=None)
    check.add_argument(
        "--image",
        nargs="+",
        default=[],
        metavar="FILE",
        help="check these images as outputs instead",
    )
    check.add_argument(
        "--video", nargs="+", default=[], metavar="FILE", help="likewise, videos (extra `video`)"
    )
    check.add_argument("--before", metavar="FILE", help="check an edit: the image as it was")
    check.add_argument("--after", metavar="FILE", help="and what came of it")
    check.add_argument(
        "--prompt",
        help="what the images or videos were made of, for scorers that read it; of an edit, what was asked for",
    )
    check.add_argument(
        "--out", type=Path, metavar="FILE", help="write the image here, if the policy edited it"
    )
    check.add_argument("--stage", choices=("prompt", "output-text"), default="prompt")
    check.add_argument(
        "--fail-on",
        choices=[action.value for action in Action if action is not Action.ALLOW],
        default="block",
        help="exit with 1 when a decision is at least this strict (default: block)",
    )
    check.add_argument("--show-diff", action="store_true", help="show what each editor changed")
    check.add_argument("--include-text", action="store_true", help="put the text into the JSON")
    check.set_defaults(run=run_check)
    score = add_verb(
        verbs,
        "score",
        text="score texts without deciding anything",
        example='guardkit score "you are an idiot"',
    )
    _add_inputs(score)
    score.set_defaults(run=run_score)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "texts", nargs="*", metavar="TEXT", help="left out: lines of standard input"
    )
    parser.add_argument("--file", type=Path, help="read texts from a file, one a line")
    parser.add_argument("--policy", default=_PRESET, help="preset or YAML file")
    parser.add_argument("--json", action="store_true", help="one JSON document a text")


def run_check(args: argparse.Namespace) -> int:
    """Check texts, images, edits or videos; 1 when one is at least as strict as --fail-on."""
    is_seen = bool(args.image or args.video or args.after)
    seen = _EDIT_PRESET if args.after else _IMAGE_PRESET
    policy = args.policy or (seen if is_seen else _PRESET)
    _check_images(args)
    guard = Guard.from_file(policy_file(policy))
    failing = Action(args.fail_on)
    is_failed = False
    for text, decision in _checked(guard, args):
        written = _written(decision, args.out)
        if args.json:
            told = decision.to_dict(include_text=args.include_text)
            print_json({**told, "image": written} if args.out else told)
        else:
            print(describe(decision, name=text if is_seen else "", written=written))
            if args.show_diff and decision.edits:
                print("\n".join(diff(text, decision)))
        is_failed = is_failed or decision.action >= failing
    return int(is_failed)


def _check_images(args: argparse.Namespace) -> None:
    """Refuse what goes with images or videos alone, or with one of them."""
    if args.image and args.video:
        raise InputError("--image and --video: both are given. Name one; check the others apart.")
    if (args.before is None) is not (args.after is None):
        raise InputError("--before and --after: go together. Name both images of the edit.")
    if args.after is not None and (args.image or args.video):
        raise InputError("--after: goes without --image and --video. Check those apart.")
    if args.prompt is not None and not (args.image or args.video or args.after):
        raise InputError(
            "--prompt: goes with --image, --video or --after. Name one, or leave it out."
        )
    if args.out is not None and not (args.image or args.after):
        raise InputError("--out: goes with --image or --after. Name one, or leave it out.")
    if args.out is None:
        return
    if len(args.image) > 1:
        raise InputError(f"--out: {len(args.image)} images for one file. Check them one by one.")
    from guardkit.image.write import check_target  # Pillow: an optional package

    check_target(args.out)


def _written(decision: Decision, out: Path | None) -> str | None:
    """Write what an editor made of an image; the file's name, or None: nothing was edited."""
    if out is None or decision.action is not Action.EDIT:
        return None
    from guardkit.image.write import write_image  # Pillow: an optional package

    write_image(decision.image, out)
    return str(out)


def _checked(guard: Guard, args: argparse.Namespace) -> Iterator[tuple[str, Decision]]:
    """What was asked about, a text or the name of a file, and the answer."""
    if args.after:
        decision = guard.check_edit(before=args.before, prompt=args.prompt, after=args.after)
        yield args.after, decision
    elif args.image:
        for file in args.image:
            yield file, guard.check_output(image=file, prompt=args.prompt)
    elif args.video:
        for file in args.video:
            yield file, guard.check_output(video=file, prompt=args.prompt)
    elif args.stage == Stage.PROMPT:
        yield from ((text, guard.check_prompt(text)) for text in _texts(args))
    else:
        yield from ((text, guard.check_output(text=text)) for text in _texts(args))


def run_score(args: argparse.Namespace) -> int:
    """Score texts."""
    guard = Guard.from_file(policy_file(args.policy))
    for text in _texts(args):
        (scores,) = guard.score_prompts([text])
        if args.json:
            print_json(dict(scores))
        else:
            print(_score_line(scores, len(scores)))
    return 0


def describe(decision: Decision, *, name: str = "", written: str | None = None) -> str:
    """A decision in a few lines for people; holds no user text but what an edit produced.

    Args:
        decision: What to describe.
        name: Of the file that was checked; "" for a text.
        written: The file that holds the edited image; None: there is none.
    """
    lines = [f"{decision.action.value:10}  {_score_line(decision.scores, _SHOWN_SCORES)}"]
    lines += [f"            {name}"] if name else []
    lines += [f"            {reason}" for reason in decision.reasons]
    if decision.spans:
        spans = ", ".join(f"{s.category} [{s.start}, {s.end})" for s in decision.spans)
        lines.append(f"            spans: {spans}")
    if decision.regions:
        regions = ", ".join(map(_region, decision.regions))
        lines.append(f"            regions: {regions}")
    if decision.edits or written:
        lines.append(f"            use instead: {written or decision.text}")
    lines.append(
        f"            {decision.timings_ms.get('total', 0):.1f} ms, status {decision.status}"
    )
    return "\n".join(lines)


def _region(region: Region) -> str:
    box = f"[{region.left}, {region.top}, {region.right}, {region.bottom}]"
    what = region.kind.lower() or region.category
    return f"{what} {region.score:.2f} {box}{f' {region.editor}' if region.editor else ''}"


def diff(text: str, decision: Decision) -> Iterator[str]:
    """What was changed, an edit a line. Positions are those of the text that the editor was given."""
    yield f"            - {text}"
    yield f"            + {decision.text}"
    for edit in decision.edits:
        yield f"            {edit.editor} [{edit.start}, {edit.end}) -> {edit.replacement!r}"


def _score_line(scores: Scores, most: int) -> str:
    known = sorted(((s, name) for name, s in scores.items() if s is not None), reverse=True)
    missing = [name for name, score in scores.items() if score is None]
    parts = [f"{name} {score:.2f}" for score, name in known[:most]]
    return ", ".join(parts + [f"{name} not measured" for name in missing]) or "not scored"


def _texts(args: argparse.Namespace) -> Iterator[str]:
    if args.texts:
        yield from args.texts
    elif args.file:
        try:
            yield from args.file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as e:
            raise InputError(f"{args.file}: cannot be read ({type(e).__name__}).") from e
    else:
        yield from (line.rstrip("\n") for line in sys.stdin)
