#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0) with ml_dtypes 0.6.0, the bfloat16 of JAX and Keras.
# Guess: h5py either stores NumPy arrays of ml_dtypes as numbers, or raises TypeError, as it does for Unicode and dates.
# Behaviour: bfloat16, float8_e4m3fn and int4 are stored without a word as OPAQUE elements with an empty tag: bytes that
# tell nobody, h5py among them, what they mean. They come back as void, and a view brings the values back. Of the types of
# one byte float8_e5m2 alone raises.
# Seen:
#   bfloat16: OPAQUE of 2 bytes, tag b'', read as |V2, same bytes True
#   float8_e4m3fn: OPAQUE of 1 bytes, tag b'', read as |V1, same bytes True
#   int4: OPAQUE of 1 bytes, tag b'', read as |V1, same bytes True
#   float8_e5m2: TypeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q h5py==3.16.0 numpy==2.4.6 ml_dtypes==0.6.0
cat >"$folder/look.py" <<'PYTHON'
import sys
import h5py, ml_dtypes, numpy
with h5py.File(sys.argv[1] + "/a.h5", "w") as f:
    for name in "bfloat16 float8_e4m3fn int4 float8_e5m2".split():
        values = numpy.array([1, 2, 3]).astype(getattr(ml_dtypes, name))
        try:
            f[name] = values
        except TypeError:
            print(f"{name}: TypeError")
            continue
        stored = f[name].id.get_type()
        kind = "OPAQUE" if stored.get_class() == h5py.h5t.OPAQUE else stored.get_class()
        back = f[name][...]
        print(f"{name}: {kind} of {stored.get_size()} bytes, tag {stored.get_tag()}, read as {back.dtype.str}, "
              f"same bytes {back.tobytes() == values.tobytes()}")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
bfloat16: OPAQUE of 2 bytes, tag b'', read as |V2, same bytes True
float8_e4m3fn: OPAQUE of 1 bytes, tag b'', read as |V1, same bytes True
int4: OPAQUE of 1 bytes, tag b'', read as |V1, same bytes True
float8_e5m2: TypeError
SEEN
