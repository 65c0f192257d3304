"""Write the docs that come from code or measurements: errors, categories, commands, schema, figures.

python docs/generate.py           # write them
python docs/generate.py --check   # fail when one differs
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.peers import PeersReport
from bench.peers import rendered as peers_table
from bench.tables import cascade_rows, rendered, robustness_rows
from docs.bottlenecks import smib_card, smib_embeddings_card, smib_figures
from docs.cards import (
    face_card,
    image_card,
    rewriter_card,
    second_image_card,
    tagger_card,
    writer_card,
)
from docs.shapes import shapes_card, shapes_figures
from docs.transform_card import transform_card, transform_figures
from guardkit import errors
from guardkit.artifacts import load_artifact
from guardkit.bench.report import HEADLINE_BUCKET, BenchReport, from_json, number, render
from guardkit.cli.main import build_parser
from guardkit.evaluate.generator_page import GENERATOR_TITLES
from guardkit.evaluate.page import share
from guardkit.evaluate.plots import plot_shares_above, standing_alone
from guardkit.policy.rules import json_schema
from guardkit.runtime.pbtxt import model_config
from guardkit.runtime.pbtxt import render as render_config
from guardkit.steps import EDITORS, IMAGE_EDITORS, REWRITER, SCORERS
from guardkit.taxonomy import TAXONOMY

_ROOT = Path(__file__).parent.parent
_QUALITY = """## Detection on held-out proxies

`make bench-quality DATA=<shared data>`

Texts that nothing was trained, calibrated or tuned on: `bench/proxies` was written apart from `data/written`; deepset's
prompt injections are a source that training never reads; captions, prompts and comments are validation rows. They stand in
for public benchmarks, which are measured elsewhere. 95 % intervals: bootstrap over rows for areas, Wilson for shares.
"""
_NOTE = "<!-- Written by docs/generate.py; change the code it comes from instead. -->\n"


def main() -> int:
    """Write or compare every generated page."""
    os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal otherwise
    pages = {
        "docs/errors.md": _errors(),
        "docs/categories.md": _categories(),
        "docs/cli.md": _commands(),
        "policies/policy.schema.json": json.dumps(json_schema(), indent=1) + "\n",
        "bench/RESULTS.md": _results(),
        "README.md": _readme(),
        "docs/pictures/generator.svg": _generator_picture(),
        **_configs(),
        **_cards(),
    }
    stale = [name for name, text in pages.items() if _read(_ROOT / name) != text]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{name} is out of date. Run: make docs", file=sys.stderr)
        return int(bool(stale))
    for name in stale:
        (_ROOT / name).write_text(pages[name])
        print(f"wrote {name}")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def _errors() -> str:
    lines = [_NOTE, "# Errors", "", "Indented classes are kinds of the one above.", ""]
    for depth, cls in _tree(errors.GuardkitError, 0):
        meaning = (inspect.getdoc(cls) or "").split("\n")[0]
        others = [base.__name__ for base in cls.__bases__ if base.__module__ == "builtins"]
        also = f" Also a `{others[-1]}`." if depth and others else ""
        lines.append(f"{'  ' * depth}- `{cls.__name__}`: {meaning}{also}")
    return "\n".join(lines) + "\n"


def _tree(cls: type, depth: int) -> Iterator[tuple[int, type]]:
    yield depth, cls
    for child in cls.__subclasses__():
        yield from _tree(child, depth + 1)


def _configs() -> dict[str, str]:
    """The Triton config of every shipped model, from its manifest."""
    folders = sorted((_ROOT / "exported_models").glob("*/"))
    return {
        f"exported_models/{folder.name}/config.pbtxt": render_config(
            model_config(load_artifact(folder).manifest)
        )
        for folder in folders
    }


def _cards() -> dict[str, str]:
    """The cards that are made of a benchmark's figures."""
    artifact = load_artifact(_ROOT / "exported_models/pii-tagger")
    first, second, faces, edits, reader, writer = (
        load_artifact(_ROOT / "exported_models" / name).manifest
        for name in (
            "image-safety",
            "image-safety-second",
            "face-detector",
            "image-transform",
            "prompt-rewriter",
            "prompt-rewriter-decoder",
        )
    )
    filters = [load_artifact(_ROOT / "exported_models" / name).manifest for name in ("smib-smollm2", "smib-minilm")]  # fmt: skip
    shapes = [load_artifact(path.parent).manifest for path in sorted((_ROOT / "exported_models").glob("*shapes-world*/manifest.json"))]  # fmt: skip
    return {
        "exported_models/pii-tagger/CARD.md": tagger_card(artifact.manifest),
        "exported_models/prompt-rewriter/CARD.md": rewriter_card(reader, writer),
        "exported_models/prompt-rewriter-decoder/CARD.md": writer_card(writer),
        "exported_models/image-safety/CARD.md": image_card(first, second),
        "exported_models/image-safety-second/CARD.md": second_image_card(second),
        "exported_models/face-detector/CARD.md": face_card(faces),
        "exported_models/image-transform/CARD.md": transform_card(edits),
        "exported_models/smib-smollm2/CARD.md": smib_card(filters[0]),
        "exported_models/smib-minilm/CARD.md": smib_embeddings_card(filters[1]),
        **{f"exported_models/{one.name}/CARD.md": shapes_card(one) for one in shapes},
    }


