"""Reads plain data and numeric arrays out of a pickle without running anything that the pickle asks for.

A pickle is a program, and Python's own unpickler runs it. Here the program is only read: Python's `pickletools` names
its instructions one after the other, those that make plain data are followed, and every other one is refused before
anything was done. Functions that NumPy's pickles call are never called; what they would build is built from checked
numbers. The raw bytes of arrays stay in the file, so that memory does not grow with them.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

NUMERIC = re.compile(r"[biuf]\d{1,2}")
_MOST_AXES, _LONGEST_AXIS, _SMALL = 32, 1 << 40, 1 << 16
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_SINGLE = {"APPEND": 1, "SETITEM": 2, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}  # how many items they take
_BYTES = {"SHORT_BINBYTES": 2, "BINBYTES": 5, "BINBYTES8": 9, "BYTEARRAY8": 9}  # how far the bytes are from the opcode


class UnsafePickleError(ValueError):
    """A pickle that asks for more than plain data; nothing of it was run."""


class _Function:
    """Stands for a function that a pickle names; it is one of `_FUNCTIONS`."""

    def __init__(self, name: str) -> None:
        self.name = name


class _DType:
    """A numeric dtype on its way: the code at first, the byte order when its state comes."""

    def __init__(self, code: str) -> None:
        if not isinstance(code, str) or not NUMERIC.fullmatch(code):
            raise UnsafePickleError("wants an array of objects or text; only arrays of numbers are read")
        self.code, self.order = code, "<"

    def set_state(self, state: Any) -> None:
        _, order, subdtype, names, fields, *_ = state
        if any(part is not None for part in (subdtype, names, fields)) or order not in ("<", ">", "|", "="):
            raise UnsafePickleError("wants an array with fields; only plain numbers are read")
        self.order = order

    def build(self) -> np.dtype[Any]:
        return np.dtype(self.code if self.order == "|" else self.order + self.code)


class _Array:
    """An array on its way: nothing until its state comes."""

    def __init__(self) -> None:
        self.memo_keys: list[int] = []


class _File:
    """The pickle's file, open as long as one of its arrays is."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("rb")
        self.size = path.stat().st_size
        self.tell, self.readline = self.file.tell, self.file.readline

    def __del__(self) -> None:
        self.file.close()

    def read(self, length: int) -> bytes:
        if length > _SMALL and length > self.size - self.file.tell():  # or Python would make room for them first
            raise ValueError(f"it promises {length} bytes that are not there")
        return self.file.read(length)

    def bytes_at(self, start: int, length: int) -> bytes:
        position = self.file.tell()
        self.file.seek(start)
        content = self.file.read(length)
        self.file.seek(position)
        return content


@dataclass(frozen=True)
class _Raw:
    """Bytes inside the file, not read yet."""

    file: _File
    start: int
    length: int

    def read(self) -> bytes:
        return self.file.bytes_at(self.start, self.length)


