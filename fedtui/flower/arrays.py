"""A model on the wire: one flat float32 vector under one name, checked before it is believed.

Sixteen arrays cost 1.1 s a round where one costs 0.28 s (each is several HTTP objects), and one
vector can be checked and averaged without knowing the network.
"""

import io

import numpy as np
from flwr.app import Array, ArrayRecord

from fedtui.flower.vectors import RefusedError, Vector, check_finite

NAME = "parameters"


def to_record(vector: Vector) -> ArrayRecord:
    """``vector`` float32 [parameters] as Flower carries it."""
    return ArrayRecord({NAME: Array(vector)})


def from_record(record: ArrayRecord, *, size: int) -> Vector:
    """The vector in ``record``, float32 [size], every element finite.

    Raises:
        RefusedError: it is anything else; nothing is broadcast, cast or repaired.
    """
    names = list(record.keys())
    if names != [NAME]:
        raise RefusedError("arrays", f"expected the one array '{NAME}', found {len(names)} arrays.")
    array = record[NAME]
    if array.stype != "numpy.ndarray":
        raise RefusedError("arrays", "the array is not in NumPy's format.")
    # The header is read before any memory is taken: it may claim terabytes.
    try:
        stream = io.BytesIO(array.data)
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(stream)
    except (ValueError, KeyError, SyntaxError, EOFError) as error:
        raise RefusedError("arrays", "the array's header cannot be read.") from error
    if dtype != np.dtype("<f4"):
        raise RefusedError("dtype", f"expected float32, found {dtype}.")
    if shape != (size,):
        raise RefusedError("shape", f"expected [{size}], found {list(shape)}.")
    offset = stream.tell()
    if len(array.data) - offset != 4 * size:
        raise RefusedError("shape", "the array's bytes do not fill its shape.")
    vector = np.frombuffer(array.data, dtype="<f4", offset=offset)
    check_finite(vector)
    return vector
