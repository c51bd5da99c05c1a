#!/bin/bash
# checkpoint_identity_test.sh WRITER MPIEXEC: one state saved by 1, 2, 4 and 8 ranks gives
# equal bytes, h5diff finds no difference, and h5py reads names, shapes, types and values
# that a formula gives (tests/io/checkpoint_state.h).
set -eu
writer=$1 mpiexec=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

n_compared=0
for state in odd many large; do
  for n in 1 2 4 8; do
    "$mpiexec" -n $n "$writer" "$folder/$state-$n" $state
    cmp "$folder/$state-1/step-000001000.h5" "$folder/$state-$n/step-000001000.h5"
    if command -v h5diff > /dev/null; then
      h5diff "$folder/$state-1/step-000001000.h5" "$folder/$state-$n/step-000001000.h5"
    fi
    n_compared=$((n_compared + 1))
  done
done
# Another time and another folder: no time stamp, no path.
sleep 1.1
"$writer" "$folder/again" odd
cmp "$folder/odd-1/step-000001000.h5" "$folder/again/step-000001000.h5"
[ $n_compared -eq 12 ]

if ! /usr/bin/python3 -c 'import h5py' 2> /dev/null; then
  echo "h5py is absent: its reading of the files was not checked"
  exit 0
fi
/usr/bin/python3 - "$folder" << 'PYTHON'
import sys
import h5py
import numpy as np

def bits(name, n):
    """test_bits() of checkpoint_state.h"""
    with np.errstate(over="ignore"):
        x = np.uint64(0x9E3779B97F4A7C15) * np.arange(1, n + 1, dtype=np.uint64)
        for c in name.encode():
            x = (x ^ np.uint64(c)) * np.uint64(0x100000001B3)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))

def expected(name, n, dtype):
    x = bits(name, n)
    if dtype == np.float32:
        return ((x >> np.uint64(40)).astype(np.int64) - (1 << 23)).astype(np.float32) / np.float32(1 << 23)
    return x.view(np.uint8).reshape(n, 8)[:, :dtype.itemsize].copy().view(dtype).reshape(n)

shapes = {}
def visit(name, item):
    if isinstance(item, h5py.Dataset):
        shapes[name] = item.shape
        if name == "extra/bfloat":          # numpy has no such type; h5py widens it
            return
        want = expected("/" + name, item.size, item.dtype)
        assert item[()].tobytes() == want.tobytes(), name
        assert item.attrs["checksum"].dtype == np.int64

with h5py.File(sys.argv[1] + "/odd-8/step-000001000.h5", "r") as f:
    f.visititems(visit)
    assert len(shapes) == 16, shapes
    assert shapes["parameters/scalar"] == () and shapes["parameters/one"] == (1,)
    assert shapes["parameters/conv.weight"] == (3, 1, 5, 5) and shapes["parameters/empty"] == (0,)
    assert shapes["parameters/none.weight"] == (4, 0, 3)
    assert f["parameters/long"].dtype == np.float32 and f["extra/half"].dtype == np.float16
    assert f["optimizer/velocity/deep/er.x"].dtype == np.float64
    assert f["buffers/bn.num_batches_tracked"].dtype == np.int64
    assert f.attrs["step"] == 1000 and f.attrs["epoch"] == 3 and f.attrs["step_in_epoch"] == 17
    assert f.attrs["seed"] == 0xFEDCBA9876543210 and f.attrs["format_version"] == 1
    assert f.attrs["job"] == "name: test\nseed: 1 # \u00e9\n"
    assert dict(f["texts"].attrs) == {"onednn": "2.6.3", "empty": ""}
    assert f["numbers"].attrs["best_accuracy"] == 0.1 and f["numbers"].attrs["tiny"] == 5e-324
shapes.clear()
with h5py.File(sys.argv[1] + "/many-4/step-000001000.h5", "r") as f:
    f.visititems(visit)
    assert len(shapes) == 200
    assert shapes["parameters/layer199.weight"] == (199 % 7 + 1, 1 + 3 * 199)
print("h5py read 216 tensors")
PYTHON
