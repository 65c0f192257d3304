"""A trained rewriter to its two artifacts: `prompt-rewriter` reads, `prompt-rewriter-decoder` writes.

guardkit export prompt-rewriter --work FOLDER --data FOLDER --out exported_models
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import gelu

from guardkit.artifacts import (
    FORMAT,
    Artifact,
    Fitted,
    Manifest,
    TensorSpec,
    TextOptions,
    load_artifact,
)
from guardkit.errors import InputError
from guardkit.export.artifact import (
    MODEL,
    TOKENIZER,
    config_pbtxt,
    file_entries,
    write_manifest,
    write_tokenizer,
)
from guardkit.export.quantize import quantize_int8, with_token_scales
from guardkit.export.to_onnx import INPUTS, export_graph
from guardkit.steps import REWRITER, REWRITER_DECODER
from guardkit.text.encode import Encoder
from guardkit.text.rewrite import PIECES, read_pieces
from guardkit.train.repairs import Draws, Pair, harmless_texts, load_pairs
from guardkit.train.rewriter import (
    MAX_TOKENS,
    Lesson,
    RewriterBatch,
    RewriterModel,
    collate,
    is_writable,
    lessons_of,
    load_rewriter,
    was_decoder_alone,
)

_ALPHA = 0.5
_SCALE_PAIRS = 384  # training pairs that set how int8 evens out the channels
_SEED = 20261127
_FEW = Draws(paradetox=1, written=1, kept=500, mended=100)
_FALSE_ALARMS = 0.002


class Reader(nn.Module):
    """The first half: tokens to states and embedding."""

    def __init__(self, model: RewriterModel) -> None:
        super().__init__()
        self.encoder, self.similarity, self.risk = model.encoder, model.similarity, model.risk

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `RewriterModel.encode`."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1)
        mapped = self.similarity(mean)
        unit = mapped / (mapped * mapped).sum(-1, keepdim=True).sqrt()
        return states, unit, self.risk(mean).squeeze(-1)


class Attention(nn.Module):
    """What `nn.MultiheadAttention` computes, in linear layers that can be quantized."""

    def __init__(self, packed: nn.MultiheadAttention, *, is_self: bool) -> None:
        super().__init__()
        d, self.heads = packed.embed_dim, packed.num_heads
        names = ("query", "key", "value") if is_self else ("asked", "keys", "values")
        for at, name in enumerate(names):
            layer = nn.Linear(d, d)
            layer.weight.data.copy_(packed.in_proj_weight[at * d : (at + 1) * d])
            layer.bias.data.copy_(packed.in_proj_bias[at * d : (at + 1) * d])
            self.add_module(name, layer)
        self._names = names
        self.out = packed.out_proj

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values [B, heads, T, d / heads] of memory [B, T, d]."""
        keys, values = (self._by_head(name, memory) for name in self._names[1:])
        return keys, values

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> Tensor:
        """Attend from x [B, U, d]; `hidden` broadcasts to [B, heads, U, T]."""
        q = self._by_head(self._names[0], x)
        weights = q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5 + hidden
        return self.out((weights.softmax(-1) @ values).transpose(1, 2).flatten(-2))

    def _by_head(self, name: str, x: Tensor) -> Tensor:
        return self.get_submodule(name)(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """One layer of `nn.TransformerDecoder`, norms first."""

    def __init__(self, plain: nn.TransformerDecoderLayer) -> None:
        super().__init__()
        self.norms = nn.ModuleList([plain.norm1, plain.norm2, plain.norm3])
        self.own = Attention(plain.self_attn, is_self=True)
        self.source = Attention(plain.multihead_attn, is_self=False)
        self.inner, self.outer = plain.linear1, plain.linear2

    def forward(
        self, x: Tensor, past: Tensor, states: Tensor, later: Tensor, absent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[B, U, d], and keys and values [B, 2, heads, P, d / heads] of what came before, to the same of U and of P + U."""
        y = self.norms[0](x)
        kept = torch.cat([past, torch.stack(self.own.read(y), dim=1)], dim=3)
        x = x + self.own(y, kept[:, 0], kept[:, 1], later)
        x = x + self.source(self.norms[1](x), *self.source.read(states), absent)
        return x + self.outer(gelu(self.inner(self.norms[2](x)))), kept


class Writer(nn.Module):
    """The second half: the best column of `RewriterModel.decode`'s scores, place by place."""

    def __init__(self, model: RewriterModel) -> None:
        super().__init__()
        self.embedding, self.positions, self.place = model.embedding, model.positions, model.place
        self.layers = nn.ModuleList([Layer(layer) for layer in model.decoder.layers])
        self.norm, self.write = model.decoder.norm, model.write
        self.copy_query, self.copy_key = model.query, model.key
        self.ban = model.ban

    def past_sizes(self) -> tuple[int, int, int]:
        """Twice the layers, heads, size of a head."""
        own = self.layers[0].own
        return 2 * len(self.layers), own.heads, own.out.in_features // own.heads

    def nothing(self, states: Tensor) -> Tensor:
        """The `past` of a first run."""
        layers, heads, size = self.past_sizes()
        return torch.zeros(len(states), layers, heads, 0, size)

    def forward(
        self,
        states: Tensor,
        attention_mask: Tensor,
        banned: Tensor,
        written: Tensor,
        copied: Tensor,
        past: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Of the same inputs, for the places behind those whose keys and values are given.

        Args:
            states: f32 [B, T, d].
            attention_mask: int64 [B, T].
            banned: f32 [B, T].
            written: int64 [B, U].
            copied: int64 [B, U].
            past: f32 [B, 2 * layers, heads, P, d / heads]; P may be 0.

        Returns:
            int64 [B, U], and keys and values of all places, P + U.
        """
        before, now = past.shape[3], written.shape[1]
        states = states + banned.unsqueeze(-1) * self.ban
        index = copied.clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
        place = self.place(torch.gather(states, 1, index)) * (copied >= 0).unsqueeze(-1).float()
        x = self.embedding(written) + place + self.positions[before : before + now]
        steps = torch.arange(before + now)
        later = (steps[None, :] > steps[before:, None]).float() * -1e4
        absent = (1 - attention_mask[:, None, None, :].float()) * -1e4
        kept = list[Tensor]()
        for at, layer in enumerate(self.layers):
            x, its = layer(x, past[:, 2 * at : 2 * at + 2], states, later, absent)
            kept.append(its)
        h = self.norm(x)
        copy = self.copy_query(h) @ self.copy_key(states).transpose(1, 2)
        copy = copy / states.shape[-1] ** 0.5 + absent[:, 0] - banned[:, None] * 1e4
        best = torch.cat([self.write(h), copy], dim=-1).argmax(-1)
        return best, torch.cat(kept, dim=1)


def export_rewriter(work: Path, data: Path, written: Path, out: Path, *, version: str) -> Artifact:
    """Write both artifacts from a training's folder; of one of the decoder alone, the decoder of the reader that lies in `out`.

    Args:
        work: What `guardkit train prompt-rewriter` left.
        data: The shared data.
        written: `data/written/repairs`.
        out: The folder that holds artifacts.
        version: Of what is written.

    Returns:
        The encoder's artifact.

    Raises:
        InputError: `work` holds no trained model, or the decoder writes other pieces than the reader in `out` lists.
    """
    if not (work / "model.safetensors").is_file():
        raise InputError(f"{work}: no model.safetensors. Run guardkit train prompt-rewriter first.")
    model = load_rewriter(work)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    encoder = Encoder(tokenizer.to_str().encode(), max_tokens=MAX_TOKENS, overlap=8)
    pairs = load_pairs(data, written, draws=_FEW, seed=_SEED)[:_SCALE_PAIRS]
    seen = _seen(model, lessons_of(pairs, encoder))
    if was_decoder_alone(work):
        artifact = _reader_of(model, out / REWRITER)
    else:
        _set_bar(model, harmless_texts(data, split="valid"), encoder)
        artifact = _export_reader(model, tokenizer, seen, out / REWRITER, version)
    _export_writer(model, seen, out / REWRITER_DECODER, version, artifact)
    return artifact


def _reader_of(model: RewriterModel, folder: Path) -> Artifact:
    """The artifact that a decoder was trained for."""
    artifact = load_artifact(folder)
    if [token for token, _ in read_pieces(artifact)] != model.pieces.tolist():
        raise InputError(f"{folder}: lists other pieces than the decoder writes. Export into the folder of --start.")  # fmt: skip
    return artifact


def _export_reader(
    model: RewriterModel,
    tokenizer: Tokenizer,
    seen: Sequence[RewriterBatch],
    folder: Path,
    version: str,
) -> Artifact:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    write_tokenizer(tokenizer, folder / TOKENIZER)
    _write_pieces(model.pieces.tolist(), tokenizer, folder / PIECES)
    reader = Reader(model).eval()
    _quantized(reader, _reading(seen), ("states", "embedding", "risk"), INPUTS, folder / MODEL)
    return _reader_manifest(folder, version, model)


def _export_writer(
    model: RewriterModel,
    seen: Sequence[RewriterBatch],
    folder: Path,
    version: str,
    reader: Artifact,
) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    writer = Writer(model).eval()
    inputs = ("states", "attention_mask", "banned", "written", "copied", "past")
    _quantized(writer, _writing(model, writer, seen), ("best", "kept"), inputs, folder / MODEL)
    _writer_manifest(folder, version, reader, past=writer.past_sizes())


def _quantized(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, ...]],
    outputs: Sequence[str],
    inputs: Sequence[str],
    out: Path,
) -> None:
    kept = list(batches)
    rewritten = with_token_scales(model, kept, alpha=_ALPHA)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "rewritten.onnx"
        export_graph(rewritten, kept[0], graph, inputs=inputs, outputs=outputs, axes=_AXES)
        quantize_int8(graph, out)


_TOKENS, _PIECES_SO_FAR = ("windows", "tokens"), ("windows", "pieces")
_KEPT = {0: "windows", 3: "past"}
_AXES: dict[str, Sequence[str] | dict[int, str]] = {
    "input_ids": _TOKENS,
    "attention_mask": _TOKENS,
    "states": _TOKENS,
    "embedding": ("windows",),
    "risk": ("windows",),
    "banned": _TOKENS,
    "written": _PIECES_SO_FAR,
    "copied": _PIECES_SO_FAR,
    "past": _KEPT,
    "best": _PIECES_SO_FAR,
    "kept": _KEPT,
}


def _set_bar(model: RewriterModel, harmless: Sequence[str], encoder: Encoder) -> None:
    """Shift the risk so that the share `_FALSE_ALARMS` of held-back harmless texts lies above 0."""
    lessons = lessons_of([Pair(text, text) for text in harmless], encoder)
    batches = [collate(lessons[at : at + 32], {}) for at in range(0, len(lessons), 32)]
    with torch.no_grad():
        risks = torch.cat([model.encode(one.input_ids, one.attention_mask)[2] for one in batches])
        model.risk.bias -= risks.quantile(1 - _FALSE_ALARMS)


def _seen(model: RewriterModel, lessons: Sequence[Lesson]) -> list[RewriterBatch]:
    """The pairs that the vocabulary can write, in batches."""
    columns = {token: at for at, token in enumerate(model.pieces.tolist())}
    known = [one for one in lessons if is_writable(one, columns)]
    return [collate(known[at : at + 8], columns) for at in range(0, len(known), 8)]


def _reading(batches: Sequence[RewriterBatch]) -> Iterator[tuple[Tensor, ...]]:
    for batch in batches:
        yield batch.input_ids, batch.attention_mask


def _writing(
    model: RewriterModel, writer: Writer, batches: Sequence[RewriterBatch]
) -> Iterator[tuple[Tensor, ...]]:
    """Every batch in two runs; the second comes first, for an example needs something past."""
    for batch in batches:
        half = batch.written.shape[1] // 2
        with torch.no_grad():
            states, _, _ = model.encode(batch.input_ids, batch.attention_mask)
            shared = states, batch.attention_mask, batch.banned
            first = *shared, batch.written[:, :half], batch.copied[:, :half], writer.nothing(states)
            _, past = writer(*first)
        yield *shared, batch.written[:, half:], batch.copied[:, half:], past
        yield first


def _write_pieces(pieces: Sequence[int], tokenizer: Tokenizer, path: Path) -> None:
    path.write_text("".join(f"{token} {tokenizer.id_to_token(token)}\n" for token in pieces))


def _spec(name: str, dtype: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def _reader_manifest(folder: Path, version: str, model: RewriterModel) -> Artifact:
    hidden = model.similarity.out_features
    manifest = Manifest(
        **_SHARED,
        name=REWRITER,
        version=version,
        task="text-rewriting",
        inputs=tuple(TensorSpec(name, "int64", _TOKENS) for name in INPUTS),
        outputs=(
            TensorSpec("states", "float32", (*_TOKENS, hidden)),
            TensorSpec("embedding", "float32", ("windows", hidden)),
            TensorSpec("risk", "float32", ("windows",)),
        ),
        files=file_entries(folder, [MODEL, TOKENIZER, PIECES]),
        text=TextOptions(max_tokens=MAX_TOKENS, overlap=8),
    )
    return _written(folder, manifest)


def _writer_manifest(
    folder: Path, version: str, reader: Artifact, *, past: tuple[int, int, int]
) -> Artifact:
    hidden = reader.manifest.outputs[0].shape[-1]
    layers, heads, size = past
    manifest = Manifest(
        **_SHARED,
        name=REWRITER_DECODER,
        version=version,
        task="text-writing",
        inputs=(
            TensorSpec("states", "float32", (*_TOKENS, hidden)),
            TensorSpec("attention_mask", "int64", _TOKENS),
            TensorSpec("banned", "float32", _TOKENS),
            TensorSpec("written", "int64", _PIECES_SO_FAR),
            TensorSpec("copied", "int64", _PIECES_SO_FAR),
            TensorSpec("past", "float32", ("windows", layers, heads, "past", size)),
        ),
        outputs=(
            TensorSpec("best", "int64", _PIECES_SO_FAR),
            TensorSpec("kept", "float32", ("windows", layers, heads, "kept", size)),
        ),
        files=file_entries(folder, [MODEL]),
        fitted=Fitted(reader.manifest.id, reader.manifest.scores_digest, {}),
    )
    return _written(folder, manifest)


_SHARED: dict[str, Any] = {
    "format": FORMAT,
    "precision": "int8",
    "licence": "Apache-2.0",
    "categories": (),
    "calibration": {},
}


def _written(folder: Path, manifest: Manifest) -> Artifact:
    (folder / "config.pbtxt").write_text(config_pbtxt(manifest))
    return write_manifest(folder, manifest)
