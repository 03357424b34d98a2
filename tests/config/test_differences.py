from __future__ import annotations

from pathlib import Path

from mmcell.config import diff_configs

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def test_diff():
    old = {
        'model': {'a': 1, 'b': {'c': (1, 2)}},
        'x': [{'type': 'A', 'p': 1}, {'type': 'B'}],
        'data_root': 'u',
        '_width': 1,
    }
    new = {
        'model': {'b': {'c': [1, 2], 'd': None}},
        'x': [{'type': 'A', 'p': 2}, {'type': 'C'}, {'type': 'B'}],
        'data_root': 'v',
    }
    assert diff_configs(old, new) == [
        '- model.a: 1',
        '+ model.b.d: None',
        'x[0].p: 1 -> 2',
        "+ x[1]: dict(type='C')",
    ]
    assert diff_configs(old, old) == []


def test_an_ablation_over_two_bases(tool, monkeypatch):
    """The tool names the bases, and shows what they change."""
    monkeypatch.chdir(CONFIGS)
    small, lite, ema = 'small/mask_rcnn_aug.py', 'small/mask_rcnn_aug_lite.py', 'cell/mask_rcnn_aug_ema.py'
    bases = tool('diff', small, lite).out.splitlines()
    outcome = tool('diff', ema, ema, '--base', small, '--base', lite)
    assert outcome.status == 0
    assert outcome.out.splitlines() == [f"base: '{small}' -> '{lite}'", *bases]
    assert any(line.startswith('+ model.backbone.name') for line in bases)

    # Over one base, the base itself is what the ablation is compared with.
    lines = tool('diff', lite, ema, '--base', lite).out.splitlines()
    assert lines[0] == f"+ base: '{lite}'" and lines[1].startswith('+ custom_hooks: ') and len(lines) == 2
    assert tool('diff', ema, ema, '--base', lite, '--fold', '1').out == ''
    said = f'is a base of {lite}, not an ablation over it; leave out --base, or name an ablation'
    assert tool('diff', ema, 'cell/mask_rcnn.py', '--base', lite) == (2, '', f'error: cell/mask_rcnn.py: {said}\n')
