"""`model-index.yml` and its metafiles say what configs there are; MMEngine's hub and mim look there.

python tests/configs/test_model_index.py        adds an entry for each config that has none, without results
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml  # mmengine's

ROOT = Path(__file__).resolve().parents[2]
COMMAND = 'python tests/configs/test_model_index.py'
FOLDERS = sorted(path for path in (ROOT / 'configs').glob('[!_]*') if path.is_dir())


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def configs_in(folder: Path) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted(folder.glob('*.py'))]


def models_of(folder: Path) -> list[dict]:
    return read(folder / 'metafile.yml').get('Models') or []


def missing_from(folder: Path) -> list[str]:
    return [config for config in configs_in(folder) if config not in {model['Config'] for model in models_of(folder)}]


def test_every_folder_of_configs_is_imported():
    imported = [f'configs/{folder.name}/metafile.yml' for folder in FOLDERS]
    assert read(ROOT / 'model-index.yml')['Import'] == imported, 'list them in model-index.yml'


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: folder.name)
def test_every_config_is_listed(folder):
    assert not missing_from(folder), f'not in {folder.name}/metafile.yml; add with: {COMMAND}'
    listed = [model['Config'] for model in models_of(folder)]
    assert sorted(listed) == configs_in(folder), f'{folder.name}/metafile.yml lists what does not exist, or twice'


def test_entries_follow_the_format():
    collections = {
        entry['Name'] for folder in FOLDERS for entry in read(folder / 'metafile.yml').get('Collections', [])
    }
    for model in (model for folder in FOLDERS for model in models_of(folder)):
        assert model['In Collection'] in collections
        assert model['Name'] == model['Config'].removeprefix('configs/').removesuffix('.py')
        for result in model.get('Results', []):
            assert result.keys() == {'Task', 'Dataset', 'Metrics'}
            assert all(0 <= value <= 1 for value in result['Metrics'].values())


def test_the_package_finds_them():
    """Through links, so that an editable install and a bare checkout have what a wheel has."""
    folder = ROOT / 'mmcell' / '.mim'
    assert {path.name: path.resolve() for path in folder.iterdir()} == {
        name: ROOT / name for name in ('configs', 'model-index.yml', 'tools')
    }


def add_missing() -> None:
    for folder in FOLDERS:
        missing = missing_from(folder)
        with (folder / 'metafile.yml').open('a') as file:
            if not models_of(folder):
                file.write('Models:')
            for config in missing:
                name = config.removeprefix('configs/').removesuffix('.py')
                file.write(f'\n  - Name: {name}\n    In Collection: Mask R-CNN for cells\n    Config: {config}\n')
                print(f'{folder.name}/metafile.yml: {name}')


if __name__ == '__main__':
    add_missing()
