#!/usr/bin/env bash
# netCDF4 1.7.5.1.post1 (netcdf-c 4.10.1), read with h5py 3.16.0.
# Guess: gaps of a netCDF variable are marked by its attribute _FillValue, and a variable over an unlimited dimension has as
# many rows as the dimension is long.
# Behaviour: values that were never written are 9.969210e+36 without any attribute that says so (whole numbers:
# -2147483647, -32767 ...), which only the HDF5 fill value repeats. And a variable over an unlimited dimension is stored
# as long as it was written itself: netCDF reads 6 rows where HDF5 has 2.
# Seen:
#   fixed float: netCDF (6,) masked 4; HDF5 (6,), last 9.969210e+36, attributes ['DIMENSION_LIST']
#   fixed int: netCDF (6,) masked 4; HDF5 (6,), last -2147483647, attributes ['DIMENSION_LIST']
#   unlimited float: netCDF (6,) masked 4; HDF5 (2,), last 1.000000e+00, attributes ['DIMENSION_LIST']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q netCDF4==1.7.5.1.post1 h5py==3.16.0 numpy==2.4.6
cat >"$folder/write.py" <<'PYTHON'
import sys
import netCDF4, numpy
with netCDF4.Dataset(sys.argv[1], "w") as f:
    f.createDimension("fixed", 6)
    f.createDimension("unlimited", None)
    f.createVariable("full", "f4", ("unlimited",))[:] = numpy.ones(6)
    for name, dtype in (("fixed", "float"), ("fixed", "int"), ("unlimited", "float")):
        f.createVariable(f"{name} {dtype}", {"float": "f4", "int": "i4"}[dtype], (name,))[:2] = 1
with netCDF4.Dataset(sys.argv[1]) as f:
    for name in ("fixed float", "fixed int", "unlimited float"):
        values = f[name][:]
        print(f"{name}: netCDF {values.shape} masked {numpy.ma.count_masked(values)}")
PYTHON
cat >"$folder/read.py" <<'PYTHON'
import sys
import h5py
with h5py.File(sys.argv[1]) as f:
    for name in ("fixed float", "fixed int", "unlimited float"):
        last = f[name][-1]
        print(f"HDF5 {f[name].shape}, last {last if last.dtype.kind == 'i' else f'{last:.6e}'}, "
              f"attributes {sorted(a for a in f[name].attrs if not a.startswith('_Netcdf4'))}")
PYTHON
"$folder/venv/bin/python" "$folder/write.py" "$folder/a.nc" >"$folder/netcdf"
"$folder/venv/bin/python" "$folder/read.py" "$folder/a.nc" >"$folder/hdf5"
paste -d ';' "$folder/netcdf" "$folder/hdf5" | sed 's/;/; /' | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
fixed float: netCDF (6,) masked 4; HDF5 (6,), last 9.969210e+36, attributes ['DIMENSION_LIST']
fixed int: netCDF (6,) masked 4; HDF5 (6,), last -2147483647, attributes ['DIMENSION_LIST']
unlimited float: netCDF (6,) masked 4; HDF5 (2,), last 1.000000e+00, attributes ['DIMENSION_LIST']
SEEN
