"""What our pages are made of: templates, the scripts and styles in them, pictures and classes as they need them."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from numpy.typing import NDArray

from mmcell.visualization.palette import class_colour, halo_colour

_TEMPLATES = Path(__file__).parent / 'templates'


def render(template: str, **context: Any) -> bytes:
    """A page.

    Args:
        template: Its name; in it `include_raw(NAME)` gives a script or style as it is, and the filters `json` and
            `number` write values.
        context: Values by the names that the template has for them.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(json=to_json, number=_to_text)
    environment.globals['include_raw'] = lambda name: Markup((_TEMPLATES / name).read_text())
    return environment.get_template(template).render(context).encode()


def data_uri(pixels: NDArray[np.uint8], budget: int) -> str:
    """The image as WebP of at most `budget` bytes, made smaller as far as it must be, for `src`."""
    while True:
        encoded = cv2.imencode('.webp', pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 88])[1].tobytes()
        if len(encoded) <= budget:
            return 'data:image/webp;base64,' + base64.b64encode(encoded).decode()
        factor = min(0.9, 0.95 * math.sqrt(budget / len(encoded)))
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def describe_class(label: int, name: str) -> dict[str, Any]:
    """A class for a script: its name, and the colors of its lines and of the border around them."""
    colour = class_colour(label)
    return {'name': name, 'colour': f'rgb{colour}', 'halo': f'rgb{halo_colour(colour)}'}


def to_json(value: Any) -> Markup:
    """A value as compact JSON for a `<script>`."""
    # Inside <script> a `</script>` in a file name would end the element.
    return Markup(json.dumps(value, separators=(',', ':'), allow_nan=False).replace('<', '\\u003c'))


def _to_text(value: float) -> str:
    return '–' if value is None or math.isnan(value) else f'{value:.3f}'
