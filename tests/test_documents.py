"""What a stranger reads first: pages whose links lead somewhere, and metadata that say the same everywhere."""

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from imports import ROOT
from packaging.requirements import Requirement
from ruamel.yaml import YAML

import exemplar
from exemplar.tracking import serving

PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
MENTIONED = re.compile(r"`((?:exemplar|stages|tests|benchmarks|runs|docs)/[\w/]+\.\w+)`")
MOST_LINES = 150
HISTORY = Path("docs/log.md")  # it may name what is gone


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page may say behind the #."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative_links(page: Path) -> list[str]:
    """The links of a page that lead into the repository."""
    return [target for target in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target)]


def leaves(tree: object) -> Iterator[str]:
    """The pages of a part of the site's navigation."""
    if isinstance(tree, str):
        yield tree
    else:
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(part)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_relative_link_leads_to_a_file_and_a_heading_that_are_there(page: Path):
    """Also where the page lies in a folder."""
    for link in relative_links(page):
        target, _, anchor = link.partition("#")
        file = (ROOT / page.parent / target).resolve().relative_to(ROOT) if target else page
        assert (ROOT / file).exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(file), f"{page}: {link}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY], ids=str)
def test_every_file_that_a_page_names_is_there(page: Path):
    """A page that names a module is right about where it is."""
    gone = [file for file in MENTIONED.findall(prose(page)) if not (ROOT / file).exists()]
    assert gone == []


@pytest.mark.parametrize("path", ["/home/me/Bilder/Übung (1)", "~/a b=c,d#[e]{f}", "/data/it's"])
def test_any_path_goes_through_an_override_in_two_pairs_of_quotes(path: str):
    """As docs/experiments.md says; without them DVC refuses it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    parser, quoted = OverridesParser.create(), path.replace("'", r"\'")
    assert parser.parse_overrides([f"sources.folder.url='{quoted}'"])[0].value() == path
    with pytest.raises(OverrideParseException):
        parser.parse_overrides([f"sources.folder.url={path}"])


def test_every_page_is_in_the_navigation_of_the_site():
    """Once, and so is every page that it links; but for that of an index, which says what README.md says."""
    navigation = YAML(typ="safe").load(ROOT / "mkdocs.yml")["nav"]
    links = {(ROOT / page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in relative_links(page)}
    linked = {link.relative_to(ROOT) for link in links if link.suffix == ".md"}
    assert sorted(map(Path, leaves(navigation))) == sorted({*PAGES, *linked} - {Path(PROJECT["readme"])})


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_table_is_one_to_every_reader_of_markdown(page: Path):
    """Inside a list it is indented by four, and a line without text is behind it."""
    lines = ["", *prose(page).splitlines(), ""]
    for line, following in pairwise(lines):
        if line.lstrip().startswith("|"):
            assert len(line) - len(line.lstrip()) in (0, 4), line
            assert not following or following.lstrip().startswith("|"), following


def test_the_first_page_is_short():
    """All else is in docs/, linked where it is needed."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_LINES


def test_the_page_of_an_index_needs_no_repository():
    """A package's metadata come without files beside them, so that a relative link would lead nowhere."""
    assert relative_links(Path(PROJECT["readme"])) == []


def test_the_version_is_the_same_everywhere():
    """In the package, its metadata, the citation and the newest entry of the changelog."""
    cited = YAML(typ="safe").load(ROOT / "CITATION.cff")["version"]
    (newest, *_) = re.findall(r"^## ([\d.]+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert {exemplar.__version__, PROJECT["version"], cited, newest} == {exemplar.__version__}


def test_the_licence_travels_with_the_package():
    """Its file is there, and metadata and citation name it."""
    assert [(ROOT / file).read_text().split()[0] for file in PROJECT["license-files"]] == [PROJECT["license"]]
    assert YAML(typ="safe").load(ROOT / "CITATION.cff")["license"] == PROJECT["license"] == "MIT"


def test_a_logged_encoder_asks_for_nothing_that_the_library_alone_does_not_need():
    """Both use an encoder; a logged one reads no files of pictures, waits for no lock and has no command."""
    assert {Requirement(each).name for each in PROJECT["dependencies"]} > set(serving.REQUIREMENTS)


def test_a_commit_is_checked_by_the_commands_of_make_check():
    """What passes before a commit passes in `make check`."""
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    (repository,) = YAML(typ="safe").load(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [hook["entry"] for hook in repository["hooks"]] == commands
