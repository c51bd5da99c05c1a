#!/usr/bin/env bash
# Written by h5py 3.16.0 (HDF5 2.0.0), read by h5py 3.8.0 (HDF5 1.12.2).
# Guess: a file written with libver='latest' is either readable by an older HDF5 or not; if its first datasets open, so do all.
# Behaviour: HDF5 2.0 writes the new version of the layout message only for chunked datasets with a filter. In one and
# the same file contiguous and plain chunked datasets open and the compressed one does not. With 'v114' all open.
# Seen:
#   latest: contiguous 120, chunked 120, gzip bad version number for layout message
#   v114: contiguous 120, chunked 120, gzip 120
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/old"
python3 -m venv "$folder/new"
"$folder/old/bin/pip" install -q h5py==3.8.0 'numpy<2'
"$folder/new/bin/pip" install -q h5py==3.16.0
cat >"$folder/write.py" <<'PYTHON'
import sys
import h5py, numpy
values = numpy.arange(16.0)
for libver in ("latest", "v114"):
    with h5py.File(f"{sys.argv[1]}/{libver}.h5", "w", libver=libver) as f:
        f["contiguous"] = values
        f.create_dataset("chunked", data=values, chunks=(4,))
        f.create_dataset("gzip", data=values, chunks=(4,), compression="gzip")
PYTHON
cat >"$folder/read.py" <<'PYTHON'
import re, sys
import h5py
for libver in ("latest", "v114"):
    said = []
    with h5py.File(f"{sys.argv[1]}/{libver}.h5") as f:
        for name in ("contiguous", "chunked", "gzip"):
            try:
                said.append(f"{name} {f[name][...].sum():.0f}")
            except (KeyError, OSError) as error:
                said.append(name + " " + re.search(r"\((.*)\)", str(error))[1])
    print(f"{libver}: {', '.join(said)}")
PYTHON
"$folder/new/bin/python" "$folder/write.py" "$folder"
"$folder/old/bin/python" "$folder/read.py" "$folder" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
latest: contiguous 120, chunked 120, gzip bad version number for layout message
v114: contiguous 120, chunked 120, gzip 120
SEEN
