"""A resumed training continues exactly as if it had never stopped.

mmengine saves weights, optimizer, schedulers, EMA and logs, but no state of a random number generator, and those of
the data workers could not be saved at all: persistent ones keep theirs from epoch to epoch and load ahead. Here nothing
random depends on what was drawn before: every step and every sample has a seed of its own, made of the run's seed, the
rank and its place in the training.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import Sampler

#: Keeps the seeds of steps apart from those of samples.
_STEP, _SAMPLE = 0, 1


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Seeds every step and every sample, resumes within an epoch, and repeats a lost validation.

    A run with this hook, killed at any moment and resumed from its last checkpoint, takes the same steps as one that
    was not: bit for bit on a CPU. Checkpoints may be those of epochs or of iterations, in mmengine's loop over epochs
    or over iterations; batches that were trained on are drawn again but not loaded (in the loop over iterations,
    unless the sampler is mmengine's `InfiniteSampler`, mmengine loads and drops them). It does not hold for transforms
    that keep something from one sample to the next, as mmdet's `CachedMosaic` and `CachedMixUp` do.

    The seeds also fix what mmengine does with `persistent_workers=False`: its workers start every epoch with the same
    seed, so that the draws of the first epoch come again and again.
    """

    #: Last of all: nothing draws between the seeding and the step; best checkpoints are looked up before a validation.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._lacks_validation = False
        self._resumed: dict[str, Any] = {}
        self._first_iter = 0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add how many batches of its epoch the checkpoint has behind it, and the seed of the sampler."""
        meta = checkpoint['meta']
        begun = meta['epoch'] == runner.epoch
        batches = _batches(runner)
        checkpoint['exact_resume'] = {
            'batches_done': meta['iter'] - self._first_iter if begun else 0,
            'sampler_seed': getattr(getattr(batches, 'sampler', None), 'seed', None),
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Note where the checkpoint was saved: within an epoch, at its end, or after its validation."""
        self._resumed = checkpoint.get('exact_resume', {}) if runner._resume else {}
        info = checkpoint.get('message_hub', {}).get('runtime_info', {})
        self._lacks_validation = runner._resume and info.get('loop_stage') == 'train'

    def before_train(self, runner: Runner) -> None:
        """Give samples seeds of their own; validate what was saved, if it was due and nothing says that it was done.

        Without that the best checkpoint could be lost. An epoch that was not the best is validated twice.
        """
        loader = runner.train_loop.dataloader
        if loader.batch_sampler is not None and not isinstance(loader.batch_sampler, _SeededBatches):
            # Past DataLoader.__setattr__, which refuses both because a loader that iterates would not follow.
            vars(loader).update(
                batch_sampler=_SeededBatches(loader.batch_sampler, runner.seed, get_rank()),
                dataset=_SeededDataset(loader.dataset),
            )
        sampler: Any = getattr(_batches(runner), 'sampler', None)
        if self._resumed.get('sampler_seed') is not None and hasattr(sampler, 'seed'):
            sampler.seed = self._resumed['sampler_seed']
        # What the validation saves is where the checkpoint was.
        self._first_iter = runner.iter - self._resumed.get('batches_done', 0)
        if self._lacks_validation and self._is_validation_due(runner):
            runner.val_loop.run()
        self._lacks_validation = False

    def _is_validation_due(self, runner: Runner) -> bool:
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        if runner.val_loop is None or (by_epoch and self._resumed.get('batches_done')):
            return False
        loop._decide_current_val_interval()
        reached, length = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        return reached >= loop.val_begin and (reached % loop.val_interval == 0 or reached == length)

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the samples where they are; the loader asks for the first of them afterwards."""
        done = self._resumed.get('batches_done', 0)
        self._resumed = {}
        self._first_iter = runner.iter - done
        batches = _batches(runner)
        if not isinstance(batches, _SeededBatches):
            return
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            batches.epoch, batches.skipped = runner.epoch, done
        elif hasattr(runner.train_loop.dataloader.sampler, 'skip'):
            # mmengine lets the sampler begin behind the batches that are done, and draws nothing itself.
            batches.place = runner.iter * runner.train_loop.dataloader.batch_size

    def after_train_epoch(self, runner: Runner) -> None:
        """Start counting again."""
        self._first_iter = runner.iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the step: sampled proposals, dropout, stochastic depth."""
        torch.manual_seed(_seed_python_and_numpy(runner.seed, get_rank(), _STEP, runner.iter))


def _batches(runner: Runner) -> Any:
    return getattr(runner.train_loop.dataloader, 'batch_sampler', None)


class _SeededBatches(Sampler):
    """A batch sampler that says with each index what to seed its sample with: its place among all samples drawn.

    The place and not the index: a sampler may draw an image twice, which are then two different samples.

    Attributes:
        epoch: Epoch that comes next; each one that is drawn to its end counts.
        skipped: Batches at the beginning of the next epoch that are drawn and kept back.
        place: Samples of the next epoch that the inner sampler itself leaves out.
    """

    def __init__(self, batches: Any, seed: int, rank: int) -> None:
        self.batches, self.seed, self.rank = batches, seed, rank
        self.epoch, self.skipped, self.place = 0, 0, 0

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        skipped, self.skipped = self.skipped, 0
        place, self.place = self.place, 0
        for number, batch in enumerate(self.batches):
            if number >= skipped:
                keys = [(self.seed, self.rank, _SAMPLE, self.epoch, place + offset) for offset in range(len(batch))]
                yield list(zip(batch, keys, strict=True))
            place += len(batch)
        self.epoch += 1

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str) -> Any:
        return _of_inner(self, 'batches', name)


class _SeededDataset:
    """A dataset that loads the samples of a batch of :class:`_SeededBatches`; all else is the inner dataset's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getitems__(self, batch: Sequence[tuple[int, tuple[int, ...]]]) -> list[Any]:
        samples = []
        for index, key in batch:
            # Not torch.manual_seed: in a forked worker it would queue up seeds of GPUs, a millisecond each.
            torch.default_generator.manual_seed(_seed_python_and_numpy(*key))
            samples.append(self._inner[index])
        return samples

    def __getitem__(self, index: int) -> Any:
        return self._inner[index]

    def __len__(self) -> int:
        return len(self._inner)

    def __getattr__(self, name: str) -> Any:
        return _of_inner(self, '_inner', name)


def _of_inner(wrapper: object, inner: str, name: str) -> Any:
    if inner not in vars(wrapper):  # While it is unpickled in a spawned worker.
        raise AttributeError(name)
    return getattr(vars(wrapper)[inner], name)


def _seed_python_and_numpy(*key: int) -> int:
    """Seed both by a key, and return a seed for torch; keys of different numbers have unrelated seeds."""
    state = np.random.SeedSequence(key).generate_state(4)
    random.seed(state.tobytes())
    np.random.seed(state)
    return int(state[0]) << 32 | int(state[1])
