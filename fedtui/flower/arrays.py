"""A model on the wire: one flat float32 vector under one name, checked before it is believed.

Sixteen arrays cost 1.1 s a round where one costs 0.28 s (each is several HTTP objects), and one
vector can be checked and averaged without knowing the network. What travels is Flower's own
``Array``, chunk by chunk and id by id; only its copies and repeated hashes are left out, which at
100 MB cost more than the network.
"""

import io
import json
from collections.abc import Mapping
from typing import Literal

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.constant import FLWR_PRIVATE_MAX_ARRAY_CHUNK_SIZE as CHUNK
from flwr.supercore.constant import HEAD_BODY_DIVIDER
from flwr.supercore.inflatable.inflatable_object import (
    InflatableObject,
    get_object_body,
    get_object_children_ids_from_object_content,
    get_object_id,
    get_object_type_from_object_content,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedtui.flower.vectors import RefusedError, Vector, check_finite, from_bfloat16, to_bfloat16

NAME = "parameters"
Transport = Literal["float32", "bfloat16"]
_ELEMENTS = {"float32": "<f4", "bfloat16": "<u2"}  # NumPy has no bfloat16: its bits travel
_LONGEST_HEADER = 1024  # bytes; a vector's header in NumPy's format has 128


class _Chunk(ArrayChunk):
    """A stretch of an array as it travels, made and hashed once; Flower does so at every use."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._content = ArrayChunk(memoryview(data)).deflate()
        self.__dict__["_object_id"] = get_object_id(self._content)
        super().__init__(memoryview(self._content)[len(self._content) - len(data) :])

    @property
    def is_dirty(self) -> bool:
        """Never: its id stands."""
        return False

    def deflate(self) -> bytes:
        """Head and data, the very bytes that Flower's chunk gives."""
        return self._content


def to_record(vector: Vector, transport: Transport = "float32") -> ArrayRecord:
    """``vector`` float32 [parameters] as Flower carries it."""
    elements = to_bfloat16(vector) if transport == "bfloat16" else np.ascontiguousarray(vector)
    stream = io.BytesIO()
    about = np.lib.format.header_data_from_array_1_0(elements)
    np.lib.format.write_array_header_1_0(stream, about)
    head, data = stream.getvalue(), elements.data.cast("B")
    first = CHUNK - len(head)
    chunks = [_Chunk(head + bytes(data[:first]))]
    chunks += [_Chunk(data[start : start + CHUNK]) for start in range(first, len(data), CHUNK)]
    array = Array(dtype=str(elements.dtype), shape=elements.shape, stype="numpy.ndarray", data=b"")
    array.__dict__["_chunks"] = [(chunk.object_id, chunk) for chunk in chunks]
    return _record({NAME: array})


def inflate(object_id: str, contents: Mapping[str, bytes]) -> InflatableObject:
    """The object ``object_id`` out of its parts; an array's data stay where they are, in chunks.

    Raises:
        ValueError: the parts do not make up an object.
    """
    objects: dict[str, InflatableObject] = {}
    try:
        kinds = {id: get_object_type_from_object_content(part) for id, part in contents.items()}
        for id, kind in kinds.items():
            if kind == "ArrayChunk":
                body = contents[id].index(HEAD_BODY_DIVIDER) + len(HEAD_BODY_DIVIDER)
                objects[id] = ArrayChunk(memoryview(contents[id])[body:])
        for id, kind in kinds.items():
            if kind == "Array":
                objects[id] = _array(contents[id], objects)
        for id, kind in kinds.items():
            if kind == "ArrayRecord":
                names = json.loads(get_object_body(contents[id], ArrayRecord))
                objects[id] = _record({name: objects[array] for name, array in names.items()})
        return inflate_object_from_contents(object_id, dict(contents), objects=objects)
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("the parts of a message do not fit together") from error


def _record(arrays: Mapping[str, InflatableObject]) -> ArrayRecord:
    record = ArrayRecord()
    for name, array in arrays.items():  # one by one: its constructor would copy them
        record[name] = array  # type: ignore[assignment]
    return record


def _array(content: bytes, chunks: Mapping[str, InflatableObject]) -> Array:
    ids = get_object_children_ids_from_object_content(content)
    about = json.loads(get_object_body(content, Array))
    array = Array(dtype=about["dtype"], shape=tuple(about["shape"]), stype=about["stype"], data=b"")
    array.__dict__["_chunks"] = [(ids[i], chunks[ids[i]]) for i in about["arraychunk_ids"]]
    return array


def from_record(record: ArrayRecord, *, size: int, transport: Transport = "float32") -> Vector:
    """The vector in ``record``, float32 [size], every element finite.

    Raises:
        RefusedError: it is anything else; nothing is broadcast, cast or repaired.
    """
    vector = unchecked(record, size=size, transport=transport)
    check_finite(vector)
    return vector


def unchecked(record: ArrayRecord, *, size: int, transport: Transport = "float32") -> Vector:
    """As ``from_record``, but its elements may be NaN or infinite: for who reads them all anyway.

    Raises:
        RefusedError: its type, shape or form is not as wanted.
    """
    names = list(record.keys())
    if names != [NAME]:
        raise RefusedError("arrays", f"expected the one array '{NAME}', found {len(names)} arrays.")
    array = record[NAME]
    if array.stype != "numpy.ndarray":
        raise RefusedError("arrays", "the array is not in NumPy's format.")
    chunks = array.__dict__.get("_chunks")
    pieces = [chunk.data for _, chunk in chunks] if chunks else [memoryview(array.data)]
    # The header is read before any memory is taken: it may claim terabytes.
    try:
        stream = io.BytesIO(pieces[0][:_LONGEST_HEADER])
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
    except (ValueError, KeyError, SyntaxError, EOFError) as error:
        raise RefusedError("arrays", "the array's header cannot be read.") from error
    wanted = np.dtype(_ELEMENTS[transport])
    if dtype != wanted:
        raise RefusedError("dtype", f"expected {transport}, found {dtype}.")
    if shape != (size,):
        raise RefusedError("shape", f"expected [{size}], found {list(shape)}.")
    pieces[0] = pieces[0][stream.tell() :]
    if sum(map(len, pieces)) != wanted.itemsize * size:
        raise RefusedError("shape", "the array's bytes do not fill its shape.")
    elements = np.empty(size, dtype=wanted)
    target, at = elements.data.cast("B"), 0
    for piece in pieces:
        target[at : at + len(piece)] = piece
        at += len(piece)
    return from_bfloat16(elements) if transport == "bfloat16" else elements
