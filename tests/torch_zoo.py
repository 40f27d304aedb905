"""Small PyTorch modules, to be exported and scripted where they are needed."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    """4 numbers to 3 probabilities; dropout, which must be off."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.drop = nn.Linear(4, 8), nn.Linear(8, 3), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.last(self.drop(torch.relu(self.first(x)))), -1)


class Tokens(nn.Module):
    """Indices and a mask of any length, to two named outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(50, 6), nn.Linear(6, 2)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        summed = (self.table(tokens) * mask.unsqueeze(-1)).sum(1)
        pooled = summed / mask.sum(1, keepdim=True).clamp(min=1.0)
        return {"logits": self.last(pooled), "pooled": pooled}


class Noise(nn.Module):
    """Answers otherwise every time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


class Eigenvalues(nn.Module):
    """Has no counterpart in ONNX."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x @ x.mT + torch.eye(3)).real.sort(-1).values


class Centred(nn.Module):
    """Mixes the rows of a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


class Sized(nn.Module):
    """Gives a size beside a tensor."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        return x.sum(1), x.shape[0]
