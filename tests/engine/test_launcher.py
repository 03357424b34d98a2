"""--launcher typed by hand, without the launcher; and a launcher without --launcher."""

from __future__ import annotations

import pytest

from mmcell.engine.launch import check_launcher
from mmcell.errors import InputError

#: What each launcher sets.
SETS = {
    'pytorch': dict(RANK='0', WORLD_SIZE='2', MASTER_ADDR='a', MASTER_PORT='29500'),
    'slurm': dict(SLURM_PROCID='0', SLURM_NTASKS='2', SLURM_NODELIST='n[1-2]'),
    'mpi': dict(OMPI_COMM_WORLD_RANK='0', OMPI_COMM_WORLD_LOCAL_RANK='0', OMPI_COMM_WORLD_SIZE='2', MASTER_ADDR='a'),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in {'TORCHELASTIC_RUN_ID', *(name for names in SETS.values() for name in names)}:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(('launcher', 'lacking'), [(each, name) for each, names in SETS.items() for name in names])
def test_a_launcher_that_did_not_launch(monkeypatch, launcher, lacking):
    for name, value in SETS[launcher].items():
        monkeypatch.setenv(name, value)
    check_launcher(launcher)
    monkeypatch.delenv(lacking)
    with pytest.raises(InputError) as error:
        check_launcher(launcher)
    line = str(error.value)
    assert line.startswith(f'--launcher {launcher}: needs {lacking}, ') and 'tools/' in line and len(line) < 300
    if lacking.endswith(('RANK', 'SIZE', 'PORT')):
        monkeypatch.setenv(lacking, 'x')
        with pytest.raises(InputError, match="is 'x', no number"):
            check_launcher(launcher)


def test_processes_of_torchrun_that_know_nothing_of_each_other(monkeypatch):
    check_launcher('none')
    for name, value in SETS['pytorch'].items():
        monkeypatch.setenv(name, value)
    check_launcher('none')  # a shell that has them from elsewhere
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'a')
    with pytest.raises(InputError, match='add --launcher pytorch'):
        check_launcher('none')
    monkeypatch.setenv('WORLD_SIZE', '1')
    check_launcher('none')