def _categories() -> str:
    rows = "\n".join(
        f"| `{name}` | {row.definition} | {'yes' if row.is_harm else 'no'} "
        f"| {', '.join(sorted(row.stages))} | {row.openai or '-'} | {row.perspective or '-'} "
        f"| {row.azure or '-'} |"
        for name, row in TAXONOMY.items()
    )
    steps = "\n".join(
        f"| `{name}` | {kind} | {meaning} |"
        for kind, table in (
            ("scorer", SCORERS),
            ("editor", EDITORS),
            ("editor of images", {name: one.meaning for name, one in IMAGE_EDITORS.items()}),
        )
        for name, meaning in table.items()
    )
    return f"""{_NOTE}
# Categories

Which of them a model really scores is in its manifest: `guardkit models list`.

| category | means | harm | stages | OpenAI | Perspective | Azure |
|---|---|---|---|---|---|---|
{rows}

# Steps beside models

| step | kind | does |
|---|---|---|
{steps}
"""


def _commands() -> str:
    parts = [_NOTE, "# Command line\n"]
    for command, parser in _parsers("guardkit", build_parser()):
        parts.append(f"## {command}\n\n```\n{parser.format_help()}```\n")
    return "\n".join(parts)


def _results() -> str:
    """What the benchmark found, from the JSON its two commands left."""
    parts = [_NOTE, "# Benchmark results\n"]
    for title, command, name in (
        ("guardkit", "guardkit bench --out bench/results/guardkit.json", "guardkit"),
        ("Other libraries", "make bench-peers", "peers"),
    ):
        shown = _render(name, (_ROOT / "bench/results" / f"{name}.json").read_text())
        parts.append(f"## {title}\n\n`{command}`\n\n```\n{shown}\n```\n")
    quality = json.loads((_ROOT / "bench/results/quality.json").read_text())
    parts.append(f"{_QUALITY}\n```\n{rendered(quality)}\n```\n")
    for title, command, name, rows in (
        (
            "Personal data",
            "python -m bench.privacy --data <shared data>",
            "privacy",
            lambda found: found,
        ),
        (
            "Rewriting",
            "python -m bench.rewriting --data <shared data> --bases <get_models.py> --judges <bench.judges>",
            "rewriting",
            lambda found: found,
        ),
        ("Grounding", "python -m bench.ground", "ground", lambda found: found),
        (
            "Encoders of other guards, and the roofline",
            "make bench-architectures",
            "architectures",
            lambda found: found,
        ),
        ("Sessions", "python -m bench.sessions", "sessions", lambda found: found),
        ("Behind Triton", "make bench-triton", "served", lambda found: found),
        ("Other languages", "python -m bench.languages", "languages", lambda found: found),
        ("Several texts at once", "python -m bench.together", "together", lambda found: found),
        ("Driving a generator", "python -m bench.loop", "loop", lambda found: found),
        ("Streaming", "python -m bench.stream", "stream", lambda found: found),
        ("A policy replaced under load", "python -m bench.rollout", "rollout", lambda found: found),
        ("Watching the steps", "python -m bench.steps", "steps", lambda found: found),
        ("The cascade", "python bench/cascade.py --data <shared data>", "cascade", cascade_rows),
        ("Images", "python -m bench.images --nudenet <its python>", "images", lambda found: found),
        (
            "Safe pictures",
            "python -m bench.safe_pictures --gathered <what bench.gather_pictures left> --work <folder> --int8 <guardkit export onnx>",
            "safe_pictures",
            lambda found: found,
        ),
        (
            "Heads of one's own",
            "python -m bench.image_heads --base <EfficientNet-Lite0> --gathered <bench.gather_pictures> --work <folder>",
            "image_heads",
            lambda found: found,
        ),
        (
            "Faces",
            "python -m bench.faces --pictures <NAME=FOLDER of each package>",
            "faces",
            lambda found: found,
        ),
        (
            "Edits of images",
            "python -m bench.transform --pictures <bench.generated_faces> <wallpapers> --base minilm-l6 --work <guardkit train image-transform>",
            "transform",
            lambda found: found,
        ),
        (
            "Edits of images: which kinds to train on",
            "python -m bench.transform_folds --pictures <bench.generated_faces> <wallpapers> --base minilm-l6 --work <guardkit train image-transform>",
            "transform_folds",
            lambda found: found,
        ),
        (
            "Disguises",
            "python bench/robustness.py --policy chat --texts <what bench.validation --flagged-by chat wrote>",
            "robustness",
            robustness_rows,
        ),
    ):
        found = json.loads((_ROOT / "bench/results" / f"{name}.json").read_text())
        parts.append(f"## {title}\n\n`{command}`\n\n```\n{rendered(rows(found))}\n```\n")
    return "\n".join(parts)


