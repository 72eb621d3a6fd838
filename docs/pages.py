"""Gives the site every page at its place in the repository, so that links lead where they lead there (mkdocs.yml)."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "benchmarks/*.md", "exemplar/use/*.md")
LINKED = ("docs/*.png", "docs/*.js", "LICENSE", "CITATION.cff")
PACKAGE = Path("docs/package.md")  # what an index shows in the place of README.md


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's own files, and those of the repository that are shown or linked."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in sorted(path.relative_to(ROOT) for pattern in (*PAGES, *LINKED) for path in ROOT.glob(pattern)):
        if path != PACKAGE:
            files.append(File.generated(config, path.as_posix(), abs_src_path=str(ROOT / path)))
    return files
