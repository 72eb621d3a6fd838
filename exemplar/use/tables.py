"""Features and the names of their pictures as files that grow batch by batch: .npy with a list of names, or Parquet."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from exemplar.errors import UserError, reason
from exemplar.io import foreign
from exemplar.io.arrays import map_array
from exemplar.io.atomic import replacing
from exemplar.io.sources import is_there

Rows = Iterable[tuple[list[Path], Float[np.ndarray, "n d"]]]
ROWS_AT_ONCE = 4096
LONGEST_NAME = 5000  # bytes of a picture's path and the end of its line
SUFFIXES = (".npy", ".parquet")


def names_beside(path: Path) -> Path:
    """Where the names of a .npy file's rows stand, a line each."""
    return path.with_suffix(".txt")


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Raise UserError for a file of an unknown kind, for one that is there already, and where no folder is."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is no file of features; expected a name that ends in {' or '.join(SUFFIXES)}")
    for file in (path, names_beside(path)) if path.suffix == ".npy" else (path,):
        require_free(file, overwrite=overwrite)
    if path.suffix == ".parquet":
        parquet()


def require_searchable(path: Path) -> None:
    """Raise UserError for what is neither a folder nor, by its name, a file of features."""
    expected = f"expected a folder with pictures, or a file of features that ends in {' or '.join(SUFFIXES)}"
    if not is_there(path):
        raise UserError(f"there is no file or folder {path}; {expected}")
    if not path.is_dir() and path.suffix not in SUFFIXES:
        raise UserError(f"{path} is no file of features; {expected}")


def require_free(path: Path, *, overwrite: bool) -> None:
    """Raise UserError where a file is there already, unless it may be replaced, and where no folder is for it."""
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for {path.name}; make it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder, which no file replaces; choose another --out")
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already; choose another --out, or pass --overwrite")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise UserError for whatever the disk refuses of an output in the block."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({reason(error)}); choose another --out, or make room") from None


def parquet() -> Any:  # noqa: ANN401  # pyarrow has no types
    """The module that reads and writes Parquet; raises UserError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError("Parquet needs the package pyarrow; install it, or choose an --out that ends in .npy") from None
    return pyarrow


def text(path: Path) -> str:
    """A path as text; a name that is not UTF-8 gets marks for what is none, and a line end in it a space."""
    return " ".join(os.fspath(path).encode("utf-8", "replace").decode("utf-8").splitlines())


def save(rows: Rows, path: Path) -> tuple[int, int]:
    """Write all rows, whole or not at all; returns how many there are and how wide.

    Raises UserError where there are none.
    """
    count = width = 0
    with writing(path) as append:
        for paths, features in rows:
            append([text(each) for each in paths], features)
            count, width = count + len(features), features.shape[1]
        if count == 0:
            raise UserError("no picture could be read, so that there are no features")
    return count, width


@contextmanager
def writing(path: Path) -> Iterator[Callable[[list[str], Float[np.ndarray, "n d"]], None]]:
    """A function that appends rows to a file, which is there when the block has succeeded."""
    with replacing(path) as temporary, (npy if path.suffix == ".npy" else parquet_rows)(path, temporary) as append:
        yield append


@contextmanager
def npy(path: Path, temporary: Path) -> Iterator[Callable[[list[str], Float[np.ndarray, "n d"]], None]]:
    """Append to a .npy file, whose header gets the number of rows at the end, and to its list of names."""
    count = width = 0
    with (
        replacing(names_beside(path)) as beside,
        temporary.open("wb") as file,
        beside.open("w", encoding="utf-8") as names,
    ):
        write_header(file, (0, 0))

        def append(pictures: list[str], features: Float[np.ndarray, "n d"]) -> None:
            nonlocal count, width
            file.write(np.ascontiguousarray(features).data)
            names.writelines(f"{name}\n" for name in pictures)
            count, width = count + len(features), features.shape[1]

        yield append
        write_header(file, (count, width))


def write_header(file: Any, shape: tuple[int, int]) -> None:  # noqa: ANN401  # a file
    """Write the shape at the beginning of a .npy file; NumPy pads it so that both numbers may grow in place."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


@contextmanager
def parquet_rows(path: Path, temporary: Path) -> Iterator[Callable[[list[str], Float[np.ndarray, "n d"]], None]]:
    """Append to a Parquet file with the columns `picture` and `features`."""
    pyarrow = parquet()
    with ExitStack() as opened:
        writers = list[Any]()

        def append(pictures: list[str], features: Float[np.ndarray, "n d"]) -> None:
            lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), features.shape[1])
            table = pyarrow.table({"picture": pyarrow.array(pictures), "features": lists})
            if not writers:
                writers.append(opened.enter_context(pyarrow.parquet.ParquetWriter(temporary, table.schema)))
            writers[0].write_table(table)

        yield append


def load(path: Path) -> Iterator[tuple[list[str], Float[np.ndarray, "n d"]]]:
    """The names and features that `save` wrote, some rows at a time. Raises UserError for a file that is broken."""
    remedy = "run exemplar features again"
    if path.suffix == ".npy":
        values = map_array(path, kind=np.float32, shape=(None, None), remedy=remedy)
        try:
            content = foreign.read(names_beside(path), most_bytes=LONGEST_NAME * len(values))
            names = content.decode("utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {names_beside(path)} ({reason(error)}); {remedy}") from None
        if len(names) != len(values):
            raise UserError(f"{names_beside(path)} names {len(names)} pictures, {path} has {len(values)}; {remedy}")
        for first in range(0, len(values), ROWS_AT_ONCE):
            yield names[first : first + ROWS_AT_ONCE], np.array(values[first : first + ROWS_AT_ONCE])
        return
    try:
        for batch in (
            parquet().parquet.ParquetFile(path).iter_batches(batch_size=ROWS_AT_ONCE, columns=["picture", "features"])
        ):
            features = batch["features"]
            yield batch["picture"].to_pylist(), features.flatten().to_numpy().reshape(len(features), -1)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {path} ({' '.join(str(error).split())}); {remedy}") from None
