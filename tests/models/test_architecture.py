"""The language of network names: what it says, that nothing is lost, and what it refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exemplar.errors import UserError
from exemplar.models.architecture import Architecture, Conv, Full, parse, to_string

widths = st.integers(1, 65_536)
convolutions = st.builds(Conv, widths, st.sampled_from(range(1, 100, 2)), st.integers(1, 4))
networks = st.tuples(
    st.lists(convolutions, min_size=1, max_size=6), st.lists(st.builds(Full, widths), min_size=1, max_size=3)
).map(lambda parts: (*parts[0], *parts[1]))

PAPER = [
    "64c5-64c5-128f",
    "64c5-128c5-256c5-512f",
    "92c5-256c5-512c5-1024f",
    "32c5-32c5-64f",
    "64c5-128f",
    "64c7s2-128c5-256c5-512f",
]


def test_a_string_names_its_layers_in_order():
    """`64c7s2` is 64 filters of 7 x 7 with stride 2, `512f` a fully connected layer of 512 units."""
    assert parse("64c7s2-128c5-512f") == (Conv(64, 7, stride=2), Conv(128, 5, stride=1), Full(512))


@pytest.mark.parametrize("model", PAPER)
def test_a_string_survives_the_round_trip(model: str):
    """The networks of the paper are written as in the paper."""
    assert to_string(parse(model)) == model


@settings(database=None, deadline=None, derandomize=True)
@given(networks)
def test_a_network_survives_the_round_trip(network: Architecture):
    """Every network that the language can say has one name, and the name says all of it."""
    assert parse(to_string(network)) == network


@settings(database=None, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=20), st.text("0123456789cfs-", max_size=20)))
def test_any_other_string_is_a_users_mistake(model: str):
    """Whatever is typed is either a network with exactly this name or a UserError."""
    try:
        network = parse(model)
    except UserError:
        return
    assert to_string(network) == model


REJECTED = [
    "", " ", "-", "f", "c", "64", "64c", "c5", "64c5", "512f", "64x5", "64x5-8f", "64c5-", "-64c5", "-64c5-8f",
    "64c5--8f", "64c5-8", "64c5-f", "64c5-c5-8f", "64c5 -8f", " 64c5-8f", "64c5-8f ", "64c5-8f\n", "64c5,8f",
    "64c5_8f", "64c5\n-8f", "64c5-8F", "64C5-8f", "64c5-8f-", "64c5-8ff", "64c5c5-8f", "64c5f-8f", "64c5/8f",
    "64c5;8f", "0c5-8f", "64c0-8f", "64c5-0f", "00c5-8f", "064c5-8f", "64c05-8f", "64c5-08f", "-64c5--8f", "+64c5-8f",
    "6.4c5-8f", "1e2c5-8f", "64c5.0-8f", "0x40c5-8f", "64c2-8f", "64c4-8f", "64c5-32c10-8f", "64c98-8f", "64c101-8f",
    "64c5s-8f", "64c5s0-8f", "64c5s1-8f", "64c5s5-8f", "64c5s22-8f", "64c5s02-8f", "64s2c5-8f", "64c5-8fs2",
    "64c5-8f-16c5", "8f-64c5", "8f-64c5-8f", "64c5-8f-32c3-8f", "65537c5-8f", "64c5-65537f", "999999c5-8f",
    "9999999c5-8f", "64c5-9999999f", "\u0666\u0664c5-8f", "64c\u0665-8f", "\uff16\uff14c5-8f", "64\u04415-8f",
    "\xb2c5-8f", "64c5\u20138f", "64c5\u22128f", "64c5-8f\x00",
]  # fmt: skip


@pytest.mark.parametrize("model", REJECTED)
def test_what_is_no_network_is_refused_in_one_line_that_quotes_it(model: str):
    """The line quotes the string as it was typed and says what was expected."""
    with pytest.raises(UserError) as refused:
        parse(model)
    assert repr(model) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("64c5-64x5-8f", "'64x5' is no layer"),
        ("64c5-128c4-8f", "'128c4' has filters of even side 4"),
        ("64c5-70000f", "'70000f' is wider than 65536"),
        ("8f-64c5", "has a convolution behind a fully connected layer"),
    ],
)
def test_the_wrong_word_is_named(model: str, said: str):
    """Of a long string only the word that is wrong is blamed."""
    with pytest.raises(UserError, match=said):
        parse(model)
