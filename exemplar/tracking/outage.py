"""What the store did not take waits on the disk, a file for each operation, and is sent later."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from exemplar.errors import one_line
from exemplar.io import foreign, provenance
from exemplar.io.atomic import remove, replacing
from exemplar.tracking import owners, store
from exemplar.tracking.operations import Operation, Sender, refused
from exemplar.tracking.remedies import advised


def spool_folder() -> Path:
    """The folder of all spools, also for a queued run, whose clone DVC deletes."""
    return provenance.user_repository() / owners.SPOOLS


class Spool:
    """What waits of one run: `<number>.json` for each operation, and in the folder `<number>` a copy of its file.

    The lock is held from the first operation until all is sent, or until the process is gone.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id, self.folder = run_id, spool_folder() / run_id
        self.lock = FileLock(spool_folder() / f"{run_id}.lock")

    def files(self) -> list[Path]:
        """The operations that wait, in order."""
        return owners.waiting(self.folder)

    @property
    def waits(self) -> bool:
        """Whether something is kept here."""
        return bool(self.files())

    @property
    def store(self) -> str:
        """Where it belongs, as the first operation that can be read says."""
        for file in self.files():
            with suppress(OSError, ValueError):
                return str(self.read(file)["store"])
        return ""

    def keep(self, operation: Operation, *, store: str) -> None:
        """Write down an operation for this store, with a copy of its file; returns when both are on the disk."""
        spool_folder().mkdir(exist_ok=True)
        if not self.lock.is_locked:
            self.lock.acquire()  # before the folder is made, which whoever has the lock now may remove
        self.folder.mkdir(exist_ok=True)
        number = 1 + max((int(path.stem) for path in self.folder.iterdir() if path.stem.isdecimal()), default=0)
        said, place = {**operation, "store": store}, self.folder / f"{number:08d}"
        if "path" in operation:
            source = Path(operation["path"])
            with replacing(place) as copy:
                copy.mkdir()
                (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / source.name)
            said["path"] = source.name
        with replacing(place.with_suffix(".json")) as file:
            file.write_text(json.dumps(said), encoding="utf-8")

    def read(self, file: Path) -> dict[str, Any]:
        """An operation; raises OSError or ValueError for a file that `keep` did not write.

        What it sends lies in the spool: a path that leads elsewhere, or a link, would send any file of the user's.
        """
        try:
            said = json.loads(foreign.read(file))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(said, dict) or not {"kind", "store"} <= said.keys():
            raise ValueError("it is no operation")
        if "path" in said:
            copy = file.with_suffix("") / Path(str(said["path"])).name
            if any(path.is_symlink() for path in (copy.parent, copy, *copy.rglob("*"))):
                raise ValueError("its file is a link")
            said["path"] = str(copy)
        return said

    def drop(self, file: Path) -> None:
        """Forget an operation, itself first: a file without its operation does no harm, the reverse does."""
        file.unlink(missing_ok=True)
        remove(file.with_suffix(""))

    def tidy(self) -> None:
        """Remove the folder and the lock of a spool in which nothing waits; nothing happens where there is none."""
        with suppress(OSError):
            if self.folder.exists():
                remove(self.folder)  # with what a kill has left half-written there
                Path(self.lock.lock_file).unlink(missing_ok=True)
        self.lock.release()

    def forget_end(self) -> None:
        """Drop an end that waits, because the run goes on; first let whoever sends it come to his end."""
        if not self.waits:
            return
        with self.lock:
            for file in self.files():
                with suppress(OSError, ValueError):
                    if self.read(file)["kind"] == "end":
                        self.drop(file)


def pending() -> list[Spool]:
    """The spools in which something waits, the oldest first."""
    found = []
    for folder in spool_folder().glob("*"):
        with suppress(OSError):  # another process has just sent it, or it is another user's
            if Spool(folder.name).waits:
                found.append((folder.stat().st_mtime, folder.name))
    return [Spool(name) for _, name in sorted(found)]


def abandoned() -> Iterator[Spool]:
    """Each spool that no living process writes or sends, locked while the caller has it."""
    for spool in pending():
        try:
            spool.lock.acquire(blocking=False)
        except (Timeout, OSError):  # at work, or of another user
            continue
        try:
            yield spool
        finally:
            spool.lock.release()


def deliver(sender: Sender, spool: Spool) -> tuple[list[str], list[str]]:
    """Send what a spool holds and drop what arrived; returns what the store refused, and why the rest waits."""
    refusals, causes = [], []
    for file in spool.files():
        try:
            operation = spool.read(file)
        except (OSError, ValueError) as error:
            causes.append(f"{file} cannot be read ({one_line(error)}): remove it to forget it")
            continue
        try:
            try:
                sender.send(spool.run_id, operation)
            except Exception as error:
                if not refused(error):
                    raise
                refusals.append(one_line(error))
            spool.drop(file)
        except Exception as error:
            where = f"{file}: " if isinstance(error, (TypeError, LookupError)) else ""
            causes.append(where + advised(error, kept="it is sent later"))
    if not causes:
        spool.tidy()
    return refusals, causes


def deliver_abandoned(sender: Sender, address: str) -> Iterator[str]:
    """Send what earlier runs left for the store of this address; a line about each of their spools."""
    for spool in abandoned():
        if spool.store not in (address, ""):  # where none of its files can be read, each is named below
            yield f"run {spool.run_id} waits for another store, {one_line(spool.store)}"
            continue
        refusals, causes = deliver(sender, spool)
        said = "".join(f"; the store refused: {each}" for each in refusals)
        if not causes:
            yield f"run {spool.run_id} is sent{said}"
            continue
        number = len(causes)
        yield f"run {spool.run_id}: {number} things still wait{said}: {'; '.join(dict.fromkeys(causes))}"


def sync() -> Iterator[str]:
    """Send what waits in the user's repository; a line about each run that something was kept of."""
    uri = store.address()
    with store.answering(uri):
        client, _ = store.connect(uri)
    told = list(deliver_abandoned(Sender(client), one_line(uri)))
    yield from told
    for spool in pending():
        if not any(spool.run_id in line for line in told):
            yield f"run {spool.run_id} is at work, and sends itself what waits"
