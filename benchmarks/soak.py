"""Hours of `tools/infer.py`, killed again and again: `python -m benchmarks.soak CONFIG CKPT --images 500 --kill-s 60`.

Images are drawn; one call after the other is started with the same arguments and killed by SIGKILL after some time,
until one comes to its end. Printed are the kills, how often each image was done, and the memory of each call. Exit
status 1 if an image was lost or listed twice, or if memory grew.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mmcell.cli.command import Parser, run
from mmcell.cli.values import any_path, number, seed, whole
from mmcell.engine.outputs import JOURNAL_NAME, PICTURES_NAME
from mmcell.synthetic import write_class_tiff

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = Parser(
        'Predict many images with infer, kill it at random moments, start it again, and count.',
        'python -m benchmarks.soak CONFIG CKPT --images 500 --kill-s 60 --limit-s 7200',
    )
    parser.add_argument('config', type=any_path, metavar='CONFIG')
    parser.add_argument('checkpoint', type=any_path, metavar='CKPT')
    parser.add_argument('--base', type=any_path, metavar='CONFIG')
    parser.add_argument('--images', type=whole(1), default=500, help='how many (default: %(default)s)')
    parser.add_argument(
        '--size', type=whole(64, 2**12), default=256, help='their sides in pixels (default: %(default)s)'
    )
    parser.add_argument('--cells', type=whole(1), default=45, help='cells in each (default: %(default)s)')
    parser.add_argument('--kill-s', type=number(1), default=60, help='mean seconds to a kill (default: %(default)s)')
    parser.add_argument(
        '--kill-images', type=whole(1), help='mean images of a call until it is killed, where the machine is busy'
    )
    parser.add_argument(
        '--limit-s', type=number(1), default=7200, help='give up after this long (default: %(default)s)'
    )
    parser.add_argument(
        '--growth-mb', type=number(0), default=200, help='what later calls may take more (default: %(default)s)'
    )
    parser.add_argument('--seed', type=seed, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix='mmcell-soak-') as folder:
        raise SystemExit(soak(args, Path(folder)))


def soak(args: argparse.Namespace, folder: Path) -> int:
    """Returns the exit status."""
    # Images without masks are drawn in one folder; one with is the least that there can be.
    write_class_tiff(folder / 'source', 1, (args.size, args.size), args.cells, args.seed, args.images)
    out, draw = folder / 'out', random.Random(args.seed)
    command = [sys.executable, str(ROOT / 'tools/infer.py'), args.config, args.checkpoint]
    command += [str(folder / 'source/test_release'), '--out', str(out)]
    command += ['--base', args.base] if args.base else []
    begun, peaks, done = time.monotonic(), [], [0]
    while time.monotonic() - begun < args.limit_s:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        share, start, peak = draw.uniform(0.5, 1.5), time.monotonic(), 0
        while process.poll() is None:
            peak = max(peak, peak_mb(process.pid))
            if args.kill_images and journalled(out) - done[-1] >= share * args.kill_images:
                break
            if not args.kill_images and time.monotonic() - start >= share * args.kill_s:
                break
            time.sleep(0.5)
        peaks.append(peak)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done.append(journalled(out))
            seconds = time.monotonic() - begun
            print(f'kill {len(peaks)}: {done[-1]} of {args.images} images in {seconds:.0f} s, {peak} MB', flush=True)
            continue
        if process.returncode:
            print(f'infer ended with status {process.returncode}')
            return 1
        return judge(args, out, peaks, [*done, args.images], time.monotonic() - begun)
    print(f'given up after {args.limit_s:g} s and {len(peaks)} kills: {journalled(out)} of {args.images} images')
    return 1


def judge(args: argparse.Namespace, out: Path, peaks: list[int], done: list[int], seconds: float) -> int:
    """Say what came of it: of the peak memory of each call and of the images done before it and after; exit status."""
    listed = json.loads((out / 'images.json').read_text())['images']
    names = [image['file_name'] for image in listed]
    rows = (out / 'counts.csv').read_text().splitlines()[1:]
    pictures = list((out / PICTURES_NAME).glob('*.png'))
    once = len(set(names)) == len(names) == len(rows) == len(pictures) == args.images
    lost = any(later < earlier for earlier, later in itertools.pairwise(done))
    # A call that was killed before its first image has loaded no model, perhaps.
    worked = [peak for peak, (before, after) in zip(peaks, itertools.pairwise(done), strict=True) if after > before]
    grows = max(worked) > worked[0] + args.growth_mb
    print(f'{args.images} images of {args.size} px in {seconds:.0f} s, {len(peaks) - 1} kills')
    print(f'listed {len(names)}, counted {len(rows)}, drawn {len(pictures)}: {"each once" if once else "WRONG"}')
    print('nothing was lost by a kill' if not lost else 'WRONG: a kill lost what was done')
    print(f'peak memory of each call, MB: {", ".join(map(str, peaks))}{" WRONG: it grows" if grows else ""}')
    left = sorted(path.name for path in out.iterdir() if path.name == JOURNAL_NAME or path.name.startswith('.'))
    print(f'left behind: {", ".join(left) or "nothing"}')
    return int(not once or lost or grows or bool(left))


def journalled(out: Path) -> int:
    """How many images are done so far: a line of the journal each, but its first.

    An image has two if a kill came between its line and its picture: it was done again.
    """
    path = out / JOURNAL_NAME
    lines = path.read_bytes().split(b'\n')[1:-1] if path.is_file() else []
    return len({line.partition(b',')[0] for line in lines})  # {"number":7


def peak_mb(process: int) -> int:
    """The most memory that a process has had, in MB; 0 if it is gone."""
    try:
        lines = Path(f'/proc/{process}/status').read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith('VmHWM')), 0)


if __name__ == '__main__':
    os.environ.setdefault('PYTHONPATH', str(ROOT))
    run(main)
