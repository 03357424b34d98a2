"""Colours of the classes, in their one home."""

#: RGB by label. Chosen to stay apart from one another and from the pinks and purples of haematoxylin and eosin for the
#: colour-blind too: among the first four, no two are nearer than 29 in CIE Lab under normal vision or under protanopia,
#: deuteranopia or tritanopia as Machado et al. (2009) simulate them.
CLASS_COLOURS: tuple[tuple[int, int, int], ...] = (
    (0, 95, 55),
    (255, 240, 0),
    (0, 215, 255),
    (255, 111, 0),
    (0, 0, 0),
    (255, 255, 255),
)


def class_colour(label: int) -> tuple[int, int, int]:
    """RGB of a class; more classes than colours start over."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def halo_colour(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """RGB of the thin border that sets a line of `colour` off from any background: black or white."""
    red, green, blue = colour
    # Rec. 601 luma.
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)
