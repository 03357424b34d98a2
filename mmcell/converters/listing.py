"""What a source folder holds: the files that a layout reads, what other programs leave there, and what nobody reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmcell.errors import InputError

#: Suffixes of the formats that :func:`mmcell.io.images.read_image` reads.
IMAGE_SUFFIXES = frozenset({'.png', '.tif', '.tiff', '.jpg', '.jpeg'})

#: What macOS and Windows leave in folders that were looked at; names that begin with a dot are left overs as well:
#: `._a.png`, `.DS_Store`, `.ipynb_checkpoints`.
_LEFT_OVERS = frozenset({'__macosx', 'thumbs.db', 'desktop.ini', 'icon\r'})

#: Files that are looked at to find those that nobody reads.
_MAX_LISTED = 200_000

#: Characters of the names that a message lists.
_MAX_SHOWN = 200


def is_left_over(name: str) -> bool:
    """Whether a file or folder is none of the data: hidden, or left by macOS, Windows or Jupyter."""
    return name.startswith('.') or name.lower() in _LEFT_OVERS


def is_conversion(folder: Path) -> bool:
    """Whether a folder is what `tools/convert.py` wrote: it may lie in the source, but is no part of it."""
    return (folder / 'images').is_symlink() and (folder / 'annotations').is_dir()


def files_in(folder: Path, suffixes: Iterable[str] | None = None) -> list[Path]:
    """Files of a folder, sorted, without left-overs; none if the folder is missing.

    Args:
        folder: The folder.
        suffixes: What their names may end in, whether in upper or in lower case; None for anything.
    """
    endings = ('',) if suffixes is None else tuple(suffixes)
    return sorted(path for path in _entries(folder) if path.name.lower().endswith(endings) and path.is_file())


def folders_in(folder: Path) -> list[Path]:
    """Folders of a folder, sorted, without left-overs and our own conversions; none if the folder is missing."""
    return sorted(path for path in _entries(folder) if path.is_dir() and not is_conversion(path))


def image_files(folder: Path) -> list[Path]:
    """Files of a folder that are images by their suffix, sorted; none if the folder is missing."""
    return files_in(folder, IMAGE_SUFFIXES)


def find_files(source: Path, suffixes: Iterable[str] | None = None) -> list[Path]:
    """Files of a folder and of those below, as :func:`files_in`."""
    endings = ('',) if suffixes is None else tuple(suffixes)
    return sorted(path for path in _walk(source) if path.name.lower().endswith(endings) and path.is_file())


def find_images(source: Path) -> dict[str, Path]:
    """Images in a folder and below, by their path within it, sorted."""
    return {path.relative_to(source).as_posix(): path for path in find_files(source, IMAGE_SUFFIXES)}


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Files by name without suffix.

    Raises:
        InputError: If two differ in the suffix alone.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise InputError(path, f'has the same name as {found[path.stem].name}', 'remove one of them')
        found[path.stem] = path
    return found


def few(names: Sequence[str]) -> str:
    """The first few names, as fits into a line."""
    shown = [_short(name) for name in names[:3]]
    return ', '.join(shown + ['…'] * (len(names) > len(shown)))


def list_names(names: Sequence[str]) -> str:
    """As many names as fit into a line, and how many more there are."""
    shown: list[str] = []
    length = 0
    for name in map(_short, names):
        length += len(name) + 2
        if shown and length > _MAX_SHOWN:
            return f'{", ".join(shown)} and {len(names) - len(shown)} more'
        shown.append(name)
    return ', '.join(shown)


def find_unread(source: Path, known: Iterable[Path]) -> list[str]:
    """Paths within a source of the files that are not among those known, sorted; of very many the first ones."""
    names = {os.fspath(path) for path in known}
    unread = []
    for count, path in enumerate(_walk(source)):
        if count == _MAX_LISTED:
            break
        if os.fspath(path) not in names:
            unread.append(path.relative_to(source).as_posix())
    return sorted(unread)


def _entries(folder: Path) -> Iterator[Path]:
    try:
        return (path for path in list(folder.iterdir()) if not is_left_over(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return iter(())
    except OSError as error:
        raise InputError(folder, f'cannot be read ({error.strerror})', 'check its permissions') from None


def _walk(source: Path) -> Iterator[Path]:
    """All files below a folder but left-overs and our own conversions; links are followed, each folder is seen once."""
    seen = {os.path.realpath(source)}
    for folder, names, files in os.walk(source, followlinks=True):
        here = Path(folder)
        found = [name for name in sorted(names) if not is_left_over(name) and not is_conversion(here / name)]
        if is_conversion(here):
            found = [name for name in found if name != 'images']  # a link to another source
        real = {name: os.path.realpath(here / name) for name in found}
        names[:] = [name for name in found if real[name] not in seen]
        seen.update(real.values())
        yield from (here / name for name in sorted(files) if not is_left_over(name))


def _short(name: str) -> str:
    """A name for a message: readable, and its end if it is long."""
    name = ''.join(letter if letter.isprintable() else '?' for letter in name)
    return name if len(name) <= 50 else f'…{name[-49:]}'
