"""Features of images, learnt without labels: what is needed to use a trained encoder.

Each name is imported when it is first asked for, so that `import exemplar` takes no time and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exemplar.models.architecture import parse
    from exemplar.use.loaded import load_encoder
    from exemplar.use.transformer import ExemplarFeatures

__version__ = "0.1.0"
__all__ = ["ExemplarFeatures", "__version__", "load_encoder", "parse"]

HOMES = {
    "ExemplarFeatures": "exemplar.use.transformer",
    "load_encoder": "exemplar.use.loaded",
    "parse": "exemplar.models.architecture",
}


def __getattr__(name: str) -> object:
    """A public name out of the module that defines it (PEP 562)."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)
