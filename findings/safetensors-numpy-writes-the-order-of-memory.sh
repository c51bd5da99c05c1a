#!/usr/bin/env bash
# safetensors 0.8.0 (safetensors.numpy) with NumPy 2.4.6.
# Guess: save_file stores an array's values in row-major order whatever its strides, as numpy.save and h5py do, or refuses
# it, as safetensors.torch does with a tensor that is not contiguous.
# Behaviour: the bytes are written in the order of memory, under the new shape. A transposed array comes back with the
# right shape and other values in its places; so a kernel converted by `k.T` imports everywhere, and predicts nonsense.
# numpy.ascontiguousarray before saving helps.
# Seen:
#   transposed: wrote [[0, 3], [1, 4], [2, 5]], read [[0, 1], [2, 3], [4, 5]]
#   Fortran order: wrote [[0, 1, 2], [3, 4, 5]], read [[0, 3, 1], [4, 2, 5]]
#   contiguous copy: wrote [[0, 3], [1, 4], [2, 5]], read [[0, 3], [1, 4], [2, 5]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.4.6
cat >"$folder/look.py" <<'PYTHON'
import sys
import numpy
from safetensors.numpy import load_file, save_file
values = numpy.arange(6, dtype="float32").reshape(2, 3)
for name, array in {"transposed": values.T, "Fortran order": numpy.asfortranarray(values),
                    "contiguous copy": numpy.ascontiguousarray(values.T)}.items():
    save_file({"weight": array}, sys.argv[1] + "/a.safetensors")
    back = load_file(sys.argv[1] + "/a.safetensors")["weight"]
    print(f"{name}: wrote {array.astype(int).tolist()}, read {back.astype(int).tolist()}")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
transposed: wrote [[0, 3], [1, 4], [2, 5]], read [[0, 1], [2, 3], [4, 5]]
Fortran order: wrote [[0, 1, 2], [3, 4, 5]], read [[0, 3, 1], [4, 2, 5]]
contiguous copy: wrote [[0, 3], [1, 4], [2, 5]], read [[0, 3], [1, 4], [2, 5]]
SEEN
