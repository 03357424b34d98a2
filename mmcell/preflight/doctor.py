"""A check-up of the installation: versions, mmcv's compiled operators, device, memory, disk and data.

Nothing but the standard library and our own light modules is imported at the top: the doctor has to work where
everything else is missing or broken.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from mmcell.errors import raise_all, set_up_again

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        name: What was looked at.
        state: `note` is worth knowing but no problem.
        text: A version or a measure; for a problem, what is wrong.
        cure: A command or a sentence; for a problem only. A problem without one is cured by the cure of another.
    """

    name: str
    state: Literal['ok', 'note', 'problem']
    text: str
    cure: str = ''


@dataclass(frozen=True)
class Package:
    """A package to look at.

    Args:
        name: Name to report.
        distribution: What pip calls it.
        module: What to import. For mmdet and mmcv it is a part that pulls in all that training needs.
        needs: Reported names of packages without which the import must fail.
        upstream: Distribution with the same import name, which overwrites the fork that we use.
    """

    name: str
    distribution: str
    module: str
    needs: tuple[str, ...] = ()
    upstream: str = ''


PACKAGES = (
    Package('numpy', 'numpy', 'numpy'),
    Package('torch', 'torch', 'torch'),
    Package('cv2', 'opencv-python-headless', 'cv2', needs=('numpy',)),
    Package('pycocotools', 'pycocotools', 'pycocotools.mask', needs=('numpy',)),
    Package('faster-coco-eval', 'faster-coco-eval', 'faster_coco_eval', needs=('numpy',)),
    Package('tifffile', 'tifffile', 'tifffile', needs=('numpy',)),
    Package('imagecodecs', 'imagecodecs', 'imagecodecs', needs=('numpy',)),
    Package('pyarrow', 'pyarrow', 'pyarrow', needs=('numpy',)),
    Package('safetensors', 'safetensors', 'safetensors'),
    Package('jinja2', 'jinja2', 'jinja2'),
    Package('tensorboard', 'tensorboard', 'tensorboard', needs=('numpy',)),
    Package('mmengine', 'onedl-mmengine', 'mmengine.runner', needs=('torch', 'cv2'), upstream='mmengine'),
    Package('mmcv', 'onedl-mmcv', 'mmcv', needs=('mmengine', 'cv2'), upstream='mmcv'),
    Package('mmcv ops', 'onedl-mmcv', 'mmcv.ops', needs=('mmcv',)),
    Package('mmdet', 'onedl-mmdetection', 'mmdet.apis', needs=('mmcv ops', 'pycocotools'), upstream='mmdet'),
    Package('torchvision', 'torchvision', 'torchvision', needs=('torch',)),
    Package('timm', 'timm', 'timm', needs=('torchvision',)),
    Package('mmcell', 'mmcell', 'mmcell'),
)


def cure_set_up() -> str:
    """Return the cure for everything that the set-up installs."""
    ours = ROOT / '.venv'
    if ours.is_dir() and Path(sys.prefix).resolve() != ours:
        return f'activate the environment: . {ours}/bin/activate'
    return set_up_again()


def installed_version(distribution: str) -> str | None:
    """Return the version of a distribution as pip knows it, or None if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def first_line(error: BaseException) -> str:
    """Return an exception as one line of at most 120 characters."""
    return f'{type(error).__name__}: {error}'.splitlines()[0][:120]


def check_package(package: Package, failed: set[str]) -> Finding:
    """Import one package.

    Args:
        package: What to import.
        failed: Reported names of the packages that have a problem. A failure that follows from one of them has no
            cure of its own.
    """
    name, distribution = package.name, package.distribution
    installed = installed_version(distribution)
    if package.upstream and installed_version(package.upstream):
        cure = f'{sys.executable} -m pip uninstall -y {package.upstream} {distribution}, then {set_up_again()}'
        return Finding(name, 'problem', f'{package.upstream} and {distribution} overwrite each other', cure)
    missing = [need for need in package.needs if need in failed]
    if installed is None:
        return Finding(name, 'problem', f'{distribution} is not installed', cure_set_up())
    if missing:
        return Finding(name, 'problem', f'cannot work without {missing[0]}')
    try:
        # Some packages chat while they are imported.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            module = importlib.import_module(package.module)
    except Exception as error:  # A broken package can raise anything.
        reinstall = f'{sys.executable} -m pip install --force-reinstall --no-deps {distribution}=={installed}'
        # Reinstalling cannot supply another package that is missing, nor a mmcv compiled for this torch.
        futile = isinstance(error, ModuleNotFoundError) or distribution == 'onedl-mmcv'
        return Finding(name, 'problem', first_line(error), cure_set_up() if futile else reinstall)
    return Finding(name, 'ok', getattr(module, '__version__', installed))


def cpu_name() -> str:
    """Return the processor's name and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        name = next(line.split(':', 1)[1].strip() for line in lines if line.startswith('model name'))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{name}, {cores} cores'


