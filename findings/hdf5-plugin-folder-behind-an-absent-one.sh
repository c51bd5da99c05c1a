#!/usr/bin/env bash
# h5py 3.8.0 (HDF5 1.12.2) and h5py 3.16.0 (HDF5 2.0.0), with the filters of hdf5plugin 4.1.3.
# Guess: a folder that H5PLappend adds to the search path for filter plugins is searched, wherever it stands.
# Behaviour: HDF5 up to 1.12 gives up at the first folder that does not exist, as its own default one
# (/usr/local/hdf5/lib/plugin) usually does not: what is appended is never looked at, and the filter "is not available".
# H5PLprepend works. HDF5 2.0 goes on searching.
# Seen:
#   1.12.2 append: blosc available False
#   1.12.2 prepend: blosc available True
#   2.0.0 append: blosc available True
#   2.0.0 prepend: blosc available True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/old"
python3 -m venv "$folder/new"
"$folder/old/bin/pip" install -q h5py==3.8.0 'numpy<2' hdf5plugin==4.1.3
"$folder/new/bin/pip" install -q h5py==3.16.0 hdf5plugin==4.1.3
cat >"$folder/look.py" <<'PYTHON'
import importlib.util, os, sys
import h5py
plugins = os.path.join(os.path.dirname(importlib.util.find_spec("hdf5plugin").origin), "plugins")
getattr(h5py.h5pl, sys.argv[1])(plugins.encode())
print(f"{h5py.version.hdf5_version} {sys.argv[1]}: blosc available {h5py.h5z.filter_avail(32001)}")
PYTHON
unset HDF5_PLUGIN_PATH
for version in old new; do
  for how in append prepend; do "$folder/$version/bin/python" "$folder/look.py" $how; done
done | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
1.12.2 append: blosc available False
1.12.2 prepend: blosc available True
2.0.0 append: blosc available True
2.0.0 prepend: blosc available True
SEEN