def _render(name: str, document: str) -> str:
    if name == "guardkit":
        return render(from_json(document)).rsplit("\n", 1)[0].rstrip()
    peers = msgspec.json.decode(document, type=PeersReport)
    return "\n".join(peers_table(peers)).rstrip()


def _readme() -> str:
    """The README with its table of measured figures filled in."""
    report = from_json((_ROOT / "bench/results/guardkit.json").read_text())
    quality = json.loads((_ROOT / "bench/results/quality.json").read_text())
    rewriting = json.loads((_ROOT / "bench/results/rewriting.json").read_text())
    readme = _filled((_ROOT / "README.md").read_text(), "bench", _figures(report))
    readme = _filled(readme, "repairs", _repairs(rewriting))
    readme = _filled(readme, "rewriting", _rewriting_figures(rewriting))
    readme = _filled(readme, "generator", _generator_figures())
    readme = _filled(readme, "transform", transform_figures())
    readme = _filled(readme, "smib", smib_figures())
    readme = _filled(readme, "shapes", shapes_figures())
    return _filled(readme, "quality", _quality_figures(quality))


def _filled(page: str, name: str, content: str) -> str:
    """The page with what stands between its two markers replaced."""
    head, _, rest = page.partition(f"<!-- {name} -->")
    tail = rest.partition(f"<!-- /{name} -->")[2]
    return f"{head}<!-- {name} -->\n{content}<!-- /{name} -->{tail}"


def _generator_picture() -> str:
    """The plot of the report that `bench.small_language_model` tells how to make."""
    report = json.loads((_ROOT / "bench/results/generator/report.json").read_text())
    return standing_alone(plot_shares_above(report["given"], report["made"]))


def _generator_figures() -> str:
    report = json.loads((_ROOT / "bench/results/generator/report.json").read_text())
    first = report["slices"][0]
    groups = {"all": report["result"]} | {
        f"{first['column']}: {name}": one for name, one in first["groups"].items()
    }
    rows = "\n".join(
        f"| {name} | {one['inputs']} | {' | '.join(_estimate(one['metrics'][metric]) for metric in GENERATOR_TITLES)} |"
        for name, one in groups.items()
    )
    titles = " | ".join(GENERATOR_TITLES.values())
    return f"| prompts | | {titles} |\n|---|---|{'---|' * len(GENERATOR_TITLES)}\n{rows}\n\n"


def _estimate(one: dict[str, float | None]) -> str:
    value, low, high = one["value"], one["low"], one["high"]
    return f"{share(value)} [{share(low)}, {share(high)}]" if low is not None else share(value)


def _repairs(found: dict[str, Any]) -> str:
    rows = "\n".join(f"| {row['what']} | {row['becomes']} |" for row in found["examples"])
    return f"| prompt | under `text-to-image` |\n|---|---|\n{rows}\n\n"


def _rewriting_figures(found: dict[str, Any]) -> str:
    """Both judges in one line each; every table is on the card."""
    rows = list[tuple[str, str]]()
    for title, table in found.items():
        if title.startswith("rude sentences"):
            names, joint = (" / ".join(row[name] for row in table) for name in ("what", "J"))
            rows.append((f"{title}: J of {names}", joint))
        elif title.startswith("image_risks_second") and REWRITER in title:
            everything = table[-1]
            rows.append(
                (
                    f"{title}: repaired / given up",
                    f"{everything['repaired']} / {everything['given up']}",
                )
            )
    rows += [
        (f"harmless, {row['what']}: changed", row["changed"])
        for row in found["harmless prompts"]
        if REWRITER in row["what"]
    ]
    rows += [
        (
            f"{row['what']}, up to 32 tokens, one thread: p50 / p95",
            f"{row['p50']} / {row['p95']} ms",
        )
        for row in found["one call of the rewriter at up to 32 tokens, CPU ms"]
        if REWRITER in row["what"]
    ]
    table = "\n".join(f"| {what} | {value} |" for what, value in rows)
    return f"| measured on {found['models'][-1]} | |\n|---|---|\n{table}\n\n"


