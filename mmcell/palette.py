"""Colours of the classes, in their one home."""

#: RGB by label. After Okabe & Ito's colour-blind-safe set, without the hues of haematoxylin and eosin.
CLASS_COLOURS: tuple[tuple[int, int, int], ...] = (
    (0, 158, 115),
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (0, 0, 0),
    (255, 255, 255),
)
