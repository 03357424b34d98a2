import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from mmcell.preflight import doctor

TOOL = Path(__file__).parents[2] / 'tools' / 'doctor.py'


def examine(*options, **environment):
    """Run the tool in a process of its own; return its status, its lines by name, and what it says about cures."""
    done = subprocess.run(
        [sys.executable, *options, str(TOOL)], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ''
    findings, _, cures = done.stdout.partition('\n\n')
    rows = {line[9:26].strip(): (line[:8].strip(), line[27:]) for line in findings.splitlines()}
    return done.returncode, rows, cures


def distribution(folder, name, version, code=None):
    """Put an importable module and what pip would know about it into `folder`."""
    information = folder / f'{name}-{version}.dist-info'
    information.mkdir()
    (information / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    if code is not None:
        (folder / f'{name}.py').write_text(code)


def test_this_environment():
    status, rows, cures = examine()
    assert rows['torch'] == ('ok', torch.__version__)
    assert rows['mmdet'] == ('ok', version('onedl-mmdetection'))
    assert rows['mmcv ops run'] == ('ok', 'on cuda' if torch.cuda.is_available() else 'on cpu')
    assert {
        'python',
        'numpy',
        'cv2',
        'pycocotools',
        'tifffile',
        'imagecodecs',
        'tensorboard',
        'memory',
        'disk',
        'data',
    } <= set(rows)
    problems = [name for name, (state, _) in rows.items() if state == 'problem']
    assert status == bool(problems)
    assert ('healthy' in cures) == (not problems)


def test_broken_torch_has_one_cure(tmp_path):
    (tmp_path / 'torch.py').write_text('raise OSError("libcudart.so: cannot open\\nshared object")')
    status, rows, cures = examine(PYTHONPATH=str(tmp_path))
    assert status == 1
    assert rows['torch'] == ('problem', 'OSError: libcudart.so: cannot open')
    assert rows['mmengine'] == ('problem', 'cannot work without torch')
    assert rows['mmdet'][0] == 'problem'
    assert rows['numpy'][0] == 'ok'
    assert 'mmcv ops run' not in rows
    assert f'torch: {sys.executable} -m pip install --force-reinstall --no-deps torch==' in cures
    assert 'mmengine' not in cures


def test_nothing_installed():
    status, rows, cures = examine('-I', '-S')  # without site-packages
    assert status == 1
    assert {name for name, (state, _) in rows.items() if state == 'problem'} >= {p.name for p in doctor.PACKAGES}
    assert len([line for line in cures.splitlines() if 'torch' in line]) == 1
    assert 'numpy, torch, cv2' in cures


def test_missing_part_of_a_package(tmp_path, monkeypatch):
    distribution(tmp_path, 'halfpackage', '1.2', 'import halfpackage_ext')
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.check_package(doctor.Package('half', 'halfpackage', 'halfpackage'), set())
    assert finding.text == "ModuleNotFoundError: No module named 'halfpackage_ext'"
    assert finding.cure == doctor.cure_set_up()


def test_upstream_package_beside_the_fork(tmp_path, monkeypatch):
    distribution(tmp_path, 'forkpackage', '3.5')
    distribution(tmp_path, 'upstreampackage', '3.3', '__version__ = "3.3"')
    monkeypatch.syspath_prepend(tmp_path)
    package = doctor.Package('p', 'forkpackage', 'upstreampackage', upstream='upstreampackage')
    finding = doctor.check_package(package, set())
    assert finding.state == 'problem'
    assert 'pip uninstall -y upstreampackage forkpackage' in finding.cure


def test_package_from_elsewhere_than_its_distribution(tmp_path, monkeypatch):
    (tmp_path / 'strangepackage.py').write_text('__version__ = "9"')
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.check_package(doctor.Package('strange', 'onedl-strange', 'strangepackage'), set())
    assert (finding.state, finding.text) == ('problem', 'onedl-strange is not installed')


def test_data_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMCELL_DATA', raising=False)
    assert doctor.check_data().state == 'note'
    monkeypatch.setenv('MMCELL_DATA', 'elsewhere/')
    finding = doctor.check_data()
    assert finding.state == 'problem'
    assert finding.cure.endswith('--out elsewhere')
    annotations = tmp_path / 'elsewhere' / 'annotations'
    annotations.mkdir(parents=True)
    for name in ('val', 'train'):
        (annotations / f'{name}.json').write_text('{}')
    assert doctor.check_data() == doctor.Finding('data', 'ok', 'elsewhere: train, val')


def test_unknown_argument(capsys):
    with pytest.raises(SystemExit) as exit_:
        doctor.main(['--cure'])
    assert exit_.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
