"""The two families of ranges: the release's numbers, the text's numbers, and what params.yaml says about them."""

import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from exemplar.surrogate.ranges import FAMILIES, PAPER, RELEASE, Ranges, resolve

TEXT = (Path(__file__).parents[2] / "params.yaml").read_text()
NAMES = [field.name for field in fields(Ranges)]


def test_the_release_draws_from_the_ranges_of_its_code():
    """Shifts of a quarter, zooms and factors of half an octave, powers of two octaves, normal principal components."""
    hsv = {"power": (2**-2, 2**2), "factor": (2**-0.5, 2**0.5), "offset": (-0.1, 0.1)}
    assert asdict(RELEASE) == {
        "shift_fraction": (-0.25, 0.25),
        "scale_factor": (2**-0.5, 2**0.5),
        "angle_degrees": (-20, 20),
        "pca_distribution": "normal",
        "pca_log2_spread": (1, 1, 0.5),
        "stretch_fraction": 1,
        **{f"{channel}_{part}": bounds for channel in ("saturation", "value") for part, bounds in hsv.items()},
        "hue_offset_turns": (-0.1, 0.1),
    }


def test_the_paper_draws_from_the_ranges_of_its_text():
    """Section 2: shifts of 0.2, zooms and factors of 0.7 to 1.4, components by 0.5 to 2; it names no stretch."""
    hsv = {"power": (0.25, 4), "factor": (0.7, 1.4), "offset": (-0.1, 0.1)}
    assert asdict(PAPER) == {
        "shift_fraction": (-0.2, 0.2),
        "scale_factor": (0.7, 1.4),
        "angle_degrees": (-20, 20),
        "pca_distribution": "uniform",
        "pca_log2_spread": (1, 1, 1),
        "stretch_fraction": 0,
        **{f"{channel}_{part}": bounds for channel in ("saturation", "value") for part, bounds in hsv.items()},
        "hue_offset_turns": (-0.1, 0.1),
    }
    assert [2**-spread for spread in PAPER.pca_log2_spread] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_passes_the_checks_of_params(family: str):
    """It could be written into params.yaml as it stands."""
    checked = TypeAdapter(Ranges).validate_python(asdict(FAMILIES[family]))
    assert checked == FAMILIES[family]


@pytest.mark.parametrize("name", NAMES)
def test_params_says_the_value_of_every_family_above_its_null(name: str):
    """The comment is what a user reads before replacing a value, so it may not lag behind."""
    found = re.search(rf"# release: (.+); paper: (.+)\.\n  {name}: null\n", TEXT)
    assert found, name
    for said, family in zip(found.groups(), ("release", "paper"), strict=True):
        meant = getattr(FAMILIES[family], name)
        said = YAML(typ="safe").load(said)
        assert said == (meant if isinstance(meant, str) else pytest.approx(meant, rel=1e-7))


def test_only_nulls_are_filled_in():
    """Unknown keys and wrong values stay, for the check of types to refuse; a section that is none stays as well."""
    section = {"family": "paper", "shift_fraction": None, "angle_degrees": "steep", "colour": None}
    assert resolve(section) == {
        "family": "paper",
        "shift_fraction": (-0.2, 0.2),
        "angle_degrees": "steep",
        "colour": None,
    }
    assert resolve(None) is None
