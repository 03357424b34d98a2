"""Checkpoints that stay complete if the run is killed at any moment, and the one to resume from."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import barrier, is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from mmcell.coco.threshold import THRESHOLD_KEY
from mmcell.errors import InputError
from mmcell.io.checkpoints import check_checkpoint
from mmcell.io.files import atomic_path

#: The checkpoint of a run that was interrupted in the midst of an epoch; it goes when the next one is saved.
INTERRUPTED = 'interrupted.pth'
#: Unfinished files of a training: what :class:`_WholeSaves` and :func:`mmcell.io.files.atomic_path` call them.
_LEFTOVER = re.compile(r'\.((epoch_|iter_|best_|interrupted\.).+\.pth|last_checkpoint\..+)')


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's hook, except that an old checkpoint is removed only once the new one is there.

    mmengine first removes and then saves: with `max_keep_ckpts=1` a kill between the two loses everything, and one
    while the best checkpoint is renewed loses that. What waits for its removal is recorded in the new checkpoint
    (`outdated_ckpts` in the message hub), so that a resumed run removes what a killed one could not.

    The score threshold that the last validation found goes into the meta data of every checkpoint, as `score_thr`. The
    checkpoint of an epoch is written before its validation, so it is written again after it.

    Takes the arguments of :class:`mmengine.hooks.CheckpointHook`.
    """

    file_backend: Any
    is_saving = False  # whether a checkpoint is being written, which a signal lets end
    _is_current = True  # whether the last checkpoint was written since the last validation began

    def before_train(self, runner: Runner) -> None:
        """Look up what was saved before, and remove what a killed run left behind."""
        super().before_train(runner)
        if isinstance(self.file_backend, LocalBackend):
            self.file_backend = _LateRemoval(runner)
            self._remove_outdated()
            if is_main_process():
                remove_leftovers(self.out_dir)
                remove_leftovers(runner.work_dir)

    def before_val_epoch(self, runner: Runner) -> None:
        """What was saved until now does not know what this validation will find."""
        self._is_current = False

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any]) -> None:
        """Save the best, and let the last checkpoint know the threshold."""
        super().after_val_epoch(runner, metrics)
        last = getattr(self, 'last_ckpt', None)
        if last is None or self._is_current or not any(_is_threshold(name) for name in metrics):
            return
        step = runner.epoch if self.by_epoch else runner.iter
        if Path(last).name == self.filename_tmpl.format(step):
            self._save_checkpoint_with_step(runner, step, {'epoch': runner.epoch, 'iter': runner.iter})

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the threshold; the logs, which a resumed run takes over, hold it."""
        found = [values for name, values in runner.message_hub.log_scalars.items() if _is_threshold(name)]
        if found:
            checkpoint['meta'][THRESHOLD_KEY] = float(found[0].current())

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        # As mmengine's; only `last_checkpoint` is written atomically, and before anything is removed.
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                oldest = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                self.file_backend.remove(self.file_backend.join_path(self.out_dir, oldest))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._save(runner, name, meta)
        self._is_current = True
        self._remove_outdated()

    def save_interrupted(self, runner: Runner) -> None:
        """Save :data:`INTERRUPTED` after a step, and make it the last checkpoint."""
        self._save(runner, INTERRUPTED, {'epoch': runner.epoch, 'iter': runner.iter + 1})

    @contextmanager
    def _saving(self) -> Iterator[None]:
        self.is_saving = True
        try:
            yield
        finally:
            self.is_saving = False

    def _save(self, runner: Runner, name: str, meta: dict[str, Any]) -> None:
        with self._saving():
            self._save_and_point(runner, name, meta)

    def _save_and_point(self, runner: Runner, name: str, meta: dict[str, Any]) -> None:
        self._whole(runner).save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            path = self.file_backend.join_path(self.out_dir, name)
            with atomic_path(Path(runner.work_dir) / 'last_checkpoint') as temporary:
                temporary.write_text(str(path))
                _flush(temporary)
            if name != INTERRUPTED and isinstance(self.file_backend, LocalBackend):
                Path(self.out_dir, INTERRUPTED).unlink(missing_ok=True)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        with self._saving():
            super()._save_best_checkpoint(self._whole(runner), metrics)
        self._remove_outdated()

    def _whole(self, runner: Runner) -> Runner | _WholeSaves:
        return _WholeSaves(runner) if isinstance(self.file_backend, LocalBackend) else runner

    def _remove_outdated(self) -> None:
        if isinstance(self.file_backend, _LateRemoval):
            best = getattr(self, 'best_ckpt_path_dict', None) or {0: getattr(self, 'best_ckpt_path', None)}
            self.file_backend.remove_outdated(self.out_dir, keep={self.last_ckpt, *best.values()})


def _is_threshold(name: str) -> bool:
    """Whether a number is the threshold that a :class:`mmcell.evaluation.metrics.CellMetric` found."""
    return name.endswith(f'/{THRESHOLD_KEY}')


class _WholeSaves:
    """A runner whose checkpoints take their name once they are on the disk, all of them.

    Whoever reads sees the old checkpoint or the new one, after a loss of power too. All else is the runner's.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def save_checkpoint(self, out_dir: str, filename: str, *arguments: Any, **settings: Any) -> None:
        """Save under another name, the same in all processes, since each may write a part; then rename.

        Raises:
            InputError: If it cannot be written.
        """
        target, unfinished = (Path(out_dir, name) for name in (filename, f'.{Path(filename).stem}.unfinished.pth'))
        try:
            self._runner.save_checkpoint(out_dir, unfinished.name, *arguments, **settings)
            barrier()
            if is_main_process():
                _flush(unfinished)
                if target.is_dir():
                    shutil.rmtree(target)
                unfinished.replace(target)
            barrier()
        except OSError as error:
            _remove(unfinished)
            problem = f'cannot be written ({error.strerror})'
            raise InputError(target, problem, 'choose another place or free disk space') from None


