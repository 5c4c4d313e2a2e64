"""torchvision's ResNet-18 and EfficientNet in plain PyTorch, for ``bench_training``.

The names of parameters are torchvision's, which the benchmark need not have installed.
"""

from collections.abc import Sequence
from typing import Any


def networks() -> dict[str, Any]:
    import torch
    from torch import nn

    def conv(i: int, o: int, size: int, stride: int = 1, groups: int = 1) -> Any:
        return nn.Conv2d(i, o, size, stride, size // 2, groups=groups, bias=False)

    class Basic(nn.Module):
        def __init__(self, i: int, o: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv(i, o, 3, stride), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = conv(o, o, 3), nn.BatchNorm2d(o)
            self.downsample = None
            if stride > 1 or i != o:
                self.downsample = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o))

        def forward(self, x: Any) -> Any:
            short = x if self.downsample is None else self.downsample(x)
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + short)

    class ResNet18(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
            for stage, (i, o) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
                blocks = Basic(i, o, 1 if stage == 1 else 2), Basic(o, o, 1)
                setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            self.fc = nn.Linear(512, 1000)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.bn1(self.conv1(x)))
            x = nn.functional.max_pool2d(x, 3, 2, 1)
            for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
                x = stage(x)
            return self.fc(x.mean((2, 3)))

    def unit(i: int, o: int, size: int, stride: int = 1, groups: int = 1, act: bool = True) -> Any:
        layers = [conv(i, o, size, stride, groups), nn.BatchNorm2d(o)]
        return nn.Sequential(*layers, nn.SiLU()) if act else nn.Sequential(*layers)

    class Squeeze(nn.Module):
        def __init__(self, channels: int, squeezed: int) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

        def forward(self, x: Any) -> Any:
            y = nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))
            return x * torch.sigmoid(self.fc2(y))

    class Inverted(nn.Module):
        def __init__(self, expand: int, size: int, stride: int, i: int, o: int) -> None:
            super().__init__()
            wide = i * expand
            layers = [] if expand == 1 else [unit(i, wide, 1)]
            layers += [unit(wide, wide, size, stride, wide), Squeeze(wide, max(1, i // 4))]
            self.block = nn.Sequential(*layers, unit(wide, o, 1, act=False))
            self.adds = stride == 1 and i == o

        def forward(self, x: Any) -> Any:
            y = self.block(x)
            return x + y if self.adds else y

    class EfficientNet(nn.Module):
        """The published table of widths and depths, not the formula."""

        def __init__(self, stem: int, widths: Sequence[int], depths: Sequence[int]) -> None:
            super().__init__()
            layers, i = [unit(3, stem, 3, 2)], stem
            kinds = ((1, 3, 1), (6, 3, 2), (6, 5, 2), (6, 3, 2), (6, 5, 1), (6, 5, 2), (6, 3, 1))
            for (expand, size, stride), o, depth in zip(kinds, widths, depths, strict=True):
                blocks = []
                for place in range(depth):
                    blocks.append(Inverted(expand, size, 1 if place else stride, i, o))
                    i = o
                layers.append(nn.Sequential(*blocks))
            self.features = nn.Sequential(*layers, unit(i, 4 * i, 1))
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(4 * i, 1000))

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x).mean((2, 3)))

    b0 = EfficientNet(32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1))
    b2 = EfficientNet(32, (16, 24, 48, 88, 120, 208, 352), (2, 3, 3, 4, 4, 5, 2))
    return {"resnet18": ResNet18(), "efficientnet_b0": b0, "efficientnet_b2": b2}
