"""What a pickle would take to load, told from its opcodes alone: nothing in it is built or called.

torch's safe way to load weights runs no program of a file, but a small file can still keep it busy for hours: objects
that hold each other twice, forty levels deep, take 2**40 steps to hash or to write into an error message, and torch
searches its messages for patterns in quadratic time. A training writes nothing like it.
"""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO

#: Opcodes of one pickle: a large detector with its optimizer takes half a million.
MAX_OPCODES = 2**22
#: Objects, shared ones counted as often as they are referred to, and with them 64 characters each.
MAX_OBJECTS = 2**24
#: The same for all calls of a pickle together.
MAX_WORK = 2**26
#: The same for one key of a dict.
MAX_KEY = 2**10
#: Objects in objects in objects: a training's are about ten deep.
MAX_DEPTH = 100
#: Characters of the name of a class or function.
MAX_NAME = 200

_LEAVES = frozenset(
    'NONE NEWTRUE NEWFALSE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET BININT BININT1 BININT2 BINFLOAT LONG1'.split()
)
_TEXTS = frozenset(('BINUNICODE', 'SHORT_BINSTRING'))
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}
_ENCODE = '_codecs encode'


class _Made:
    """An object that would be made.

    Attributes:
        size: Objects in it and itself, shared ones counted each time.
        depth: How deep these lie in each other.
        text: A short text itself, the last member of a tuple, or the name of a class or function.
        is_name: Whether it is a class or function by name.
        is_held: Whether something holds it, so that it may not grow any more.
    """

    __slots__ = ('depth', 'is_held', 'is_name', 'size', 'text')

    def __init__(self, size: int = 1, depth: int = 0, text: str = '', is_name: bool = False) -> None:
        self.size, self.depth, self.text, self.is_name, self.is_held = size, depth, text, is_name, False

    def hold(self, *parts: _Made) -> None:
        """Grow by parts.

        Raises:
            ValueError: If it may not, or gets too large or too deep.
        """
        if self.is_held:
            raise ValueError('objects in it hold themselves')
        for part in parts:
            part.is_held = True
            self.size += part.size
            self.depth = max(self.depth, part.depth + 1)
        if self.size > MAX_OBJECTS:
            raise ValueError(f'what is in it refers to itself over {MAX_OBJECTS} times')
        if self.depth > MAX_DEPTH:
            raise ValueError(f'it is nested over {MAX_DEPTH} deep')


def check_pickle(file: BinaryIO) -> bool:
    """Read one pickle from where a file is, to its end, and refuse what no training writes.

    Args:
        file: The file.

    Returns:
        Whether it came to an end that torch's loader would come to: False behind an opcode that this does not know.

    Raises:
        ValueError: If the pickle is cut off, or would keep whoever loads it busy.
    """
    stack: list[_Made] = []
    marked: list[list[_Made]] = []
    memo: dict[int, _Made] = {}
    work = 0
    argument: Any  # of what kind goes by the opcode
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if count > MAX_OPCODES:
            raise ValueError(f'it has over {MAX_OPCODES} steps')
        try:
            if name in _LEAVES:
                stack.append(_Made())
            elif name in ('BINPUT', 'LONG_BINPUT'):
                memo[argument] = stack[-1]
            elif name in ('BINGET', 'LONG_BINGET'):
                stack.append(memo[argument])
            elif name in _TEXTS:
                stack.append(_Made(1 + len(argument) // 64, text=argument if len(argument) < MAX_NAME else ''))
            elif name in _TUPLES:
                stack[-_TUPLES[name] :] = [_tuple_of(stack[-_TUPLES[name] :])]
            elif name == 'MARK':
                marked.append(stack)
                stack = []
            elif name == 'TUPLE':
                parts, stack = stack, marked.pop()
                stack.append(_tuple_of(parts))
            elif name in ('REDUCE', 'NEWOBJ'):
                arguments, called = stack.pop(), stack.pop()
                if not called.is_name:
                    raise ValueError('it calls what is not named, as programs do')
                if called.text == _ENCODE and arguments.text not in ('latin1', 'latin-1'):
                    raise ValueError('it encodes a text in another way than numbers are saved')  # some take for ever
                work += arguments.size
                stack.append(_tuple_of([arguments]))
            elif name in ('APPEND', 'BUILD'):
                part = stack.pop()
                work += part.size if name == 'BUILD' else 0
                stack[-1].hold(part)
            elif name == 'SETITEM':
                value, key = stack.pop(), stack.pop()
                _set(stack[-1], [key, value])
            elif name == 'APPENDS':
                parts, stack = stack, marked.pop()
                stack[-1].hold(*parts)
            elif name == 'SETITEMS':
                parts, stack = stack, marked.pop()
                _set(stack[-1], parts)
            elif name == 'GLOBAL':
                if len(argument) > MAX_NAME:
                    raise ValueError(f'it names {argument[:20]}…, of {len(argument)} letters')
                stack.append(_Made(text=argument, is_name=True))
            elif name == 'BINPERSID':
                stack[-1] = _Made()
            elif name == 'STOP':
                return True
            elif name != 'PROTO':
                return False
        except (IndexError, KeyError):
            raise ValueError('it is broken') from None
        if work > MAX_WORK:
            raise ValueError(f'what it builds is of over {MAX_WORK} parts')
    return False


def _tuple_of(parts: list[_Made]) -> _Made:
    made = _Made(text=parts[-1].text if parts else '')
    made.hold(*parts)
    return made


def _set(made: _Made, parts: list[_Made]) -> None:
    if any(key.size > MAX_KEY for key in parts[::2]):
        raise ValueError('a key in it is of too many parts')
    made.hold(*parts)
