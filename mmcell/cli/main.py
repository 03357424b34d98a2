"""The command `mmcell`: `mmcell infer …` is `python tools/infer.py …`, from anywhere.

The tools are files in `tools/`, which a wheel has, too; a file more there is a command more here.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import mmcell
from mmcell.cli.command import Parser, run

#: The tools of the checkout, by a link, or those that the wheel brought.
TOOLS = Path(mmcell.__file__).parent / '.mim' / 'tools'


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the tool that the first argument names, with the others.

    Args:
        argv: Arguments; None takes those of this process.
    """
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ['--help']
    tools = {path.stem: path for path in sorted(TOOLS.glob('*.py'))}
    if name not in tools:
        run(lambda _: _explain(name, tools))
    # What the tool calls itself, and what it takes for its arguments where it repeats them.
    sys.argv = [f'mmcell {name}', *rest]
    spec = importlib.util.spec_from_file_location(f'mmcell_tool_{name}', tools[name])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run(module.main, rest)


def _explain(name: str, tools: dict[str, Path]) -> None:
    """Answer `--help` and `--version`, and refuse what is no tool."""
    parser = Parser(
        'Outline, classify and count the cells in microscopy images.',
        'mmcell infer --help',
        commands={tool: ast.get_docstring(ast.parse(path.read_text())) or '' for tool, path in tools.items()},
    )
    parser.prog = 'mmcell'
    parser.add_argument('--version', action='version', version=f'mmcell {mmcell.__version__}')
    parser.add_argument('tool', choices=[*tools], metavar='TOOL', help='the command to run; each has its own --help')
    parser.parse_args([name])


if __name__ == '__main__':
    main()
