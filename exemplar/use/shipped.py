"""Where the encoder is that comes with the package; `cifar10.md` beside it says what it is."""

from pathlib import Path

SHIPPED = Path(__file__).with_name("cifar10.safetensors")
