"""An ablation over another base: the one config of its chain of bases that both have is exchanged for the other.

`mask_rcnn_aug_ema.py` is over `cell/mask_rcnn_aug.py`, and so is `small/mask_rcnn_aug_lite.py`; the ablation over the
latter is what its file would be with `_base_ = '../small/mask_rcnn_aug_lite.py'`.
"""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import get_installed_path

from mmcell.errors import InputError


def load_over(path: str | Path, base: str | Path) -> Config:
    """Load a config as if it were written over another base.

    Args:
        path: The config: a file with one base, which has one base, and so on.
        base: Another config, over one of these bases itself.

    Returns:
        The config, with `path` as its file name.

    Raises:
        InputError: If the two have no base in common.
        Exception: Whatever the files raise.
    """
    chain, theirs = list_bases(path), list_bases(base)
    if chain[0] in theirs:
        problem = 'is the base itself' if chain[0] == theirs[0] else f'is a base of {base}, not an ablation over it'
        raise InputError(path, problem, 'leave out --base, or name an ablation')
    above = next((number for number, file in enumerate(chain) if file in theirs), None)
    if above is None:
        problem = f'cannot be put over {base}: they have no base in common'
        raise InputError(path, problem, 'give an ablation and a base that inherit from the same config')
    with tempfile.TemporaryDirectory(prefix='mmcell-') as folder:
        over = theirs[0]
        for number, file in reversed(list(enumerate(chain[:above]))):
            copy = Path(folder, str(number), file.name)
            copy.parent.mkdir()
            copy.write_bytes(_with_base(file, over))
            over = copy
        config = Config.fromfile(over)
    return Config(config.to_dict(), filename=str(path), env_variables=config.env_variables)


def over_or_itself(path: str | Path, base: str | Path | None) -> str | Path | None:
    """The base to load a config over; None if the config is that base."""
    return None if base is None or Path(path).resolve() == Path(base).resolve() else base


def list_bases(path: str | Path) -> list[Path]:
    """A config, its base, the base of that and so on, up to the first that has several or none."""
    files = [Path(path).resolve()]
    while (found := _find_base(files[-1])) is not None:
        package, _, inside = found[1].rpartition('::')
        folder = Path(get_installed_path(package), '.mim', 'configs') if package else files[-1].parent
        base = (folder / inside).resolve()
        if base in files or not base.is_file():  # mmengine says so when it loads them.
            break
        files.append(base)
    return files


def _find_base(file: Path) -> tuple[ast.Constant, str] | None:
    """Where a config names its base, and how, if it is one string."""
    if file.suffix != '.py':
        return None
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ['_base_']:
            value = node.value
            if isinstance(value, (ast.List, ast.Tuple)) and len(value.elts) == 1:
                value = value.elts[0]
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value, value.value
    return None


def _with_base(file: Path, base: Path) -> bytes:
    """The text of a config with another base."""
    found = _find_base(file)
    assert found is not None  # it is one of a chain of bases
    node = found[0]
    last = node.end_lineno or node.lineno
    # Columns count bytes.
    lines = file.read_bytes().splitlines(keepends=True)
    before, after = lines[node.lineno - 1][: node.col_offset], lines[last - 1][node.end_col_offset :]
    lines[node.lineno - 1 : last] = [before, repr(str(base)).encode(), after]
    return b''.join(lines)
