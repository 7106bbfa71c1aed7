"""Pickles as programs: plain data comes through, everything else is refused before it is run."""

import collections
import os
import pickle
import struct
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from microgesture.data.safe_pickle import StoredArray, UnsafePickleError, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def save(path, content):
    path.write_bytes(content)
    return path


class Calls:
    """Reduces to a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_and_arrays(tmp_path, protocol):
    rng = np.random.default_rng(0)
    arrays = {
        "half": rng.random((1, 5, 17, 2)).astype(np.float16), "single": rng.random((2, 3)).astype(np.float32),
        "columns": np.asfortranarray(rng.random((3, 4))), "other order": np.arange(5, dtype=">i4"),
        "truth": np.array([True, False]), "empty": np.empty((0, 3)), "cut": rng.random((4, 6))[::2, ::3],
        "one": np.array(2.5), "bytes": np.arange(3, dtype=np.uint8),
    }  # fmt: skip
    plain = {
        "text": "ä 手\n\\", "none": None, "numbers": [0, -1, 255, 70000, 2**40, -(2**70), 1.5, -0.0, True],
        "tuple": (1, (2, 3), ()), "nested": [[], {}, {"a": [1]}], "many": list(range(3000)),
        "shape": (720, 1280, 3, 4),
    }  # fmt: skip
    content = plain | arrays | {"scalars": [np.float32(1.5), np.int64(7), np.bool_(True)]}
    content["ordered"] = collections.OrderedDict(b=1, a=2)
    content["again"] = content["many"]
    read = read_pickle(save(tmp_path / "a.pkl", pickle.dumps(content, protocol)))
    for name, array in arrays.items():
        got = np.asarray(read[name])
        assert (got.dtype, got.shape, read[name].shape) == (array.dtype, array.shape, array.shape), name
        np.testing.assert_array_equal(got, array)
    assert {name: read[name] for name in plain} == plain
    assert read["scalars"] == [1.5, 7, True]
    assert read["ordered"] == {"b": 1, "a": 2}
    assert read["again"] is read["many"]


def test_arrays_stay_in_the_file(tmp_path):
    big = np.arange(4_000_000, dtype=np.float32)
    path = save(tmp_path / "a.pkl", pickle.dumps([big] + [big * n for n in range(3)]))
    del big
    tracemalloc.start()
    read = read_pickle(path)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(read[3], StoredArray)
    assert kept < 1_000_000
    assert np.asarray(read[3])[-1] == 2 * 3_999_999


# --- programs that are none of ours ----------------------------------------------------------------------------------


CALLS = {
    "system": (os.system, "touch {file}"),
    "evaluate": (eval, "open({file!r}, 'w')"),
    "execute": (exec, "open({file!r}, 'w')"),
    "open": (open, "{file}", "w"),
    "process": (subprocess.check_call, ["touch", "{file}"]),
    "write": (Path.write_text, Path("{file}"), "x"),
    "numpy reads": (np.load, "{file}"),
    "numpy runs": (np.loadtxt, "{file}"),
    "numpy maps": (np.memmap, "{file}", "uint8", "w+", 0, (1,)),
    "numpy writes": (np.savetxt, "{file}", [1]),
    "attribute": (getattr, 1, "real"),
    "type": (type, "C", (), {}),
    "import": (__import__, "os"),
    "array": (np.ndarray, (1 << 40,)),
    "zeros": (np.zeros, (1 << 40,)),
    "set": (set, [1]),
    "bytes": (bytes, 1 << 40),
    "bytearray": (bytearray, 1 << 40),
    "complex": (complex, 1, 2),
    "text in a codec": (__import__("_codecs").encode, "cat", "rot13"),
    "long text": (__import__("_codecs").encode, "cat", "zlib_codec"),
}


def formatted(value, file):
    if isinstance(value, str | Path):
        return type(value)(str(value).replace("{file}", file).replace("{file!r}", repr(file)))
    return [formatted(v, file) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_called(tmp_path, name, protocol):
    function, *arguments = CALLS[name]
    canary = tmp_path / "canary"
    call = Calls(function, *(formatted(a, str(canary)) for a in arguments))
    for content in (call, {"annotations": [{"keypoint": call}]}, [1, (2, {"x": [call]})]):
        path = save(tmp_path / "bad.pkl", pickle.dumps(content, protocol))
        with pytest.raises(UnsafePickleError, match=r"bad\.pkl .*nothing of it was run"):
            read_pickle(path)
    assert not canary.exists()


def test_message_names_what_was_wanted(tmp_path):
    with pytest.raises(UnsafePickleError, match=r"wants (posix|nt)\.system"):
        read_pickle(save(tmp_path / "a.pkl", pickle.dumps(Calls(os.system, "true"))))


class Plain:
    pass


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "content",
    [
        Plain(), Plain, b"bytes", bytearray(b"bytes"), {1, 2}, frozenset({1}), 1j, Ellipsis, range(3), len, Path("a"),
        np.array([{}], dtype=object), np.array(["text"]), np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]),
        np.array([1j]), np.array(["2020-01-01"], dtype="M8[D]"), np.dtype("i4"), np.ma.array([1], mask=[True]),
        np.void(b"ab"), np.random.default_rng(0), np.float64, np.memmap, collections.Counter("a"),
        collections.defaultdict(list),
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_other_things_are_refused(tmp_path, content, protocol):
    with pytest.raises(UnsafePickleError):
        read_pickle(save(tmp_path / "a.pkl", pickle.dumps([content], protocol)))


def test_object_array_with_a_call_inside(tmp_path):
    array = np.empty(1, object)
    canary = tmp_path / "canary"
    array[0] = Calls(os.system, f"touch {canary}")
    for protocol in range(5):
        with pytest.raises(UnsafePickleError):
            read_pickle(save(tmp_path / "a.pkl", pickle.dumps({"keypoint": array}, protocol)))
    assert not canary.exists()


# --- programs written by hand ----------------------------------------------------------------------------------------

DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4\x89\x88tR"
DTYPE += b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"


def array_program(shape, raw=b"C\x04\x00\x00\x00\x00", dtype=DTYPE, after=b""):
    return b"\x80\x03" + ARRAY + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb" + after + b"."


def test_array_program_is_a_good_one(tmp_path):
    assert np.asarray(read_pickle(save(tmp_path / "a.pkl", array_program(b"(K\x01t")))).tolist() == [0.0]


LONG = b"\x8a\x08" + struct.pack("<q", 1 << 45)
UNSAFE = {
    "old instance": b"(iposix\nsystem\n.",
    "old object": b"(cposix\nsystem\nS'true'\no.",
    "new object": b"\x80\x02cposix\nsystem\n)\x81.",
    "new object with names": b"\x80\x04cposix\nsystem\n)}\x92.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent": b"Pabc\n.",
    "persistent from the stack": b"Nq\x00Q.",
    "buffer": b"\x80\x05\x97.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10core.numeric.sys\x93.",
    "name from the stack": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "name that is no text": b"\x80\x04]]\x93.",
    "function as data": b"cnumpy\nndarray\n.",
    "function in a tuple": b"(cnumpy\nndarray\nt.",
    "call of data": b"\x80\x02]K\x01\x85R.",
    "call of an array": array_program(b"(K\x01t", after=b")R"),
    "state of a list": b"\x80\x02]}b.",
    "state of a function": b"\x80\x02cnumpy\nndarray\n}b.",
    "state of a dictionary": b"\x80\x02}}X\x09\x00\x00\x00__class__K\x01sb.",
    "fill a text": b"\x80\x02X\x01\x00\x00\x00aK\x01a.",
    "fill an array": array_program(b"(K\x01t", after=b"K\x01a"),
    "fill a tuple as a dictionary": b"\x80\x02)K\x01K\x02s.",
    "array without numbers": b"\x80\x03" + ARRAY + b".",
    "array kept before it is built": b"\x80\x03]"
    + ARRAY
    + b"q\x05ah\x05(K\x01(K\x01t"
    + DTYPE
    + b"\x89C\x04\0\0\0\0tb0.",
    "object array": array_program(b"(K\x01t", b"]", DTYPE.replace(b"f4", b"O8")),
    "text array": array_program(b"(K\x01t", dtype=DTYPE.replace(b"f4", b"U1")),
    "record array": array_program(b"(K\x01t", dtype=DTYPE.replace(b"<NNN", b"<N}}")),
    "huge array": array_program(b"(" + LONG + b"t"),
    "array of many axes": array_program(b"(" + b"K\x01" * 40 + b"t"),
    "array of negative length": array_program(b"(J\xff\xff\xff\xfft"),
    "array longer than its bytes": array_program(b"(K\x02t"),
    "array shorter than its bytes": array_program(b"(K\x01t", b"C\x08" + bytes(8)),
    "array of a list shape": array_program(b"]K\x01a"),
}
DAMAGED = {
    "empty program": b".",
    "nothing": b"\x80\x04",
    "no pickle": b"<!DOCTYPE html><html>",
    "cut": pickle.dumps({"a": list(range(100))})[:-20],
    "two results": b"NN.",
    "unknown instruction": b"\x80\x02\xff.",
    "unknown memo": b"h\x07.",
    "huge memo": b"Nr\xff\xff\xff\xffj\xff\xff\xff\xfe.",
    "promised text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"a.",
    "promised bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.",
    "promised bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",
    "promised bytes of 32 bits": b"\x80\x03B\xff\xff\xff\xffa.",
    "promised number": b"\x80\x02\x8b\xff\xff\xff\x7fa.",
    "number of many digits": b"I" + b"9" * 100_000 + b"\n.",
    "list as key": b"\x80\x02}]K\x01s.",
    "empty stack": b"\x80\x02a.",
    "no mark": b"\x80\x02Nt.",
    "crossed mark": b"\x80\x02N(\x86.",
    "odd pairs": b"\x80\x02}(K\x01u.",
}


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_programs(tmp_path, name):
    with pytest.raises(UnsafePickleError, match="nothing of it was run"):
        read_pickle(save(tmp_path / "a.pkl", UNSAFE[name]))


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_programs(tmp_path, name):
    with pytest.raises(ValueError, match=r"a\.pkl (is damaged, or no pickle|holds the instruction|fills)"):
        read_pickle(save(tmp_path / "a.pkl", DAMAGED[name]))


def test_huge_promises_take_no_memory(tmp_path):
    programs = [save(tmp_path / f"{n:02d}.pkl", p) for n, p in enumerate([*UNSAFE.values(), *DAMAGED.values()])]
    tracemalloc.start()
    for program in programs:
        with pytest.raises(ValueError, match="pkl"):
            read_pickle(program)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_many_references_to_one_list_stay_one(tmp_path):
    """Sixty pairs, each of twice the one before: 2**60 entries if anybody followed them all."""
    pairs = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    read = read_pickle(save(tmp_path / "a.pkl", b"\x80\x02]" + pairs + b"."))
    assert read[0] is read[1]


def test_deeply_nested_lists(tmp_path):
    depth = 20_000  # far more than Python's own stack holds
    read = read_pickle(save(tmp_path / "a.pkl", b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."))
    assert len(read) == 1


def test_a_list_that_holds_itself(tmp_path):
    read = read_pickle(save(tmp_path / "a.pkl", b"\x80\x02]q\x00h\x00a."))
    assert read[0] is read


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: give the file"):
        read_pickle(tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="is empty: copy it again"):
        read_pickle(save(tmp_path / "a.pkl", b""))
