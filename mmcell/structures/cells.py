"""What was found in one image: each cell once, with one outline, one class, and the probability of each class."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from mmcell.structures.outlines import to_geojson, to_polygons
from mmcell.structures.rle import Runs, find_runs
from mmcell.structures.run_geometry import centroids, place

if TYPE_CHECKING:
    import pandas

#: How the share of "none of these" is called where probabilities are written down.
NO_CLASS = 'none of these'


@dataclass(frozen=True)
class Cells:
    """The N cells of one image, of C classes. No pixel lies in two of them, and each has at least one.

    Made by :func:`mmcell.structures.resolve.resolve` from results, or from a label map.

    Examples:
        >>> plane = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
        >>> cells = Cells.from_label_map(plane, [0, 1], ('epithelial', 'lymphocyte'), scores=[0.9, 0.6])
        >>> len(cells), cells.size, cells.counts()
        (2, (2, 4), {'epithelial': 1, 'lymphocyte': 1})
        >>> cells.boxes.tolist()
        [[0, 0, 2, 2], [3, 0, 4, 2]]
        >>> cells.above(0.7).label_map().tolist()
        [[1, 1, 0, 0], [1, 1, 0, 0]]
        >>> [outline.wkt for outline in cells[cells.labels == 1].outlines()]
        ['POLYGON ((3 0, 4 0, 4 2, 3 2, 3 0))']

    Masks are held as runs, so what is held grows with the outlines' length and not with the image: cells of a region of
    a slide are the same class on a large `size`.

    Attributes:
        masks: Their masks, disjoint.
        labels: Class of each, an index into `classes`, (N,) int64.
        scores: How sure each is, 0 to 1, (N,) float64.
        probabilities: Of each class, and last of none of these, (N, C + 1) float64; rows sum up to 1.
        classes: Names of the C classes.
    """

    masks: Runs
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    classes: tuple[str, ...]

    @classmethod
    def from_label_map(
        cls, plane: NDArray[np.integer], labels: ArrayLike, classes: Sequence[str], scores: ArrayLike | None = None
    ) -> Cells:
        """The cells of a label map, ordered by id.

        Args:
            plane: (H, W), any integer dtype; 0 is background, ids may have gaps.
            labels: Class of each of the N ids, by rising id, (N,).
            classes: Names of the classes.
            scores: (N,); 1 unless given.

        Raises:
            ValueError: If there are not as many labels or scores as ids.
        """
        return cls.certain(find_runs(plane)[1], labels, classes, scores)

    @classmethod
    def certain(cls, masks: Runs, labels: ArrayLike, classes: Sequence[str], scores: ArrayLike | None = None) -> Cells:
        """Cells of known class: the probability of the one is 1, that of all others 0.

        Args:
            masks: N masks, disjoint.
            labels: (N,).
            classes: Names of the classes.
            scores: (N,); 1 unless given.

        Raises:
            ValueError: If there are not as many labels or scores as masks.
        """
        labels = np.asarray(labels, dtype=np.int64).reshape(-1)
        scores = np.ones(len(labels)) if scores is None else np.asarray(scores, dtype=np.float64)
        if not len(masks) == len(labels) == len(scores):
            raise ValueError(f'{len(masks)} masks need as many labels and scores, not {len(labels)} and {len(scores)}')
        return cls(masks, labels, scores, np.eye(len(classes) + 1)[labels], tuple(classes))

    @classmethod
    def none(cls, classes: Sequence[str]) -> Cells:
        """No cells of these classes, in an image of one pixel: what has the columns, but no rows."""
        return cls.from_label_map(np.zeros((1, 1), dtype=np.uint8), [], classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> Cells:
        """Some of the cells: of a bool mask (N,), of indices in their order, of a slice, or one by its index."""
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return Cells(
            self.masks.select(chosen),
            self.labels[chosen],
            self.scores[chosen],
            self.probabilities[chosen],
            self.classes,
        )

    def above(self, score: float) -> Cells:
        """The cells that score `score` or more."""
        return self[self.scores >= score]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self.masks.size

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Pixels of each cell, (N,)."""
        return self.masks.areas

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """Tight boxes, (N, 4) as x1, y1, x2, y2 in pixels: they reach from the edge at x1 to the edge at x2."""
        boxes = self.masks.boxes
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    @cached_property
    def centres(self) -> NDArray[np.float64]:
        """Mean x and y of the pixels of each cell, (N, 2); the first pixel spans 0 to 1, so its center is at 0.5."""
        return centroids(self.masks) + 0.5

    def counts(self) -> dict[str, int]:
        """Number of cells by class name, of every class."""
        return dict(zip(self.classes, np.bincount(self.labels, minlength=len(self.classes)).tolist()))

    def label_map(self, window: tuple[int, int, int, int] | None = None) -> NDArray[np.uint16] | NDArray[np.uint32]:
        """The cells as one plane: 0 is background, i + 1 is cell i.

        Args:
            window: x1, y1, x2, y2 of the part that is painted; None paints the whole image.

        Returns:
            (H, W) of the image or the window, uint16, or uint32 of more than 65,535 cells.
        """
        dtype = np.uint16 if len(self) < 2**16 else np.uint32
        return self._paint(np.arange(1, len(self) + 1).astype(dtype), window)

    def class_map(self, window: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """The classes as one plane, like :meth:`label_map`: c + 1 where a cell of class c is; uint16 of 255 or more."""
        dtype = np.uint8 if len(self.classes) < 2**8 else np.uint16
        return self._paint((self.labels + 1).astype(dtype), window)

    def _paint(self, values: NDArray[Any], window: tuple[int, int, int, int] | None) -> NDArray[Any]:
        masks = self.masks
        if window is not None:
            x1, y1, x2, y2 = window
            masks = place(masks, (-x1, -y1), (y2 - y1, x2 - x1))
        height, width = masks.size
        columns = np.zeros(width * height, dtype=values.dtype)
        columns[masks.pixels] = np.repeat(values, masks.areas)
        return np.ascontiguousarray(columns.reshape(width, height).T)

    def outlines(self) -> list[shapely.Polygon | shapely.MultiPolygon]:
        """Exact outlines along the edges of the pixels, holes kept; cells in pieces are MultiPolygons.

        Coordinates are pixel edges: pixel (x, y) covers the square from (x, y) to (x + 1, y + 1).
        """
        return to_polygons(self.masks)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The cells as a table, a name and N values for each column, as pandas, polars and pyarrow take it.

        `id` (i + 1 as in :meth:`label_map`), `class`, `score`, `area`, `centroid_x` and `centroid_y`, the box as `x1`,
        `y1`, `x2`, `y2`, and `probability: <class>` of each class and of none of these.

        >>> cells = Cells.from_label_map(np.eye(2, dtype=int), [0], ('a', 'b'))
        >>> {name: column.tolist() for name, column in cells.columns().items() if name in ('class', 'area', 'x2')}
        {'class': ['a'], 'area': [2], 'x2': [2]}
        """
        table = {
            'id': np.arange(1, len(self) + 1),
            'class': np.array(self.classes, dtype=object)[self.labels],
            'score': self.scores,
            'area': self.areas,
            'centroid_x': self.centres[:, 0],
            'centroid_y': self.centres[:, 1],
        }
        table |= dict(zip(('x1', 'y1', 'x2', 'y2'), self.boxes.T))
        return table | self.named_probabilities()

    def named_probabilities(self) -> dict[str, NDArray[np.float64]]:
        """`probability: <class>` of each class and of none of these, (N,) each."""
        return {f'probability: {name}': p for name, p in zip((*self.classes, NO_CLASS), self.probabilities.T)}

    def to_dataframe(self) -> pandas.DataFrame:
        """:meth:`columns` as a pandas table, one row per cell.

        Raises:
            ImportError: If pandas is not installed; mmcell itself does not need it.
        """
        import pandas

        return pandas.DataFrame(self.columns())

    def to_geojson(
        self,
        name: str = '',
        colours: Sequence[Sequence[int]] | None = None,
        measurements: Mapping[str, ArrayLike] | None = None,
    ) -> dict[str, Any]:
        """A FeatureCollection that QuPath (0.4 and newer) opens: one detection per cell, ready for JSON.

        Args:
            name: Of the image. Together with the cell's number it makes the feature's UUID.
            colours: Red, green and blue of each class, 0 to 255; without them QuPath chooses.
            measurements: Further numbers, N of each, beside the score and the probabilities.

        Examples:
            >>> cells = Cells.from_label_map(np.eye(2, dtype=int), [0], ('a', 'b'))
            >>> feature = cells.to_geojson()['features'][0]
            >>> feature['geometry']['type'], feature['properties']['classification']
            ('MultiPolygon', {'name': 'a'})
            >>> feature['properties']['measurements']
            {'score': 1.0, 'probability: a': 1.0, 'probability: b': 0.0, 'probability: none of these': 0.0}
        """
        columns = {'score': self.scores, **self.named_probabilities(), **(measurements or {})}
        rows = zip(*(np.asarray(column).tolist() for column in columns.values()))
        kinds = [
            {'name': kind} | ({} if colours is None else {'color': [int(value) for value in colours[label]]})
            for label, kind in enumerate(self.classes)
        ]
        features = [
            {
                'type': 'Feature',
                'id': str(uuid.uuid5(uuid.NAMESPACE_URL, f'{name}#{number}')),
                'geometry': json.loads(geometry),
                'properties': {
                    'objectType': 'detection',
                    'name': str(number),
                    'classification': kinds[label],
                    'measurements': dict(zip(columns, row)),
                },
            }
            for number, (geometry, label, row) in enumerate(
                zip(to_geojson(self.outlines()), self.labels.tolist(), rows), start=1
            )
        ]
        return {'type': 'FeatureCollection', 'features': features}