def _flush(path: Path) -> None:
    """Have the system write to the disk what it holds back of a file, or of a folder and the files in it."""
    for each in (*path.glob('*'), path):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class _LateRemoval(LocalBackend):
    """Local files that are removed only when it is time."""

    def __init__(self, runner: Runner) -> None:
        self.hub = runner.message_hub

    def remove(self, filepath: str | Path) -> None:
        """Remember that a checkpoint, file or folder, is to go."""
        self.hub.update_info('outdated_ckpts', [*self._outdated(), str(filepath)])

    rmtree = remove

    def remove_outdated(self, folder: str, keep: set[str | None]) -> None:
        """Remove what is to go, except `keep`, from `folder`: a checkpoint may have come from another one."""
        for path in self._outdated():
            path = self.join_path(folder, Path(path).name)
            # What a checkpoint from elsewhere says may be anything.
            if path in keep or not is_main_process() or Path(path).suffix != '.pth':
                continue
            if self.isfile(path):
                super().remove(path)
            elif self.isdir(path):  # as DeepSpeed saves them
                super().rmtree(path)
        self.hub.update_info('outdated_ckpts', [])

    def _outdated(self) -> list[str]:
        found = self.hub.runtime_info.get('outdated_ckpts', [])
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def remove_leftovers(folder: str | Path) -> None:
    """Remove files that a killed training was writing."""
    for path in Path(folder).iterdir():
        if _LEFTOVER.fullmatch(path.name):
            _remove(path)


def find_checkpoint(work_dir: str | Path) -> tuple[Path | None, list[Path]]:
    """The checkpoint to resume from: the last complete one of a training.

    Args:
        work_dir: Folder of the run.

    Returns:
        The checkpoint, None if there is none, and those that were saved later but are broken.
    """
    work_dir = Path(work_dir)
    found = sorted(
        (path for path in work_dir.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+', path.stem)),
        key=lambda path: path.stat().st_mtime_ns,
        reverse=True,
    )
    # First what the training itself calls the last one: times are lost when a folder is copied.
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file() and (text := pointer.read_text(errors='replace').strip()):
        named = work_dir / Path(text).name
        named = named if named.exists() else Path(text)
        if named.exists():
            found = [named, *(path for path in found if path.name != named.name)]
    broken: list[Path] = []
    for path in found:
        try:
            if path.is_file():  # DeepSpeed saves folders
                check_checkpoint(path)
            return path, broken
        except InputError:
            broken.append(path)
    return None, broken
