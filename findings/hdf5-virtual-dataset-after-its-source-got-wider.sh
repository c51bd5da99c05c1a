#!/usr/bin/env bash
# h5py 3.8.0 (HDF5 1.12.2) and h5py 3.16.0 (HDF5 2.0.0).
# Guess: a virtual dataset that was made of a source of shape (4, 3) fails, or gives the first three columns, once that source
# has been written again with more columns.
# Behaviour: a mapping of all of a source is stored without its shape. HDF5 takes the elements of what it finds one after the
# other, as many as the virtual dataset has: rows of three out of rows of six. Nothing fails where rows are selected, as every
# loader does; reading all of it at once ([...]) does. A mapping with an index (VirtualSource(...)[:4]) keeps its coordinates.
# Seen:
#   1.12.2 all of the source, row 1: [100. 101. 102.]
#   1.12.2 [:4] of the source, row 1: [3. 4. 5.]
#   1.12.2 everything at once: fails
#   2.0.0 all of the source, row 1: [100. 101. 102.]
#   2.0.0 [:4] of the source, row 1: [3. 4. 5.]
#   2.0.0 everything at once: fails
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
version = h5py.version.hdf5_version
three = numpy.arange(12, dtype="f4").reshape(4, 3)
def write_source(x):
    with h5py.File("source.h5", "w") as f:
        f["x"] = x
write_source(three)
with h5py.File("virtual.h5", "w") as f:
    for name, cut in (("all of", ()), ("[:4] of", slice(4))):
        layout, source = h5py.VirtualLayout((4, 3), "f4"), h5py.VirtualSource("source.h5", "x", (4, 3))
        layout[:] = source[cut] if cut else source
        f.create_virtual_dataset(name, layout)
        assert numpy.array_equal(f[name][1], three[1])
write_source(numpy.hstack([three, three + 100]))
with h5py.File("virtual.h5", "r") as f:
    for name in ("all of", "[:4] of"):
        print(f"{version} {name} the source, row 1: {f[name][1]}")
    try:
        print(f"{version} everything at once: {f['all of'][...]}")
    except OSError:
        print(f"{version} everything at once: fails")
PYTHON
for version in old new; do "$folder/$version/bin/python" "$folder/look.py" "$folder"; done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
1.12.2 all of the source, row 1: [100. 101. 102.]
1.12.2 [:4] of the source, row 1: [3. 4. 5.]
1.12.2 everything at once: fails
2.0.0 all of the source, row 1: [100. 101. 102.]
2.0.0 [:4] of the source, row 1: [3. 4. 5.]
2.0.0 everything at once: fails
SEEN
