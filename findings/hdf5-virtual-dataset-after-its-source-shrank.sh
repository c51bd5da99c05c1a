#!/usr/bin/env bash
# h5py 3.8.0 (HDF5 1.12.2) and h5py 3.16.0 (HDF5 2.0.0).
# Guess: a virtual dataset whose source file was written again with fewer rows gives its fill value for the rows that are
# gone, as it does for a source that is missing, or the read fails, as reading past the end of a dataset does.
# Behaviour: fill values come from a chunked source only. Of a contiguous source, which is what h5py writes by default, HDF5
# reads on behind its end: other bytes of that file come back as values, here those of the next dataset, without an error.
# It fails where the file itself ends there ("addr overflow"), and where the source was mapped without an index ([:4] here).
# Seen:
#   1.12.2 contiguous source, 2 of 4 rows left: [1. 1. 9. 9.]
#   1.12.2 chunked source, 2 of 4 rows left: [1. 1. 0. 0.]
#   1.12.2 no source: [0. 0. 0. 0.]
#   2.0.0 contiguous source, 2 of 4 rows left: [1. 1. 9. 9.]
#   2.0.0 chunked source, 2 of 4 rows left: [1. 1. 0. 0.]
#   2.0.0 no source: [0. 0. 0. 0.]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/old"
python3 -m venv "$folder/new"
"$folder/old/bin/pip" install -q h5py==3.8.0 'numpy<2'
"$folder/new/bin/pip" install -q h5py==3.16.0 numpy==2.4.6
cat >"$folder/look.py" <<'PYTHON'
import os, sys
import h5py, numpy
os.chdir(sys.argv[1])
def write_source(n_rows, chunks):
    with h5py.File("source.h5", "w") as f:
        f.create_dataset("x", data=numpy.ones(n_rows, "f4"), chunks=chunks)
        f["next"] = numpy.full(4096, 9, "f4")
def read():
    with h5py.File("virtual.h5", "r") as f:
        return f["x"][...]
for name, chunks in (("contiguous", None), ("chunked", (2,))):
    write_source(4, chunks)
    with h5py.File("virtual.h5", "w") as f:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("source.h5", "x", (4,))[:4]
        f.create_virtual_dataset("x", layout)
    assert numpy.array_equal(read(), numpy.ones(4))
    write_source(2, chunks)
    print(f"{h5py.version.hdf5_version} {name} source, 2 of 4 rows left: {read()}")
os.remove("source.h5")
print(f"{h5py.version.hdf5_version} no source: {read()}")
PYTHON
for version in old new; do "$folder/$version/bin/python" "$folder/look.py" "$folder"; done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
1.12.2 contiguous source, 2 of 4 rows left: [1. 1. 9. 9.]
1.12.2 chunked source, 2 of 4 rows left: [1. 1. 0. 0.]
1.12.2 no source: [0. 0. 0. 0.]
2.0.0 contiguous source, 2 of 4 rows left: [1. 1. 9. 9.]
2.0.0 chunked source, 2 of 4 rows left: [1. 1. 0. 0.]
2.0.0 no source: [0. 0. 0. 0.]
SEEN
