"""The same networks in plain PyTorch, for `gpu_bench.py` to compare with."""

from __future__ import annotations

import time
from typing import Any

import numpy as np


def torch_vggish(arrays: dict[str, Any]) -> Any:
    """VGGish with the arrays of `audioset_batch.learn.vggish.weights`; takes (N, 1, 96, 64)."""
    import torch
    from torch import nn

    from audioset_batch.learn.vggish.variables import CONVOLUTIONS, DENSE, POOL_AFTER

    class Flatten(nn.Module):
        """Time, mel, channel, as the dense layers were trained."""

        def forward(self, x: Any) -> Any:
            return x.permute(0, 2, 3, 1).flatten(1)

    layers: list[Any] = []
    channels = 1
    for name, filters in CONVOLUTIONS:
        conv = nn.Conv2d(channels, filters, 3, padding=1)
        conv.weight.data = torch.from_numpy(arrays[f"vggish/{name}/weights"].transpose(3, 2, 0, 1).copy())
        conv.bias.data = torch.from_numpy(arrays[f"vggish/{name}/biases"].copy())
        layers += [conv, nn.ReLU(), *([nn.MaxPool2d(2)] if name in POOL_AFTER else [])]
        channels = filters
    layers.append(Flatten())
    for name, _ in DENSE:
        weights = arrays[f"vggish/{name}/weights"]
        dense = nn.Linear(*weights.shape)
        dense.weight.data = torch.from_numpy(weights.T.copy())
        dense.bias.data = torch.from_numpy(arrays[f"vggish/{name}/biases"].copy())
        layers += [dense, *([nn.ReLU()] if name != DENSE[-1][0] else [])]
    return nn.Sequential(*layers)


def vgg16_examples_per_second(examples: Any, batch_size: int, steps: int, warm_up: int) -> float:
    """The same steps in PyTorch: VGG16, the mean over places, a sigmoid; block5 and the head are trained."""
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    frozen, trained, channels = [], [], 3
    for block, (count, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
        layers = trained if block == 4 else frozen
        for _ in range(count):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    base, head = nn.Sequential(*frozen).to(device), nn.Sequential(*trained).to(device)
    dense = nn.Linear(512, examples.labels.shape[1]).to(device)
    optimizer = torch.optim.Adam([*head.parameters(), *dense.parameters()], lr=1e-4)
    loss = nn.BCEWithLogitsLoss()
    rng = np.random.default_rng(2)

    def step() -> None:
        rows = rng.integers(0, len(examples), batch_size)
        image = torch.from_numpy(examples.inputs(rows)["image"][..., 0]).to(device)[:, None].expand(-1, 3, -1, -1)
        labels = torch.from_numpy(examples.labels[rows].astype(np.float32)).to(device)
        with torch.no_grad():
            x = base(image - 110.0)
        optimizer.zero_grad()
        loss(dense(head(x).mean((2, 3))), labels).backward()
        optimizer.step()

    for _ in range(warm_up):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return round(steps * batch_size / (time.perf_counter() - begun), 1)
