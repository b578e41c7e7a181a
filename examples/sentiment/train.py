"""Fine-tune MiniLM on film reviews and save it as a state dict, with token arrays for calibration and evaluation.

The exact commands (two cores, some minutes)::

    pip install "edge-compress[hf]"
    python examples/fetch.py minilm sentiment
    python examples/sentiment/train.py --seed 0 --epochs 3

Film sentences with a mean rating of at least 1 in size are used: positive or negative. 2,000 of them, picked by the
seed, are the test set, which training never sees. ``unlabelled.npz`` has the others, film sentences without a clear
rating, and sentences on products and news: distillation needs no labels. ``student.safetensors`` is what a three-layer
student starts from: every second layer of the fine-tuned network.
"""

import argparse
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
from network import SentimentNet, sentiment_net
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

Tokens = tuple[NDArray[np.int64], NDArray[np.int64]]
"""input_ids and attention_mask, each [sentences, 64]."""
Indices = NDArray[np.int64]

HERE = Path(__file__).parent
TEST, LENGTH = 2000, 64
SOURCES = {
    name: f"hutto_ICWSM_2014/{name}_GroundTruth.txt"
    for name in ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets")
}


def cache_folder() -> Path:
    """Return the folder that ``examples/fetch.py`` fills."""
    return Path(os.environ.get("COMPRESS_CACHE") or Path.home() / ".cache" / "edge-compress")


def read_rated(name: str) -> list[tuple[float, str]]:
    """Return the sentences of one source with their mean ratings, -4 to 4."""
    with tarfile.open(cache_folder() / "sentiment" / "hutto_ICWSM_2014.tar.gz") as archive:
        content = archive.extractfile(SOURCES[name])
        if content is None:
            raise SystemExit(f"the archive has no {SOURCES[name]}: run `python examples/fetch.py sentiment`")
        lines = content.read().decode("utf-8", errors="replace").splitlines()
    return [(float(fields[1]), fields[2]) for line in lines if len(fields := line.split("\t")) == 3]


def read_sentences() -> tuple[list[str], NDArray[np.int64], list[str]]:
    """Return clearly positive or negative film sentences, their labels (1 is positive), and sentences without any."""
    films = read_rated("movieReviewSnippets")
    clear = [(rating, text) for rating, text in films if abs(rating) >= 1]
    others = [text for rating, text in films if abs(rating) < 1]
    for name in ("amazonReviewSnippets", "nytEditorialSnippets"):
        others += [text for _, text in read_rated(name)]
    return [text for _, text in clear], np.array([rating > 0 for rating, _ in clear], np.int64), others


def write_arrays(labels: NDArray[np.int64], tokens: Tokens, others: Tokens, test: Indices, rest: Indices) -> None:
    """Write the token arrays of test, training and unlabelled sentences into the cache folder."""
    folder = cache_folder() / "sentiment"
    for name, index in (("test", test), ("train", rest)):
        arrays = {"input_ids": tokens[0][index], "attention_mask": tokens[1][index], "labels": labels[index]}
        np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
    ids, mask = (np.concatenate([own[rest], other]) for own, other in zip(tokens, others, strict=True))
    np.savez(folder / "unlabelled.npz", allow_pickle=False, input_ids=ids, attention_mask=mask)


def tokenize(sentences: list[str]) -> Tokens:
    """Return input_ids and attention_mask, each [sentences, 64]."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(cache_folder() / "minilm" / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    encoded = tokenizer.encode_batch(sentences)
    return np.array([e.ids for e in encoded], np.int64), np.array([e.attention_mask for e in encoded], np.int64)


@torch.no_grad()
def measure_accuracy(model: SentimentNet, ids: Tensor, mask: Tensor, labels: Tensor) -> float:
    """Return the accuracy as a fraction."""
    model.eval()
    hits = 0
    for i in range(0, len(ids), 100):
        width = int(mask[i : i + 100].sum(1).max())
        logits = model(ids[i : i + 100, :width], mask[i : i + 100, :width])
        hits += int((logits.argmax(1) == labels[i : i + 100]).sum())
    return hits / len(ids)


def train(model: SentimentNet, data: tuple[Tensor, Tensor, Tensor], options: argparse.Namespace) -> None:
    """Fine-tune in place with AdamW, linear warm-up and decay."""
    ids, mask, labels = data
    epochs, batch, seed = options.epochs, options.batch, options.seed
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    steps = epochs * (len(ids) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-4, total_steps=steps, pct_start=0.1, anneal_strategy="linear"
    )
    for epoch in range(epochs):
        model.train()
        start, total = time.perf_counter(), 0.0
        order = torch.randperm(len(ids), generator=generator)
        for i in range(0, len(ids) // batch * batch, batch):
            index = order[i : i + batch]
            width = int(mask[index].sum(1).max())
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
                logits = model(ids[index, :width], mask[index, :width])
            loss = functional.cross_entropy(logits.float(), labels[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}/{epochs} loss {total / (len(ids) // batch):.4f} {seconds:.0f} s", flush=True)


def save_student(state: dict[str, Tensor], path: Path) -> None:
    """Write the state of a three-layer network: the layers 1, 3 and 5 (counted from 0) of the fine-tuned one."""
    kept = {f"encoder.layer.{old}.": f"encoder.layer.{new}." for new, old in enumerate((1, 3, 5))}
    student = {name: tensor for name, tensor in state.items() if not name.startswith("encoder.layer.")}
    for name, tensor in state.items():
        for old, new in kept.items():
            if name.startswith(old):
                student[name.replace(old, new)] = tensor
    save_file(student, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--bfloat16", action="store_true", help="faster on CPUs that compute in it, slower on others")
    parser.add_argument("--data-only", action="store_true", help="write the token arrays, train nothing")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    sentences, labels, others = read_sentences()
    ids, mask = tokenize(sentences)
    order = np.random.default_rng(options.seed).permutation(len(sentences))
    test, rest = order[:TEST], order[TEST:]
    write_arrays(labels, (ids, mask), tokenize(others), test, rest)
    if options.data_only:
        return
    print(f"{len(rest)} training and {len(test)} test sentences, {labels.mean():.1%} positive")

    model = sentiment_net()
    weights = load_file(cache_folder() / "minilm" / "model.safetensors")
    found = model.load_state_dict(weights, strict=False)
    if set(found.missing_keys) != {"classifier.weight", "classifier.bias"}:
        raise SystemExit(f"the weights do not fit: {found.missing_keys} are missing")
    tensors = [torch.from_numpy(array) for array in (ids, mask, labels)]
    train(model, (tensors[0][rest], tensors[1][rest], tensors[2][rest]), options)
    accuracy = measure_accuracy(model, tensors[0][test], tensors[1][test], tensors[2][test])
    print(f"test accuracy {100 * accuracy:.2f} %")
    if accuracy < 0.8:
        raise SystemExit("below 80 %: not saved")
    save_file(model.state_dict(), HERE / "model.safetensors")
    save_student(model.state_dict(), HERE / "student.safetensors")


if __name__ == "__main__":
    main()
