"""What foreign_files.py checks: one function per line of the table in docs/data.md, "Files of other programs"."""
import importlib.metadata
import io
import os
import pickle
import shutil
import subprocess
import tarfile
import warnings

import anndata
import h5netcdf  # noqa: F401 (of xarray)
import h5py
import hdf5plugin
import hdf5storage
import ml_dtypes
import netCDF4
import numpy
import pandas
import scipy.io
import scipy.sparse
import tables
import xarray

X = numpy.arange(256, dtype="float32").reshape(64, 4) / 8 - 9  # exact in every type of 16 bits and more
Y = numpy.arange(64) % 4
IMAGES = (numpy.arange(64 * 3 * 6 * 5) % 251).astype("uint8").reshape(64, 3, 6, 5)
FRAME = pandas.DataFrame(X, columns=list("abcd")).assign(label=Y)


def values_of(dtype):
    """(64, 4) of this type: its bounds, and numbers that float32 holds exactly."""
    dtype = numpy.dtype(dtype)
    values = X.astype(dtype) if dtype.kind == "f" else (numpy.arange(256) % 100).reshape(64, 4).astype(dtype)
    if dtype.kind in "iu":
        values[0, :2] = numpy.iinfo(dtype).min, numpy.iinfo(dtype).max
        if dtype.kind == "u" and dtype.itemsize == 8:
            values[0, 1] = 2**63 - 1  # above it, numbers are read as that
    return values


def h5py_types(c):
    with h5py.File(c.at("types.h5"), "w") as f:
        for kind in "i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8".split():
            for order in "<>":
                values = values_of(order + kind)
                f[f"{kind}{order}"] = values
                f.create_dataset(f"{kind}{order}-gzip", data=values, chunks=(7, 4), compression="gzip", shuffle=True)
        f["bool"] = X > 3
        f.create_dataset("enum", data=Y.astype("i2"), dtype=h5py.enum_dtype({"a": 0, "b": 1, "c": 2, "d": 3}, "i2"))
        bfloat = h5py.h5t.IEEE_F32LE.copy()  # a true float, which HDF5 converts
        bfloat.set_fields(15, 7, 8, 0, 7)
        bfloat.set_size(2)
        bfloat.set_ebias(127)
        made = h5py.h5d.create(f.id, b"bfloat16", bfloat, h5py.h5s.create_simple(X.shape))
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, X)
        f["strings"] = ["a"] * 64
        f["compound"] = FRAME.to_records(index=False)
        f["complex"] = X.astype("complex64")
        f["opaque"] = X.astype(ml_dtypes.bfloat16)
        f["vlen"] = numpy.array([numpy.zeros(1 + i % 3) for i in range(64)], dtype=object).astype(h5py.vlen_dtype("f4"))
        names = [name for name in f if name[0] in "iuf"]
        stored = {name: f[name][...] for name in names}
    for name in names:
        c.gives("types.h5", name, stored[name])
    c.gives("types.h5", "bool", X > 3)
    c.gives("types.h5", "enum", Y)
    c.gives("types.h5", "bfloat16", X.astype(ml_dtypes.bfloat16))
    for name, words in {"strings": "strings", "compound": "one dataset per member", "complex": "complex numbers",
                        "opaque": "store them as float32", "vlen": "pad them to one length"}.items():
        c.refuses("types.h5", name, "cannot be a field", words)


def h5py_filters(c):
    numbers = (numpy.arange(256) % 100).reshape(64, 4).astype("int32")
    ways = {"chunks": {}, "gzip": {"compression": "gzip"}, "lzf": {"compression": "lzf"}, "szip": {"compression": "szip"},
            "shuffle": {"shuffle": True}, "fletcher32": {"fletcher32": True},
            "all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
            "lzf-shuffle": {"compression": "lzf", "shuffle": True, "fletcher32": True}}
    for libver in ("earliest", "v108", "v110", "v112", "v114"):
        file = f"filters-{libver}.h5"
        with h5py.File(c.at(file), "w", libver=(libver, libver) if libver != "earliest" else libver) as f:
            f["contiguous"] = X
            for name, options in ways.items():
                f.create_dataset(name, data=X, chunks=(7, 4), **options)
            f.create_dataset("scaleoffset", data=numbers, chunks=(7, 4), scaleoffset=0)
            nbit = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            nbit.set_chunk((7, 4))
            nbit.set_filter(h5py.h5z.FILTER_NBIT, h5py.h5z.FLAG_OPTIONAL, ())
            made = h5py.h5d.create(f.id, b"nbit", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple(X.shape), nbit)
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, numbers)
            names = list(f)
            stored = {name: f[name][...] for name in names}
        for name in names:
            c.gives(file, name, stored[name])
    for libver in ("latest", "v200"):
        file = f"filters-{libver}.h5"
        with h5py.File(c.at(file), "w", libver=libver) as f:
            f["contiguous"] = X
            f.create_dataset("chunks", data=X, chunks=(7, 4))
            f.create_dataset("gzip", data=X, chunks=(7, 4), compression="gzip")
        c.gives(file, "contiguous", X)
        c.gives(file, "chunks", X)
        if c.reads_hdf5_2:
            c.gives(file, "gzip", X)
        else:
            c.refuses(file, "gzip", "newer format", "libver='v114'")