def check_device() -> Finding:
    """Say on what torch will train; torch has to be importable."""
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / GIB
        return Finding('device', 'ok', f'{torch.cuda.get_device_name(0)}, {memory:.0f} GiB, CUDA {torch.version.cuda}')
    if Path('/dev/nvidiactl').exists() and 'CUDA_VISIBLE_DEVICES' not in os.environ:
        cure = f'install a CUDA build of torch, then {set_up_again()}'
        if torch.version.cuda:
            cure = f'update the driver: torch needs one for CUDA {torch.version.cuda}, see nvidia-smi'
        return Finding('device', 'problem', 'a GPU that torch cannot use', cure)
    return Finding('device', 'ok', f'CPU: {cpu_name()}')


def check_ops() -> Finding:
    """Run one compiled operator on the device that will train; mmcv's operators have to be importable."""
    import torch
    from mmcv.ops import nms

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0]], device=device)
        _, kept = nms(boxes, torch.tensor([0.5, 0.9], device=device), 0.5)
    except RuntimeError as error:
        return Finding('mmcv ops run', 'problem', f'not on {device}: {first_line(error)}', cure_set_up())
    if kept.tolist() != [1]:
        return Finding('mmcv ops run', 'problem', f'nms on {device} gives a wrong answer', cure_set_up())
    return Finding('mmcv ops run', 'ok', f'on {device}')


def check_memory() -> Finding:
    """Check the memory of the machine."""
    try:
        pairs = (line.split(':') for line in Path('/proc/meminfo').read_text().splitlines())
        sizes = {key: int(value.split()[0]) * 1024 / GIB for key, value in pairs}
    except OSError:
        return Finding('memory', 'note', 'unknown on this system')
    text = f'{sizes["MemAvailable"]:.1f} GiB available of {sizes["MemTotal"]:.1f} GiB'
    # Weights, gradients and two moments of Mask R-CNN R50 (44 M parameters) take 0.7 GiB, torch and an image the rest.
    if sizes['MemAvailable'] < 4:
        return Finding('memory', 'problem', text, 'close other programs: training needs about 4 GiB')
    return Finding('memory', 'ok', text)


def check_free_space() -> Finding:
    """Check the free space where runs are written."""
    free = shutil.disk_usage(Path.cwd()).free / GIB
    text = f'{free:.1f} GiB free in {Path.cwd()}'
    # A checkpoint with AdamW's moments is 0.5 GiB; a run keeps the last and two best, and writes before it deletes.
    if free < 5:
        return Finding('disk', 'problem', text, 'free some space, or train with --work-dir on another disk')
    return Finding('disk', 'ok', text)


def check_data() -> Finding:
    """Check that the data root that configs use holds annotations."""
    chosen = os.environ.get('MMCELL_DATA')
    root = Path(chosen or 'data/cell')
    found = sorted(path.stem for path in (root / 'annotations').glob('*.json'))
    if found:
        return Finding('data', 'ok', f'{root}: {", ".join(found)}')
    cure = f'python tools/convert.py class_tiff SRC --out {root}'
    if chosen:
        return Finding('data', 'problem', f'MMCELL_DATA={chosen} holds no annotations', cure)
    # The demo and the tests bring their own.
    return Finding('data', 'note', f'{root} holds no annotations yet; to convert some: {cure}')


def examine() -> Iterator[Finding]:
    """Yield all findings, each as soon as it is known."""
    yield Finding('python', 'ok', f'{platform.python_version()} ({sys.executable})')
    failed: set[str] = set()
    for package in PACKAGES:
        finding = check_package(package, failed)
        if finding.state == 'problem':
            failed.add(package.name)
        yield finding
    if 'torch' not in failed:
        yield check_device()
    if 'mmcv ops' not in failed:
        yield check_ops()
    yield check_memory()
    yield check_free_space()
    yield check_data()


def main(argv: Sequence[str] | None = None) -> None:
    """Print every finding, then every cure once, with the names of what it cures; or examine a data set.

    Raises:
        SystemExit: With status 1 if there is a problem with the installation.
        InputError: If there is one with the data.
        InputErrors: If there are several.
    """
    # Imported here: it makes this process one of our tools.
    from mmcell.cli.command import Parser, as_called
    from mmcell.cli.values import any_path

    parser = Parser(
        'Check the installation and suggest a fix for each problem. With DATA, read every image, annotation and mask '
        'of a converted data set instead, and summarize them.',
        'python tools/doctor.py data/cell',
    )
    parser.add_argument('data', nargs='?', type=any_path, metavar='DATA', help='folder that tools/convert.py wrote')
    args = parser.parse_args(argv)
    if args.data is not None:
        from mmcell.preflight.examine import examine_data

        lines, errors = examine_data(args.data)
        print('\n'.join(lines))
        raise_all(errors)
        print('healthy')
        return
    cures: dict[str, list[str]] = {}
    problems = 0
    for finding in examine():
        print(as_called(f'{finding.state:8} {finding.name:17} {finding.text}'), flush=True)
        problems += finding.state == 'problem'
        if finding.cure:
            cures.setdefault(finding.cure, []).append(finding.name)
    if not problems:
        print('\nhealthy')
        return
    print('\nto cure:')
    for cure, names in cures.items():
        print(as_called(f'  {", ".join(names)}: {cure}'))
    raise SystemExit(1)
