"""How soon every stage answers to --help."""

import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import Rows, Works, check_same, in_turn, limit

ROOT = Path(__file__).parents[1]


def works(*, quick: bool, repeats: int) -> Works:
    """One row."""
    yield partial(slowest, quick=quick, repeats=repeats)


def slowest(*, quick: bool, repeats: int) -> Rows:
    """That of the slowest stage."""
    stages = [file.stem for file in sorted((ROOT / "stages").glob("*.py")) if "cli.start(" in file.read_text("utf-8")]
    stages = stages[:2] if quick else stages
    spent = in_turn(*[lambda stage=stage: ask(stage) for stage in stages], repeats=repeats)
    spent_most = max(zip(spent, stages, strict=True), key=lambda pair: sorted(pair[0])[len(pair[0]) // 2])
    yield limit(f"--help of every stage; the slowest, {spent_most[1]}", spent_most[0], most=0.5, unit="s")


def ask(stage: str) -> None:
    """Start a stage for its help."""
    command = [sys.executable, "-m", f"stages.{stage}", "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    check_same(f"--help of {stage}", said.returncode == 0 and b"Usage" in said.stdout)