def h5py_not_closed(c):
    with h5py.File(c.at("swmr.h5"), "w", libver="v110") as f:
        f["input"] = X
        f.swmr_mode = True
        f.flush()
        shutil.copyfile(c.at("swmr.h5"), c.at("crashed.h5"))
    c.gives("swmr.h5", "input", X)
    c.refuses("crashed.h5", "input", "was not closed", "h5clear -s")
    if shutil.which("h5clear"):
        subprocess.run(["h5clear", "-s", c.at("crashed.h5")], check=True)
        c.gives("crashed.h5", "input", X, name="crashed.h5 after h5clear")


def h5py_groups(c):
    with h5py.File(c.at("groups.h5"), "w") as f:
        f["train/x"] = X
        f["test/x"] = X[:9]
        f["class_weight"] = numpy.ones(7)
        f["one_byte_float"] = X.astype(ml_dtypes.float8_e4m3fn)
        f.attrs["checksum"] = "of the file"
        f["train/x"].attrs["mean"] = "none"
        f["soft"] = h5py.SoftLink("/train/x")
    for name, expected in {"train/x": X, "test/x": X[:9], "soft": X}.items():
        c.gives("groups.h5", name, expected)


def hdf5plugin_filters(c):
    b = hdf5plugin
    own = {"lz4": b.LZ4(), "lz4-blocks": b.LZ4(nbytes=100), "zstd": b.Zstd(), "zstd-9": b.Zstd(clevel=9), "bitshuffle": b.Bitshuffle(cname="none"),
           "bitshuffle-lz4": b.Bitshuffle(cname="lz4"), "bitshuffle-zstd": b.Bitshuffle(cname="zstd"), "bitshuffle-64": b.Bitshuffle(nelems=64)}
    plugins = {"blosc": b.Blosc(), "blosc-zstd": b.Blosc(cname="zstd", shuffle=b.Blosc.BITSHUFFLE), "blosc2": b.Blosc2(), "bzip2": b.BZip2(),
               "zfp": b.Zfp(reversible=True)}
    large = (numpy.arange(640 * 96) % 777).reshape(640, 96).astype("float32")
    with h5py.File(c.at("plugins.h5"), "w", libver="v110") as f:
        for name, options in {**own, **plugins}.items():
            f.create_dataset(name, data=large, chunks=(50, 96), **options)
            f.create_dataset(name + "-shuffle", data=large, chunks=(50, 96), shuffle=True, **options)
            for dtype in ("u1", "<i2", ">f4", "f8") if name != "zfp" else ():
                f.create_dataset(f"{name}-{dtype}", data=(large % 100).astype(dtype), chunks=(50, 96), **options)
        stored = {name: f[name][...] for name in f}
    folder = os.path.dirname(os.path.dirname(hdf5plugin.__file__))
    named = {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    for name in sorted(stored):
        if name.partition("-")[0] in ("lz4", "zstd", "bitshuffle"):
            c.gives("plugins.h5", name, stored[name])
        else:
            c.gives("plugins.h5", name, stored[name], environment=named)
            c.refuses("plugins.h5", name, name.partition("-")[0], "pip install hdf5plugin", shape=(96,), name=name + " without the plugin")
    prefix = os.path.dirname(os.path.dirname(os.path.dirname(folder)))
    home = c.at("home")
    site = os.path.join(home, ".local/lib", os.path.basename(os.path.dirname(folder)), "site-packages")
    os.makedirs(site)
    os.symlink(os.path.join(folder, "hdf5plugin"), os.path.join(site, "hdf5plugin"))
    for name, environment in {"VIRTUAL_ENV": {"VIRTUAL_ENV": prefix}, "CONDA_PREFIX": {"CONDA_PREFIX": prefix},
                              "PATH": {"PATH": prefix + "/bin:" + c.environment["PATH"]}, "~/.local": {"HOME": home}}.items():
        c.gives("plugins.h5", "blosc", stored["blosc"], environment=environment, name="blosc found by " + name)


def links(c):
    with h5py.File(c.at("there.h5"), "w") as f:
        f["contiguous"] = X
        f.create_dataset("chunked", data=X, chunks=(7, 4), compression="gzip")
        f["group/x"] = X
    with h5py.File(c.at("short.h5"), "w") as f:
        f["contiguous"] = X[:40]
        f["next"] = numpy.full((64, 4), 9, "f4")  # what HDF5 reads behind the end of the source
    with h5py.File(c.at("links.h5"), "w") as f:
        f["own"] = X - 5
        for name in ("contiguous", "chunked"):
            f[name] = h5py.ExternalLink("there.h5", name)
        f["outside"] = h5py.ExternalLink("there.h5", "group")
        f["soft"] = h5py.SoftLink("/outside/x")
        f["gone"] = h5py.ExternalLink("gone.h5", "x")
        f["nameless"] = h5py.ExternalLink("there.h5", "nameless")
        for name, file, source in (("virtual", "there.h5", "contiguous"), ("virtual-gone", "gone.h5", "contiguous"),
                                   ("virtual-nameless", "there.h5", "nameless"), ("virtual-short", "short.h5", "contiguous")):
            layout = h5py.VirtualLayout((64, 4), "f4")
            source = h5py.VirtualSource(file, source, (64, 4))
            for k in range(0, 64, 16):
                layout[k:k + 16] = source[k:k + 16]
            f.create_virtual_dataset(name, layout, fillvalue=7)
        layout = h5py.VirtualLayout((64, 4), "f4")
        layout[:] = h5py.VirtualSource("short.h5", "contiguous", (64, 4))
        f.create_virtual_dataset("virtual-whole-short", layout)
    for name in ("contiguous", "chunked", "outside/x", "soft", "virtual"):
        c.gives("links.h5", name, X)
    for name, words in {"gone": "gone.h5", "nameless": "there.h5", "virtual-gone": "gone.h5", "virtual-nameless": "there.h5",
                        "virtual-short": "short.h5", "virtual-whole-short": "short.h5"}.items():
        c.refuses("links.h5", name, words)


def external_storage(c):
    X.tofile(c.at("values.raw"))
    X[:40].tofile(c.at("short.raw"))
    with h5py.File(c.at("external.h5"), "w") as f:
        for name in ("values", "short", "gone"):
            f.create_dataset(name, X.shape, "f4", external=[(name + ".raw", 0, X.nbytes)])
    for extra in ("gone.raw",):
        if os.path.exists(c.at(extra)):
            os.remove(c.at(extra))
    allowed = ", external_storage: true"
    c.gives("external.h5", "values", X, keys=allowed)
    c.refuses("external.h5", "values", "external_storage: true")
    c.refuses("external.h5", "short", "short.raw", "ends at byte", keys=allowed)
    c.refuses("external.h5", "gone", "gone.raw", keys=allowed)


def pytables(c):
    with tables.open_file(c.at("pytables.h5"), "w") as f:
        f.create_array("/", "array", X)
        f.create_array("/", "label", Y)
        f.create_array("/", "flag_array", X > 3)
        f.create_carray("/", "flag", obj=X > 3, filters=tables.Filters(5, "zlib"))
        f.create_carray("/", "zlib", obj=X, filters=tables.Filters(5, "zlib", shuffle=True, fletcher32=True))
        f.create_earray("/", "grown", obj=X, filters=tables.Filters(5, "zlib"))
        f.create_carray("/", "bzip2", obj=X, filters=tables.Filters(5, "bzip2"))
        f.create_carray("/", "blosc", obj=X, filters=tables.Filters(5, "blosc"))
        f.create_carray("/", "blosc2", obj=X, filters=tables.Filters(5, "blosc2:zstd"))
        f.create_table("/", "table", obj=FRAME.to_records(index=False))
    with_plugin = {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    for name in ("array", "zlib", "grown", "bzip2", "blosc", "blosc2"):
        c.gives("pytables.h5", name, X, environment=with_plugin)
    for name in ("flag_array", "flag"):
        c.gives("pytables.h5", name, X > 3)
    c.gives("pytables.h5", "label", Y)
    c.refuses("pytables.h5", "table", "compound", "one dataset per member")


def pandas_hdf(c):
    FRAME.to_hdf(c.at("fixed.h5"), key="df", mode="w")
    FRAME.to_hdf(c.at("table.h5"), key="df", mode="w", format="table")
    c.gives("fixed.h5", "df/block0_values", X)
    c.gives("fixed.h5", "df/block1_values", Y.reshape(64, 1))
    c.refuses("table.h5", "df/table", "compound")


def netcdf(c):
    with netCDF4.Dataset(c.at("netcdf.h5"), "w") as f:
        f.createDimension("time", None)
        f.createDimension("column", 4)
        packed = f.createVariable("packed", "i2", ("time", "column"), zlib=True, fill_value=-99)
        packed.scale_factor, packed.add_offset = 0.125, 3.0
        packed[:] = X
        holes = f.createVariable("holes", "f4", ("time", "column"), fill_value=-1e3)
        holes[:] = numpy.ma.masked_equal(X, X[5, 2])
        f.createDimension("sample", 64)
        f.createVariable("never", "f4", ("sample", "column"))[:10] = X[:10]
        f.createVariable("behind", "f4", ("time", "column"))[:10] = X[:10]  # as HDF5 sees it, of 10 rows
        f.createVariable("label", "i8", ("time",))[:] = Y
        f.createVariable("column", "f4", ("column",))[:] = 1
        marked = f.createVariable("marked", "i4", ("time",))
        marked.missing_value = numpy.int32(3)
        marked[:] = Y
    c.gives("netcdf.h5", "packed", X)
    c.gives("netcdf.h5", "label", Y)
    c.gives("netcdf.h5", "behind", X[:10])
    c.refuses("netcdf.h5", "holes", "row 5", "missing value", "fillna")
    c.refuses("netcdf.h5", "never", "row 10", "missing value")
    c.refuses("netcdf.h5", "marked", "row 3", "missing value", shape=(1,))
    frames = xarray.Dataset({"input": (("time", "column"), X), "label": (("time",), Y)})
    for engine in ("h5netcdf", "netcdf4"):
        file = f"xarray-{engine}.h5"
        packing = {"input": {"dtype": "int16", "scale_factor": 0.125, "add_offset": 3.0, "_FillValue": -32768}}
        frames.to_netcdf(c.at(file), engine=engine)
        frames.to_netcdf(c.at("packed-" + file), engine=engine, encoding=packing)
        for name in (file, "packed-" + file):
            c.gives(name, "input", X)
            c.gives(name, "label", Y)
    for kind in ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"):
        with netCDF4.Dataset(c.at(kind + ".nc"), "w", format=kind) as f:
            f.createDimension("time", 64)
            f.createVariable("label", "i4", ("time",))[:] = Y
        c.refuses(kind + ".nc", "", "classic", "nccopy -k nc4")


def ann_data(c):
    kinds = pandas.DataFrame({"kind": pandas.Categorical.from_codes(Y, list("wxyz"))}, index=[str(i) for i in range(64)])
    anndata.AnnData(X, obs=kinds).write_h5ad(c.at("dense.h5ad"))
    anndata.AnnData(scipy.sparse.csr_matrix(X), obs=kinds).write_h5ad(c.at("sparse.h5ad"))
    c.gives("dense.h5ad", "X", X)
    c.gives("dense.h5ad", "obs/kind/codes", Y)
    c.refuses("sparse.h5ad", "X", "toarray")


def matlab(c):
    # As MATLAB's users have them: features x samples, and width x height x channels x samples.
    hdf5storage.savemat(c.at("matlab.mat"), {"input": X.T, "label": Y.reshape(1, -1), "image": IMAGES.transpose(3, 2, 1, 0)}, format="7.3")
    scipy.io.savemat(c.at("old.mat"), {"input": X})
    c.gives("matlab.mat", "input", X, keys=", layout: NCHW")
    c.gives("matlab.mat", "image", IMAGES, layout="NCHW")
    c.gives("matlab.mat", "label", Y.reshape(-1, 1), keys=", layout: NCHW")
    for name, shape in {"input": (4,), "image": (3, 6, 5)}.items():
        c.refuses("matlab.mat", name, "MATLAB", "reverse", "layout: NCHW", shape=shape)
    c.refuses("old.mat", "", "MATLAB", "-v7.3")


def other_formats(c):
    numpy.save(c.at("x.npy"), X)
    numpy.savez(c.at("x.npz"), input=X, label=Y)
    numpy.savez_compressed(c.at("compressed.npz"), input=X)
    FRAME.to_parquet(c.at("x.parquet"))
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        with open(c.at(f"protocol-{protocol}.pkl"), "wb") as f:
            pickle.dump({"input": X}, f, protocol)
        c.refuses(f"protocol-{protocol}.pkl", "", "pickle", "h5py")
    FRAME.to_pickle(c.at("pandas.pkl"))
    with tarfile.open(c.at("x.tar"), "w") as f:
        f.addfile(tarfile.TarInfo("input"), io.BytesIO())
    with h5py.File(c.at("plain.h5"), "w") as f:
        f["input"] = X
    for tool, name in (("gzip", "plain.h5.gz"), ("xz", "plain.h5.xz"), ("bzip2", "plain.h5.bz2"), ("zstd", "plain.h5.zst")):
        if shutil.which(tool):
            with open(c.at(name), "wb") as f:
                subprocess.run([tool, "-c", c.at("plain.h5")], stdout=f, check=True)
            c.refuses(name, "", tool, "unpack it")
    for name, words in {"x.npy": (".npy", "numpy.load"), "x.npz": (".npz", "h5py"), "compressed.npz": (".npz", "h5py"),
                        "x.parquet": ("Parquet", "CSV"), "pandas.pkl": ("pickle", "h5py"), "x.tar": ("tar archive", "tar xf")}.items():
        c.refuses(name, "", *words)


def channels_last(c):
    last = numpy.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))
    with h5py.File(c.at("images.h5"), "w") as f:
        f["first"] = IMAGES
        f["last"] = f["attribute"] = last
        f["attribute"].attrs["layout"] = "NHWC"
        f.create_dataset("gzip", data=last, chunks=(7, 6, 5, 3), compression="gzip")
        f["grey"] = last[..., :1]
        f["alpha"] = numpy.concatenate([last, last[..., :1]], -1)
    c.gives("images.h5", "first", IMAGES)
    c.gives("images.h5", "attribute", IMAGES)
    for name in ("last", "gzip"):
        c.gives("images.h5", name, IMAGES, layout="NHWC")
    c.gives("images.h5", "grey", IMAGES[:, :1], layout="NHWC")
    for name, shape in {"last": (3, 6, 5), "gzip": (3, 6, 5), "grey": (1, 6, 5), "alpha": (4, 6, 5)}.items():
        c.refuses("images.h5", name, "layout: NHWC", shape=shape)


LINES = {"h5py: number types": h5py_types, "h5py: filters and libver": h5py_filters, "h5py: files that were not closed": h5py_not_closed,
         "h5py: groups and what stands beside": h5py_groups, "hdf5plugin": hdf5plugin_filters, "links, virtual datasets": links,
         "external storage": external_storage, "PyTables": pytables, "pandas to_hdf": pandas_hdf, "netCDF4, xarray": netcdf, "AnnData": ann_data,
         "MATLAB v7.3": matlab, ".npy, .npz, Parquet, pickles, archives": other_formats, "images (N, H, W, C)": channels_last}


def check_all(c):
    warnings.filterwarnings("ignore")
    libraries = "h5py hdf5plugin tables pandas netCDF4 xarray h5netcdf anndata hdf5storage numpy safetensors".split()
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries) + f"; HDF5 {h5py.version.hdf5_version} of h5py")
    # A build with HDF5 2 reads what the others must refuse.
    c.line = "?"
    with h5py.File(c.at("probe.h5"), "w", libver="latest") as f:
        f.create_dataset("input", data=X, chunks=(7, 4), compression="gzip")
    c.reads_hdf5_2 = c.run("inspect", "probe.h5")[0] == 0
    for c.line, check in LINES.items():
        check(c)
