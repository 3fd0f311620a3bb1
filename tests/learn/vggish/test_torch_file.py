"""`.pth` files that torch 2.13 wrote in both formats, and pickles that must not run."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.errors import InputRefused
from audioset_batch.learn.vggish.torch_file import is_torch_file, read_torch_file

DATA = Path(__file__).parent / "data"
FILES = [DATA / "torch_zip.pth", DATA / "torch_legacy.pth"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_written_by_torch(path: Path):
    assert is_torch_file(path)
    got = read_torch_file(path)
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {
        "transposed": base.T,
        "row": base[1],
        "parameter": base,
        "half": base.astype(np.float16),
        "long": np.arange(3),
        "scalar": np.float32(2.5),
        "array": np.arange(6.0).reshape(2, 3),
    }
    assert set(got) == set(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("legacy", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, legacy: bool):
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    payload = pickle.dumps({"x": Bomb(marker)}, protocol=2)
    if legacy:
        head = io.BytesIO()
        for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(value, head, protocol=2)
        path.write_bytes(head.getvalue() + payload + pickle.dumps([], protocol=2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", payload)
    assert is_torch_file(path)
    with pytest.raises(InputRefused, match="refused"):
        read_torch_file(path)
    assert not marker.exists()


def test_a_directory_that_points_before_the_beginning_is_refused(tmp_path: Path):
    content = bytearray(next(source for source in FILES if zipfile.is_zipfile(source)).read_bytes())
    end = content.rindex(b"PK\x06\x06")  # torch writes zip64
    content[end + 48 + 1] ^= 0xFF  # of the directory's offset, from which those of the members are reckoned
    path = tmp_path / "damaged.pth"
    path.write_bytes(content)
    with pytest.raises(InputRefused, match=str(path)):
        read_torch_file(path)


@settings(deadline=None)
@given(st.sampled_from(FILES), st.data())
def test_damage_is_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, source: Path, data: st.DataObject):
    content = bytearray(source.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 0xFF
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(content)
    try:
        assert isinstance(read_torch_file(path), dict)
    except InputRefused as error:
        assert str(path) in str(error)


def test_a_tensor_behind_its_storage_is_refused(tmp_path: Path):
    content = FILES[1].read_bytes()
    # Cut inside the numbers, behind the pickles.
    (tmp_path / "x.pth").write_bytes(content[:-4])
    with pytest.raises(InputRefused, match="truncated"):
        read_torch_file(tmp_path / "x.pth")