@dataclass(frozen=True)
class StoredArray:
    """An array whose numbers are still in the file; `numpy.asarray` reads them.

    Args:
        shape: Its shape.
        dtype: Its type.
        order: `C` or `F`.
        raw: Where its bytes are.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    raw: _Raw

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = np.frombuffer(self.raw.read(), self.dtype).reshape(self.shape, order=self.order)
        return array if dtype is None else array.astype(dtype)


def _build_array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray | StoredArray:
    """The array of these bytes, if it is as large as its shape says."""
    if not isinstance(dtype, _DType) or not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise UnsafePickleError("holds an array without a type and a shape")
    if not all(type(n) is int and 0 <= n <= _LONGEST_AXIS for n in shape):
        raise UnsafePickleError("holds an array of an impossible shape")
    built, size = dtype.build(), math.prod(shape)
    if isinstance(raw, str):  # Python 2 and pickle protocols 0 to 2 write bytes as text
        raw = raw.encode("latin-1")
    length = raw.length if isinstance(raw, _Raw) else len(raw) if isinstance(raw, bytes) else -1
    if size * built.itemsize != length:
        raise UnsafePickleError(f"holds an array of shape {shape} and type {built} in {length} bytes")
    order = "F" if order == "F" else "C"
    if isinstance(raw, _Raw):
        return StoredArray(shape, built, order, raw)
    return np.frombuffer(raw, built).reshape(shape, order=order)


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError("wants text in an unusual encoding")
    return text.encode("latin-1")


def _empty(kind: Callable[[], Any]) -> Callable[..., Any]:
    def make(*arguments: Any) -> Any:
        if arguments:
            raise UnsafePickleError(f"wants to call {kind.__name__}")
        return kind()

    return make


def _refuse(*_: Any) -> Any:
    raise UnsafePickleError("wants to call numpy.ndarray")


def _scalar(dtype: Any, raw: Any) -> int | float | bool:
    return np.asarray(_build_array(raw, dtype, (), "C")).item()


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": lambda code, *_: _DType(code),
    "numpy.ndarray": _refuse,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _empty(dict),
    "builtins.bytes": _empty(bytes),
    "__builtin__.bytes": _empty(bytes),
}
for _core in ("numpy.core", "numpy._core"):
    _FUNCTIONS[f"{_core}.multiarray._reconstruct"] = lambda *_: _Array()
    _FUNCTIONS[f"{_core}.multiarray.scalar"] = _scalar
    _FUNCTIONS[f"{_core}.numeric._frombuffer"] = _build_array


class _Reader:
    """Follows the instructions of one pickle."""

    def __init__(self, file: _File) -> None:
        self.file = file
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for opcode, argument, position in pickletools.genops(self.file):  # type: ignore[arg-type]
            self.step(opcode.name, argument, position or 0)
        (result,) = self.stack
        return result

    def step(self, name: str, argument: Any, position: int) -> None:
        stack = self.stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _BYTES:
            stack.append(_Raw(self.file, position + _BYTES[name], len(argument)))
        elif name in ("PROTO", "FRAME", "STOP"):
            return
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("EMPTY_LIST", "EMPTY_DICT", "EMPTY_TUPLE"):
            stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[name]())
        elif name in (
            "LIST",
            "TUPLE",
            "DICT",
            "APPENDS",
            "SETITEMS",
            "APPEND",
            "SETITEM",
            "TUPLE1",
            "TUPLE2",
            "TUPLE3",
        ):
            self.collect(name)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"):
            self.remember(name, argument)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            words = argument.split(" ", 1) if name == "GLOBAL" else [stack.pop(-2), stack.pop()]
            stack.append(self.function(words))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            if not isinstance(function, _Function) or not isinstance(arguments, tuple):
                raise UnsafePickleError("calls something that is no function")
            stack.append(_FUNCTIONS[function.name](*arguments))
        elif name == "BUILD":
            self.build(stack.pop())
        else:
            raise UnsafePickleError(f"holds the instruction {name}, which plain data does not need")

    def function(self, words: list[Any]) -> _Function:
        if not all(isinstance(word, str) for word in words):
            raise UnsafePickleError("wants a function without a name")
        name = ".".join(words)
        if name not in _FUNCTIONS:
            raise UnsafePickleError(f"wants {name[:80]}")
        return _Function(name)

    def collect(self, name: str) -> None:
        """Puts what lies on the stack into a list, a tuple or a dictionary."""
        stack = self.stack
        single = _SINGLE.get(name)
        start = len(stack) - single if single else self.marks.pop()
        if not 0 <= start <= len(stack):
            raise ValueError("its stack is empty")
        items = stack[start:]
        del stack[start:]
        if name in ("LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(items if name == "LIST" else tuple(items))
        elif name in ("APPEND", "APPENDS"):
            self.top(list).extend(items)
        else:
            if name == "DICT":
                stack.append({})
            self.top(dict).update(zip(items[::2], items[1::2], strict=True))

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise UnsafePickleError(f"fills a {type(self.stack[-1]).__name__} as if it were a {kind.__name__}")
        return self.stack[-1]

    def remember(self, name: str, argument: Any) -> None:
        if name.endswith("GET"):
            self.stack.append(self.memo[argument])
            return
        key = len(self.memo) if name == "MEMOIZE" else argument
        self.memo[key] = self.stack[-1]
        if isinstance(self.stack[-1], _Array):
            self.stack[-1].memo_keys.append(key)

    def build(self, state: Any) -> None:
        """Gives an array or a dtype its state; nothing else has one."""
        target = self.stack[-1]
        if isinstance(target, _DType) and isinstance(state, tuple):
            target.set_state(state)
        elif isinstance(target, _Array) and isinstance(state, tuple):
            _, shape, dtype, fortran, raw = state
            self.stack[-1] = _build_array(raw, dtype, shape, "F" if fortran else "C")
            self.memo |= {key: self.stack[-1] for key in target.memo_keys if self.memo[key] is target}
        else:
            raise UnsafePickleError(f"sets the inner state of a {type(target).__name__}")


def read_pickle(path: Path | str) -> Any:
    """Reads a pickle of plain data: dictionaries, lists, tuples, text, numbers, numeric NumPy arrays.

    Args:
        path: A pickle of any protocol.

    Returns:
        What it holds; arrays are read-only, and large ones stay in the file until they are used (`StoredArray`).

    Raises:
        FileNotFoundError: There is no such file.
        UnsafePickleError: It asks for anything else. Nothing of it was run.
        ValueError: It is damaged, or no pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the file that holds the keypoints")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: copy it again")
    try:
        result = _Reader(_File(path)).run()
        _check_plain(result)
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{path} {error}. Only dictionaries, lists, text, numbers and numeric arrays are read from a pickle; "
            "nothing of it was run. Ask its authors for a plain file, such as .npz or .json"
        ) from error
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path} is damaged, or no pickle ({error}): copy it again") from error
    return result


def _check_plain(result: Any) -> None:
    """Refuses half-built arrays, functions and bytes that are left over."""
    seen: set[int] = set()
    waiting = [result]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple):
            if id(value) not in seen:
                seen.add(id(value))
                waiting.extend([*value.keys(), *value.values()] if isinstance(value, dict) else value)
        elif not isinstance(value, str | int | float | None | np.ndarray | StoredArray):
            raise UnsafePickleError(f"holds a {type(value).__name__.strip('_').lower()}, which is no plain data")