def _quality_figures(quality: dict[str, Any]) -> str:
    """The proxies in a few lines; every one of them is in bench/RESULTS.md."""

    def found(table: str, what: str, column: str) -> str:
        return next(str(row[column]) for row in quality[table] if row["what"] == what)

    rows = [
        ("long inputs of a moderation API, AUPRC any harm", found("moderation", "stories: any", "AUPRC")),
        ("chat turns, AUPRC any harm", found("moderation", "chat_turns: any", "AUPRC")),
        ("functional hate templates right, `hate` at the threshold of `chat`", found("hate functions", "all", "right")),
        ("of these, hateful / not hateful", f"{found('hate functions', 'hateful', 'right')} / {found('hate functions', 'not hateful', 'right')}"),
        ("calling all of them hateful", found("hate functions", "always hateful", "right")),
        ("harmful prompts flagged by `chat`", found("twins", "chat", "harmful flagged")),
        ("their harmless twins flagged by `chat`", found("twins", "chat", "harmless flagged")),
        ("harmless image prompts flagged by `text-to-image`", found("harmless", "all image prompts", "flagged by text-to-image")),
        ("in-the-wild jailbreaks, recall at 1 % FPR", found("attacks", quality["attacks"][2]["what"], "recall at 1 % FPR")),
        ("deepset injections (source held back), recall at 1 % FPR", found("attacks", quality["attacks"][0]["what"], "recall at 1 % FPR")),
        ("Jigsaw comments (validation rows), ROC AUC", found("comments", "jigsaw, validation rows: toxicity", "ROC AUC")),
    ]  # fmt: skip
    table = "\n".join(f"| {what} | {value} |" for what, value in rows)
    return f"| measured on texts that were not trained on | |\n|---|---|\n{table}\n\n"


def _figures(report: BenchReport) -> str:
    bucket = next(one for one in report.buckets if one.tokens == HEADLINE_BUCKET)
    warm = next(start for start in report.starts if start.byte_code == "warm")
    process = next(step for step in warm.steps if step.step == "process")
    overhead, own = report.overhead_32_tokens_cpu_ms, bucket.replayed_cpu_ms
    rows = (
        ("one prompt of 32 tokens, p50 / p95 / p99", f"{number(bucket.wall_ms_p50, 1)} / {number(bucket.wall_ms_p95, 1)} / {number(bucket.wall_ms_p99, 1)} ms"),
        ("of that beyond the bare model call, CPU", f"{number(overhead.median) if overhead else '-'} ms"),
        ("the SDK's own work, with the model's answer replayed, CPU", f"{number(own.median) if own else '-'} ms"),
        ("first decision in a fresh process, interpreter included, CPU", f"{number(process.cpu_s)} s"),
        ("peak memory of that process", f"{warm.peak_memory_mb:.0f} MB"),
        ("installed, with `[cpu]` and the model", f"{report.footprint.total_mb:.0f} MB"),
    )  # fmt: skip
    machine = report.machine
    rows += tuple(_encoders())
    table = "\n".join(f"| {what} | {value} |" for what, value in rows)
    return (
        f"| measured | {machine.name}, one thread, int8 |\n|---|---|\n{table}\n\n"
        f"Harm alone, by `text-safety`, the cascade off. `text-to-image` also asks who is named (one more run of a model of that size, which ordinary words\n"
        f"are spared) and has its rewriter read every prompt (another); with those 287 MB are installed (`make test-wheel`).\n"
        f"`make bench` measures it again; all lengths, and other libraries on the same texts: [bench/RESULTS.md](bench/RESULTS.md).\n"
    )


def _encoders() -> Iterator[tuple[str, str]]:
    """What the bare encoders of other guards cost, in whole checks of ours."""
    found = json.loads((_ROOT / "bench/results/architectures.json").read_text())
    for row in found["one prompt of 32 tokens"][1:]:
        if row["what"].endswith("fp32"):
            yield f"the bare encoder of {row['what']}, in whole checks of ours, CPU", row["times"]


def _parsers(
    command: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield command, parser
    for action in parser._actions:  # argparse has no public way to its sub-commands
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from _parsers(f"{command} {name}", child)


if __name__ == "__main__":
    sys.exit(main())
