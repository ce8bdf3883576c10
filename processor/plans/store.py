"""Plans of versions as the cache keeps them: a folder each, named after what it was made of.

A folder appears whole, with a list of its files and their checksums, and what is known of the plan. One that is not
whole any more is thrown away, and made anew. That a version cannot be fused is kept, too: a folder without a plan.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corelane.processor.engines.selection import PLAN
from corelane.processor.errors import LoadError
from corelane.processor.plans.tables import TABLES, TableStore
from corelane.processor.system.cache_files import (
    MAKING,
    checksum,
    from_checked,
    not_kept,
    scratch_folder,
    sync,
    to_checked,
    write_whole,
)

_logger = logging.getLogger(__name__)

PLANS = "fused"
KEPT = "kept.json"
_UNUSED_S = 14 * 86400

Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """Thread safety: any number of processes may read, make and throw away the same one."""

    cache: Path
    key: str

    @property
    def folder(self) -> Path:
        return self.cache / PLANS / self.key

    def read(self) -> Outcome | None:
        """What is known of the plan, every byte of which is checked; None if there is none, or it is not whole."""
        try:
            content = from_checked((self.folder / KEPT).read_bytes())
            for name, (size, check) in content["files"].items():
                path = self.folder / name
                if path.stat().st_size != size or checksum(path) != check:
                    raise ValueError(f"{name} is not as it was written")
            outcome: Outcome = content["outcome"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if self.folder.exists():
                _logger.warning("the plan in %s is not used: %s", self.folder, error)
            return None
        with contextlib.suppress(OSError):  # of another user, or where nothing can be written
            os.utime(self.folder / KEPT)
        return outcome

    def make(self, compile_into: Callable[[Path], Outcome]) -> Outcome:
        """What is known of the plan that the function writes to the folder that it is given; another process's, if that
        was quicker. LoadError if nothing can be kept."""
        try:
            with scratch_folder(self.cache / MAKING) as scratch:
                plan = scratch / "plan"
                outcome = compile_into(plan)
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                _forget_unused(self.folder.parent)
                if (plan / PLAN).exists() == ("error" in outcome):
                    raise LoadError("the compilation left a plan that it says is none, or none that it says is one")
                plan.mkdir(exist_ok=True)
                self._finish(plan, outcome)
                return self._publish(plan, scratch / "replaced", outcome)
        except OSError as error:
            raise LoadError(not_kept("a plan", self.cache, error)) from error

    def _finish(self, plan: Path, outcome: Outcome) -> None:
        """Makes a plan's tables one with equal ones, and writes down what there is. The process that wrote the files
        ran the model, so nothing about them is taken for granted."""
        files = {}
        folders = [plan]
        for path in sorted(plan.rglob("*")):
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                folders.append(path)
            elif not stat.S_ISREG(mode):
                raise LoadError(f"the compilation left {path.name}, which is neither a file nor a folder")
            else:
                files[path] = path.lstat().st_size
        tables = [path for path in files if path.parent == plan / "tables"]
        for path in tables:
            with path.open("rb") as file:
                # Others are to share it by its name.
                if hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest() != path.stem:
                    raise LoadError(f"the compilation left a table, {path.name}, that is not what its name says")
        for path in files:
            sync(path)
        listed = {str(path.relative_to(plan)): (size, checksum(path)) for path, size in files.items()}
        write_whole(plan / KEPT, to_checked({"files": listed, "outcome": outcome}))
        TableStore(self.cache / TABLES).adopt(tables)
        for path in folders:
            sync(path)

    def _publish(self, plan: Path, replaced: Path, outcome: Outcome) -> Outcome:
        try:
            plan.rename(self.folder)
        except OSError:
            if not os.path.lexists(self.folder):
                raise
            if (found := self.read()) is not None:
                return found
            self.folder.rename(replaced)
            plan.rename(self.folder)
        sync(self.folder.parent)
        # As a reader will find it: without tuples.
        found = json.loads(json.dumps(outcome))
        assert isinstance(found, dict)
        return found


def _forget_unused(plans: Path) -> None:
    """Models are trained anew every day; their plans would fill the disk."""
    for path in plans.iterdir():
        with contextlib.suppress(OSError):  # another process may do the same
            kept = path / KEPT
            used_s = (kept if kept.exists() else path).lstat().st_mtime
            if time.time() - used_s > _UNUSED_S:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
