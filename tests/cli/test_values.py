"""Values of arguments that several tools share."""

from __future__ import annotations

import argparse

import pytest

from mmcell.cli.values import options_action


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/my disk/a.pth', '/my disk/a.pth'),
        ("/o'brien/a b'", "/o'brien/a b'"),
        ("'/a, b/c.pth'", '/a, b/c.pth'),
        ('"/a [1]/c.pth"', '/a [1]/c.pth'),
        ('a=b', 'a=b'),
        ('', ''),
        ("'2'", 2),
        (' 0.5 ', 0.5),
        ('true', True),
        ('None', None),
        ('1, 2', [1, 2]),
        ('[(1, 2), [a, b]]', [(1, 2), ['a', 'b']]),
        ("'[1, 2]'", [1, 2]),
    ],
)
def test_options(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=options_action())
    found = parser.parse_args(['--cfg-options', f'a.b={text}', 'c=1']).cfg_options
    assert found == {'a.b': value, 'c': 1} and type(found['a.b']) is type(value)
