"""A BERT encoder with a classifier on the mean of its token vectors; parameters are named as in ``BertModel``."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY, WIDTH, HEADS, HIDDEN, POSITIONS, EPSILON = 30522, 384, 12, 1536, 512, 1e-12


class Attention(nn.Module):
    """Self-attention with its residual: x [N, T, W], mask [N, 1, 1, T] of 0 and -inf -> [N, T, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.self = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH), "LayerNorm": nn.LayerNorm(WIDTH, EPSILON)})

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        shape = (x.shape[0], x.shape[1], HEADS, WIDTH // HEADS)
        query, key, value = (self.self[name](x).view(shape).transpose(1, 2) for name in ("query", "key", "value"))
        scores = query @ key.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + mask
        context = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
        attended: Tensor = self.output["LayerNorm"](x + self.output["dense"](context))
        return attended


class Layer(nn.Module):
    """Attention and feed-forward: [N, T, W] -> [N, T, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, HIDDEN)})
        self.output = nn.ModuleDict({"dense": nn.Linear(HIDDEN, WIDTH), "LayerNorm": nn.LayerNorm(WIDTH, EPSILON)})

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        hidden = functional.gelu(self.intermediate["dense"](x))
        out: Tensor = self.output["LayerNorm"](x + self.output["dense"](hidden))
        return out


class SentimentNet(nn.Module):
    """Classifier of sentences: input_ids, attention_mask int64 [N, T] -> logits [N, 2] (negative, positive)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(VOCABULARY, WIDTH),
                "position_embeddings": nn.Embedding(POSITIONS, WIDTH),
                "token_type_embeddings": nn.Embedding(2, WIDTH),
                "LayerNorm": nn.LayerNorm(WIDTH, EPSILON),
            }
        )
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([Layer() for _ in range(layers)])})
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(WIDTH, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.embeddings["word_embeddings"](input_ids) + self.embeddings["position_embeddings"](positions)
        x = self.embeddings["LayerNorm"](x + self.embeddings["token_type_embeddings"](torch.zeros_like(input_ids)))
        keep = attention_mask.to(x.dtype)
        mask = (1.0 - keep)[:, None, None, :] * -10000.0
        for layer in cast("nn.ModuleList", self.encoder["layer"]):
            x = layer(x, mask)
        mean = (x * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)
        logits: Tensor = self.classifier(self.dropout(mean))
        return logits


def sentiment_net() -> SentimentNet:
    """Return the six-layer network that ``train.py`` fine-tunes."""
    return SentimentNet(6)


def student_net() -> SentimentNet:
    """Return a network of half the depth, to be distilled."""
    return SentimentNet(3)
