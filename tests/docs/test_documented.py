"""What the documentation says can be typed, and what it names is there.

A shell block below `<!-- tested -->` is run as it stands, in order, in a folder that has the repository's files; one
below `<!-- tested: slow -->` by `make test-slow`.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), ROOT / 'data/README.md'])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
EXAMPLES = sorted(
    path for path in (ROOT / 'mmcell').rglob('*.py') if '>>> ' in path.read_text() and '.mim' not in path.parts
)
COMMAND = re.compile(r'(?:python tools/([a-z_]+)\.py|`mmcell ([a-z_]+))((?:[^\n`#]|(?<=\\)\n)*)')
OPTION = re.compile(r'(?<![\w-])--[a-z][\w-]*')
#: A file of ours. Names in capitals stand for others.
FILE = re.compile(r'\b(?:configs|docs|mmcell|tests|tools)/[a-z_0-9/]+\.(?:py|md|sh|toml|yml)\b(?!\w)')
LINK = re.compile(r'\]\((?!https?:|#|mailto:)([^)#\s]+)')
BLOCK = re.compile(r'<!-- tested(: slow)? -->\n+ *```\w*\n(.*?)```', re.DOTALL)


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_examples_of_docstrings(path):
    module = importlib.import_module('.'.join(path.relative_to(ROOT).with_suffix('').parts))
    outcome = doctest.testmod(module)
    assert outcome.attempted and not outcome.failed


@pytest.mark.parametrize('name', NAMES)
def test_files_and_links_lead_somewhere(name):
    text = (ROOT / name).read_text()
    missing = [path for path in set(FILE.findall(text)) if not (ROOT / path).exists()]
    if name != 'CONTRIBUTING.md':  # its recipes name files to be
        assert missing == []
    links = [target for target in LINK.findall(text) if not (ROOT / name).parent.joinpath(target).exists()]
    assert links == []


def test_commands_have_the_options_that_they_show(tool):
    known: dict[str, set[str]] = {}
    wrong = []
    for path, name in zip(PAGES, NAMES):
        for by_file, by_name, rest in COMMAND.findall(path.read_text()):
            called = by_file or by_name
            if not (ROOT / 'tools' / f'{called}.py').is_file():
                wrong.append(f'{name}: {called} is no tool')
                continue
            if called not in known:
                known[called] = set(OPTION.findall(tool(called, '--help').out))
            wrong += [f'{name}: {called} has no {each}' for each in OPTION.findall(rest) if each not in known[called]]
    assert len(known) > 10 and wrong == []


def blocks(slow: bool) -> list[tuple[str, str]]:
    found = []
    for path, name in zip(PAGES, NAMES):
        commands = [text for mark, text in BLOCK.findall(path.read_text()) if bool(mark) == slow]
        if commands:
            found.append((name, '\n'.join(commands)))
    return found


def run_block(commands: str, folder: Path) -> None:
    (folder / 'data').mkdir()  # what is converted goes there
    for each in ('configs', 'data/samples', 'docs', 'mmcell', 'tests', 'tools'):
        (folder / each).symlink_to(ROOT / each)
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'PATH': path}
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', commands], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(('name', 'commands'), blocks(slow=False), ids=lambda value: value if '\n' not in value else '')
def test_block(name, commands, tmp_path):
    run_block(commands, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'commands'), blocks(slow=True), ids=lambda value: value if '\n' not in value else '')
def test_slow_block(name, commands, tmp_path):
    run_block(commands, tmp_path)
