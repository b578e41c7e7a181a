"""Messages come back as they were sent, and what is none is told."""

import io

import numpy as np
import pytest

from compress.board.frames import BrokenFrame, Message, pack_arrays, read_message, unpack_arrays, write_message


def test_named_arrays_come_back_as_they_were() -> None:
    arrays = {"file": np.arange(6, dtype=np.int64).reshape(2, 3), "a/b": np.float32(1.5), "": np.zeros((0, 3), np.int8)}
    sent = {name: np.asarray(array) for name, array in arrays.items()}
    described, payload = pack_arrays(sent)
    stream = io.BytesIO()
    write_message(stream, Message({"arrays": described}, payload))
    stream.seek(0)
    message = read_message(stream)
    assert message is not None
    back = unpack_arrays(message.head["arrays"], message.payload)
    assert list(back) == list(arrays)
    for name, array in sent.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    assert read_message(stream) is None


def test_a_stream_that_ends_early_has_no_message() -> None:
    stream = io.BytesIO()
    write_message(stream, Message({"op": "put"}, b"content"))
    for length in (0, 5, 12, len(stream.getvalue()) - 1):
        assert read_message(io.BytesIO(stream.getvalue()[:length])) is None


@pytest.mark.parametrize(
    "text", [b"Welcome to the lab, have fun", b"\x04\0\0\0\0\0\0\0\x04\0\0\0{no}", b"\x04\0\0\0\0\0\0\0\x04\0\0\0[17]"]
)
def test_something_else_is_told(text: bytes) -> None:
    with pytest.raises(BrokenFrame):
        read_message(io.BytesIO(text))
