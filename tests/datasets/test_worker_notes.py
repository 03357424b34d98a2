"""Data workers that cannot hand over what they loaded: a line, not a wait for ever."""

from __future__ import annotations

import multiprocessing

import pytest
from torch.utils.data import DataLoader, Dataset

from mmcell.datasets.worker_notes import WorkerNotes, explain


@pytest.fixture(autouse=True)
def no_older_notes(monkeypatch):
    monkeypatch.setattr('mmcell.datasets.worker_notes._folders', set())


class Refused:
    """Cannot be pickled, as a tensor cannot where shared memory is full."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self):
        raise RuntimeError(self.text)


class Batches(Dataset):
    def __init__(self, text: str) -> None:
        self.text, self.notes = text, WorkerNotes(self)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> object:
        with self.notes.loading('a.png'):
            return Refused(self.text) if index == 2 else index


@pytest.mark.parametrize(
    ('text', 'where', 'cure'),
    [
        ('unable to write to file </torch_1_2_3>: No space left on device (28)', '/dev/shm', '--shm-size'),
        ('unable to allocate shared memory(shm) for file </torch_1>: Success (0)', '/dev/shm', 'num_workers=0'),
        (
            'unable to open shared memory object </torch_1> in read-write mode: Too many open files (24)',
            'data workers',
            'ulimit',
        ),
        ('something else', 'data', 'num_workers=0'),
    ],
)
def test_a_batch_that_cannot_be_handed_over(text, where, cure):
    loader = DataLoader(Batches(text), batch_size=1, num_workers=1, collate_fn=lambda batch: batch[0])
    with pytest.raises(RuntimeError) as error:
        list(loader)
    cause = explain(error.value)
    assert cause.where == where and cure in cause.cure and len(str(cause)) < 300
    assert not [each for each in multiprocessing.active_children() if 'pt_data' in each.name]


def test_a_worker_that_shared_memory_kills():
    """What torch says of SIGBUS; and it is said of errors of the data loader alone."""
    text = 'DataLoader worker (pid 7) is killed by signal: Bus error. Its workers may be out of shared memory.'

    class Killed(Dataset):
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> int:
            raise RuntimeError(text)

    with pytest.raises(RuntimeError) as error:
        list(DataLoader(Killed()))
    assert explain(error.value).where == '/dev/shm'
    with pytest.raises(RuntimeError) as error:
        raise RuntimeError(text)
    assert explain(error.value) is None
