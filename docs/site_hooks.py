"""Makes the repository's pages a site: links that lead out of docs/ have nowhere to go there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

#: Pages of the repository's root that are pages of the site too, and what they are called in it.
_PAGES = {'README.md': 'index.md', 'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}
#: The page that shows a notebook, without outputs as it is committed.
_NOTEBOOK = {'notebook.md': 'docs/notebook.ipynb'}
#: What docstrings refer to, as it comes out: the site has no pages for most of it.
_ROLE = re.compile(r':(?:attr|class|data|func|meth|mod):<code>~?([\w.]+)</code>')
_LINK = re.compile(r'(?<!!)\[([^]]*)\]\((?!https?:|#|mailto:)([^)]+)\)')


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Include a page of the root where it stands in the site, and turn links to files of the repository into text.

    Args:
        markdown: The page as it is written.
        page: The page in the site.
    """
    name = page.file.src_uri
    for file, included in _PAGES.items():
        if name == included:
            text = Path(file).read_text(encoding='utf-8')
            markdown = text.replace('](docs/', '](').replace('src="docs/', 'src="')
    if name in _NOTEBOOK:
        markdown = _to_markdown(Path(_NOTEBOOK[name]))
    for shown, path in _NOTEBOOK.items():
        markdown = markdown.replace(f'{Path(path).name})', f'{shown})')
    depth = name.count('/')

    def fit(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if target in _PAGES:
            return f'[{text}]({"../" * depth}{_PAGES[target]})'
        path = target.partition('#')[0]
        above = path.count('../') > depth
        elsewhere = name in _PAGES.values() and not path.endswith(('.md', '.png', '.jpg'))
        return text if above or elsewhere or path == 'data/README.md' else match[0]

    return _LINK.sub(fit, markdown)


def _to_markdown(path: Path) -> str:
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    texts = ((''.join(cell['source']), cell['cell_type'] == 'code') for cell in cells)
    return '\n\n'.join(f'```python\n{text}\n```' if is_code else text for text, is_code in texts)


def on_page_content(html: str, **_: Any) -> str:
    """Show what docstrings refer to by its name alone.

    Args:
        html: The page as the site will show it.
    """
    return _ROLE.sub(r'<code>\1</code>', html)
