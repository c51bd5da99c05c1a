// Files of other programs: the values that they mean, or a sentence that says what is wrong and what helps.
// The files come from h5py, so that writer and reader share no code.
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "io/dataset/dataset.h"
#include "tests/support/error_of.h"
#include "tests/support/hdf5_files.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

class ForeignFiles : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_h5py()) GTEST_SKIP() << "no h5py here";
  }
  void write(const std::string& code) {
    ASSERT_EQ(run_h5py(folder_.path(),
                       "import os\nos.chdir(folder)\nX = np.arange(256, dtype='float32').reshape(64, 4)\n"
                       "Y = np.arange(64) % 4\n" +
                           code),
              "");
  }
  std::string error(const std::string& file, const std::vector<std::string>& fields,
                    DatasetOptions options = {}) {
    options.fields = fields;
    return error_of([&] { Dataset::open(folder_.file(file), options); });
  }
  template <typename T>
  std::vector<T> values(const std::string& file, const std::string& field, DatasetOptions options = {}) {
    options.fields = {field};
    const Dataset data = Dataset::open(folder_.file(file), options);
    EXPECT_EQ(size_of(data.field(field).dtype), static_cast<int64_t>(sizeof(T))) << field;
    std::vector<T> all(static_cast<size_t>(data.n_samples() * data.field(field).shape.n_elements()));
    data.read(field, 0, data.n_samples(), all.data());
    return all;
  }
  template <typename T>
  static std::vector<T> count(int64_t n) {
    std::vector<T> all(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) all[static_cast<size_t>(i)] = static_cast<T>(i);
    return all;
  }
  TemporaryFolder folder_;
};

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(ForeignFiles, ElementsBehindLinksAreThoseOfTheOtherFile) {
  write(R"(
with h5py.File('feat.h5', 'w') as f: f['input'] = X; f['g/chunked'] = X; f.create_dataset('packed', data=X, chunks=(8, 4), compression='gzip')
with h5py.File('a.h5', 'w') as f:
    f['pad'] = np.zeros((64, 100))
    f['input'] = h5py.ExternalLink('feat.h5', '/input')
    f['packed'] = h5py.ExternalLink('feat.h5', '/packed')
    f['group'] = h5py.ExternalLink('feat.h5', '/g')
    f['soft'] = h5py.SoftLink('/group/chunked')
    f['gone'] = h5py.ExternalLink('nowhere.h5', '/input')
    f['absent'] = h5py.ExternalLink('feat.h5', '/other')
with h5py.File('short.h5', 'w') as f: f['input'] = h5py.ExternalLink('feat.h5', '/input')
)");
  for (const char* field : {"input", "packed", "group/chunked", "soft"})
    EXPECT_EQ(values<float>("a.h5", field), count<float>(256)) << field;
  EXPECT_EQ(values<float>("short.h5", "input"), count<float>(256));
  EXPECT_SAYS(error("a.h5", {"gone"}), "nowhere.h5");
  EXPECT_SAYS(error("a.h5", {"absent"}), "dataset /other of file feat.h5");
  // What is not asked for refuses nothing.
  EXPECT_EQ(error("a.h5", {"input"}), "");
}

TEST_F(ForeignFiles, VirtualDatasetsNameTheSourceThatIsMissing) {
  write(R"(
for i in range(4):
    with h5py.File(f'part{i}.h5', 'w') as f: f['x'] = X[16 * i:16 * i + 16]
layout = h5py.VirtualLayout((64, 4), 'float32')
for i in range(4): layout[16 * i:16 * i + 16] = h5py.VirtualSource(f'part{i}.h5', 'x', (16, 4))
with h5py.File('v.h5', 'w') as f: f.create_virtual_dataset('input', layout); f['label'] = Y
gap = h5py.VirtualLayout((80, 4), 'float32')
for i in range(4): gap[16 * i:16 * i + 16] = h5py.VirtualSource(f'part{i}.h5', 'x', (16, 4))
with h5py.File('gap.h5', 'w') as f: f.create_virtual_dataset('input', gap); f.create_virtual_dataset('meant', gap, fillvalue=7)
outer = h5py.VirtualLayout((64, 4), 'float32')
outer[:] = h5py.VirtualSource('v.h5', 'input', (64, 4))
with h5py.File('outer.h5', 'w') as f: f.create_virtual_dataset('input', outer)
)");
  EXPECT_EQ(values<float>("v.h5", "input"), count<float>(256));
  EXPECT_EQ(values<float>("outer.h5", "input"), count<float>(256));
  EXPECT_SAYS(error("gap.h5", {"input"}), "sources for 256 of its 320 elements");
  EXPECT_EQ(values<float>("gap.h5", "meant")[300], 7);
  write("with h5py.File('part2.h5', 'w') as f: f['x'] = X[:8]\n");
  EXPECT_SAYS(error("v.h5", {"input"}), "beyond its end");
  write("with h5py.File('part2.h5', 'w') as f: f['y'] = X\n");
  EXPECT_SAYS(error("v.h5", {"input"}), "which has none of that name");
  fs::remove(folder_.file("part2.h5"));
  EXPECT_SAYS(error("v.h5", {"input"}), "part2.h5");
  EXPECT_SAYS(error("outer.h5", {"input"}), "part2.h5");
  EXPECT_EQ(error("v.h5", {"label"}), "");
}

TEST_F(ForeignFiles, VirtualDatasetsNoticeThatTheirSourceChangedItsShape) {
  const auto source = [&](const std::string& array) {
    write("with h5py.File('s.h5', 'w') as f: f['x'] = " + array + "\n");
  };
  write(R"(
layout = h5py.VirtualLayout((64, 4), 'float32')
layout[:] = h5py.VirtualSource('s.h5', 'x', (64, 4))
with h5py.File('v.h5', 'w') as f: f.create_virtual_dataset('input', layout)
)");
  source("X");
  EXPECT_EQ(values<float>("v.h5", "input"), count<float>(256));
  source("X.astype('f8').reshape(1, 64, 4)");
  EXPECT_EQ(values<float>("v.h5", "input"), count<float>(256));
  source("np.vstack([X, -X])");  // rows that came later
  EXPECT_EQ(values<float>("v.h5", "input"), count<float>(256));
  for (const auto& [array, extents] : {std::pair{"np.hstack([X, X])", "(64, 8)"},
                                       {"X.reshape(32, 8)", "(32, 8)"},
                                       {"X.reshape(-1)", "(256)"}}) {
    source(array);
    EXPECT_SAYS(error("v.h5", {"input"}), std::string("as (64, 4) elements, but it has ") + extents);
  }
  source("X[:, :2]");
  EXPECT_SAYS(error("v.h5", {"input"}), "beyond its end");
}

TEST_F(ForeignFiles, LinksToNamedPipesDoNotWait) {
  write(R"(
import os
os.mkfifo('pipe.h5')
with h5py.File('near.h5', 'w') as f:
    f['input'] = h5py.ExternalLink('far.h5', '/there'); f['label'] = Y
    f['folder/own'] = h5py.ExternalLink('pipe.h5', '/')
    f['soft'] = h5py.SoftLink('folder/own/x'); f['circle'] = h5py.SoftLink('circle')
with h5py.File('far.h5', 'w') as f: f['there'] = h5py.SoftLink('/group/x'); f['group'] = h5py.ExternalLink('pipe.h5', '/')
layout = h5py.VirtualLayout((64, 4), 'float32')
layout[:] = h5py.VirtualSource('pipe.h5', 'x', (64, 4))
with h5py.File('v.h5', 'w') as f: f.create_virtual_dataset('input', layout); f['label'] = Y
)");
  EXPECT_SAYS(error("near.h5", {"input"}), "link to dataset /there of file far.h5, which cannot be opened");
  EXPECT_SAYS(error("near.h5", {"soft"}), "link to dataset / of file pipe.h5, which cannot be opened");
  EXPECT_SAYS(error("near.h5", {"circle"}), "cannot be opened");
  EXPECT_SAYS(error("v.h5", {"input"}), "is a named pipe");
  const Dataset data = Dataset::open(folder_.file("near.h5"));
  ASSERT_EQ(data.passed_over().size(), 2u);
  EXPECT_EQ(data.passed_over()[0].name, "folder/own");
  EXPECT_EQ(data.passed_over()[1].name, "input");
}

TEST_F(ForeignFiles, UnsignedNumbersAboveInt64AreRefusedNotCut) {
  write(R"(
U = np.arange(64, dtype='uint64')
with h5py.File('small.h5', 'w') as f: f['input'] = U
U[9] += 2**63
with h5py.File('large.h5', 'w') as f: f['input'] = U
)");
  EXPECT_EQ(values<int64_t>("small.h5", "input"), count<int64_t>(64));
  const std::string message = error_of([&] { values<int64_t>("large.h5", "input"); });
  EXPECT_SAYS(message, "rows 0 to 63 cannot be read: holds whole numbers of 2^63 and more");
}

TEST_F(ForeignFiles, ExternalStorageAsksForTrustAndIsCheckedForItsLength) {
  write(R"(
X.tofile('raw.bin')
with h5py.File('a.h5', 'w') as f: f.create_dataset('input', (64, 4), 'float32', external=[('raw.bin', 0, h5py.h5f.UNLIMITED)])
with h5py.File('b.h5', 'w') as f: f.create_dataset('input', (64, 4), 'float32', external=[('raw.bin', 0, 1024)])
)");
  EXPECT_SAYS(error("b.h5", {"input"}), "external_storage: true");
  DatasetOptions trusting;
  trusting.external_storage = true;
  EXPECT_EQ(values<float>("b.h5", "input", trusting), count<float>(256));
  fs::resize_file(folder_.file("raw.bin"), 512);
  EXPECT_SAYS(error("b.h5", {"input"}, trusting), "ends at byte 512");
  fs::remove(folder_.file("raw.bin"));
  EXPECT_SAYS(error("b.h5", {"input"}, trusting), "raw.bin");
}

TEST_F(ForeignFiles, OnlyFieldsThatAreNamedMustFit) {
  write(R"(
with h5py.File('a.h5', 'w') as f:
    f['X_train'] = X; f['y_train'] = Y; f['X_test'] = X[:8]; f['y_test'] = Y[:8]; f['class_weight'] = np.ones(4)
    f['complex'] = np.ones(3, 'complex64'); f['when'] = np.arange(3).astype('int64').view('V8'); f['text'] = 'some'
    f['X_train'].attrs['mean'] = 'of the year'; f['X_train'].attrs['stddev'] = 'none'; f['X_train'].attrs['checksum'] = 'md5:1'
    f['y_train'].attrs['checksum'] = 7
    f.attrs['class_names'] = 4
    f['train/input'] = X; f['train/deep/label'] = Y; f['flag'] = Y > 1; f['days'] = np.arange(64)
    f['days'].make_scale('day')
)");
  EXPECT_EQ(error("a.h5", {"X_train", "y_train"}), "");
  EXPECT_EQ(values<float>("a.h5", "X_train"), count<float>(256));
  EXPECT_EQ(values<float>("a.h5", "train/input"), count<float>(256));
  EXPECT_EQ(values<int64_t>("a.h5", "train/deep/label").size(), 64U);
  const Dataset test = Dataset::open(folder_.file("a.h5"), {.fields = {"X_test", "y_test"}});
  EXPECT_EQ(test.n_samples(), 8);
  EXPECT_SAYS(error("a.h5", {"X_train", "y_test"}), "y_test cannot be a field: it has another sample count");
  EXPECT_SAYS(error("a.h5", {"complex"}), "compound");
  EXPECT_SAYS(error("a.h5", {"text"}), "strings");
  const Dataset all = Dataset::open(folder_.file("a.h5"));
  EXPECT_EQ(all.n_samples(), 64);
  EXPECT_EQ(all.passed_over().size(), 6U);
  const std::vector<uint8_t> flags = values<uint8_t>("a.h5", "flag");
  for (size_t i = 0; i < flags.size(); ++i) EXPECT_EQ(flags[i], i % 4 > 1);
}

TEST_F(ForeignFiles, EnumerationsAndBitFieldsAreTheirNumbers) {
  write(R"(
kinds = h5py.enum_dtype({'RED': 0, 'GREEN': 1, 'BLUE': 300}, basetype='i2')
with h5py.File('a.h5', 'w') as f:
    f.create_dataset('kind', data=np.array([0, 1, 300, 1]), dtype=kinds)
    f.create_dataset('flag', data=np.array([True, False, True, True]), chunks=(2,), compression='lzf')
    space = h5py.h5s.create_simple((4,))
    bits = h5py.h5d.create(f.id, b'bits', h5py.h5t.STD_B8LE, space)
    bits.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array([1, 0, 0, 1], 'uint8'), mtype=h5py.h5t.NATIVE_B8)
)");
  EXPECT_EQ(values<int32_t>("a.h5", "kind"), (std::vector<int32_t>{0, 1, 300, 1}));
  EXPECT_EQ(values<uint8_t>("a.h5", "flag"), (std::vector<uint8_t>{1, 0, 1, 1}));
  EXPECT_EQ(values<uint8_t>("a.h5", "bits"), (std::vector<uint8_t>{1, 0, 0, 1}));
}

TEST_F(ForeignFiles, ShardsOfUnequalTypesWiden) {
  write(R"(
os.mkdir('d')
for i, t in enumerate(['float16', 'float64', 'float32', '>f4']):
    with h5py.File(f'd/{i}.h5', 'w') as f: f.create_dataset('input', data=X.astype(t), chunks=(8, 4), compression='gzip' if i % 2 else None); f['label'] = Y.astype(['uint8', 'int16', 'int64', 'uint32'][i])
os.mkdir('mixed')
for t in ['float32', 'int32']:
    with h5py.File(f'mixed/{t}.h5', 'w') as f: f['input'] = X.astype(t)
)");
  std::vector<double> expected;
  for (int i = 0; i < 4; ++i)
    for (const double x : count<double>(256)) expected.push_back(x);
  EXPECT_EQ(values<double>("d", "input"), expected);
  const std::vector<int64_t> labels = values<int64_t>("d", "label");
  ASSERT_EQ(labels.size(), 256U);
  for (size_t i = 0; i < labels.size(); ++i) EXPECT_EQ(labels[i], static_cast<int64_t>(i % 4));
  EXPECT_SAYS(error("mixed", {"input"}), "int32 (4)");
}

TEST_F(ForeignFiles, LzfIsRead) {
  write(R"(
with h5py.File('a.h5', 'w') as f:
    for name, t in [('f', 'float32'), ('big', '>f8'), ('small', 'int16')]:
        f.create_dataset(name, data=X.astype(t), chunks=(8, 3), compression='lzf', shuffle=name != 'f', fletcher32=name == 'f')
    f.create_dataset('zeros', data=np.zeros((64, 400), 'float32'), chunks=(64, 400), compression='lzf')
)");
  EXPECT_EQ(values<float>("a.h5", "f"), count<float>(256));
  EXPECT_EQ(values<double>("a.h5", "big"), count<double>(256));
  EXPECT_EQ(values<int32_t>("a.h5", "small"), count<int32_t>(256));
  EXPECT_EQ(values<float>("a.h5", "zeros"), std::vector<float>(64 * 400));
}

TEST_F(ForeignFiles, AMissingFilterIsNamedBeforeAnythingIsRead) {
  // An identifier that the registry does not know, on a dataset without chunks in the file.
  write(R"(
with h5py.File('a.h5', 'w') as f:
    space = h5py.h5s.create_simple((64, 4))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((8, 4))
    plist.set_filter(32766, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    h5py.h5d.create(f.id, b'input', h5py.h5t.NATIVE_FLOAT, space, plist)
    f['label'] = Y
)");
  EXPECT_SAYS(error("a.h5", {"input"}), "filter 32766");
  EXPECT_SAYS(error("a.h5", {"input"}), "pip install hdf5plugin");
  EXPECT_EQ(error("a.h5", {"label"}), "");
}

TEST_F(ForeignFiles, ChannelsLastImagesAreTurned) {
  write(R"(
images = np.random.default_rng(1).integers(0, 256, (10, 6, 5, 3), dtype='uint8')
with h5py.File('a.h5', 'w') as f:
    f['image'] = images; f['first'] = np.ascontiguousarray(images.transpose(0, 3, 1, 2)); f['label'] = Y[:10]
    f['told'] = images.astype('float32'); f['told'].attrs['layout'] = 'channels_last'
    f['same'] = images.transpose(0, 3, 1, 2).astype('float32')
)");
  DatasetOptions last;
  last.layout = "NHWC";
  last.fields = {"image"};
  EXPECT_EQ(Dataset::open(folder_.file("a.h5"), last).field("image").shape, (Shape{3, 6, 5}));
  EXPECT_EQ(values<uint8_t>("a.h5", "image", last), values<uint8_t>("a.h5", "first"));
  EXPECT_EQ(values<float>("a.h5", "told"), values<float>("a.h5", "same"));
}

TEST_F(ForeignFiles, PackedNumbersOfNetcdfAreUnpackedAndGapsAreNamed) {
  write(R"(
with h5py.File('a.h5', 'w') as f:
    f['t'] = np.arange(64, dtype='int16'); f['t'].attrs['scale_factor'] = 0.5; f['t'].attrs['add_offset'] = 10.0
    f['gap'] = np.arange(64, dtype='int16'); f['gap'].attrs['_FillValue'] = np.array([40], 'int16')
    f['nan'] = np.arange(64, dtype='float32'); f['nan'].attrs['_FillValue'] = np.float32('nan')
with h5py.File('b.nc', 'w') as f:
    f.attrs['_NCProperties'] = 'version=2'
    f['x'] = np.array([1, 9.969209968386869e36], 'float32')
)");
  const std::vector<float> t = values<float>("a.h5", "t");
  for (size_t i = 0; i < t.size(); ++i) EXPECT_EQ(t[i], 10 + 0.5F * static_cast<float>(i));
  EXPECT_SAYS(error_of([&] { values<int32_t>("a.h5", "gap"); }), "row 40");
  EXPECT_EQ(values<float>("a.h5", "nan"), count<float>(64));
  EXPECT_SAYS(error_of([&] { values<float>("b.nc", "x"); }), "row 1");
}

TEST_F(ForeignFiles, TablesOfPandasAndDimensionsOfNetcdfAreNamed) {
  write(R"(
with h5py.File('table.h5', 'w') as f:
    f.create_dataset('df/table', data=np.zeros(64, [('index', 'i8'), ('values', 'f4', (4,))]))
    f['df/meta/empty'] = np.zeros(0)
with h5py.File('fixed.h5', 'w') as f:
    f['df/block0_values'] = X; f['df/axis0'] = np.array(['a', 'b', 'c', 'd'], 'S1')
with h5py.File('dim.nc', 'w') as f:
    f['input'] = X; f['t'] = np.zeros(64, '>f4'); f['t'].make_scale('This is a netCDF dimension but not a netCDF variable.        64')
with h5py.File('sparse.h5ad', 'w') as f: f['X/data'] = Y; f['X/indptr'] = Y; f['X/indices'] = Y; f['label'] = Y
with h5py.File('a.h5ad', 'w') as f: f['X'] = X; f['obs/kind/codes'] = Y.astype('int8'); f['obs/kind/categories'] = np.array(['w', 'x'], 'S1')
)");
  EXPECT_SAYS(error("sparse.h5ad", {"X"}), "toarray");
  EXPECT_SAYS(error("table.h5", {}), "df/table, which holds compound elements");
  EXPECT_EQ(values<float>("fixed.h5", "df/block0_values"), count<float>(256));
  EXPECT_EQ(Dataset::open(folder_.file("dim.nc")).fields().size(), 1U);
  EXPECT_EQ(values<int32_t>("a.h5ad", "obs/kind/codes")[7], 3);
}

TEST_F(ForeignFiles, ADamagedChunkWithoutAChecksumIsFoundByReadingIt) {
  write(
      "with h5py.File('a.h5', 'w') as f: f.create_dataset('input', data=X, chunks=(8, 4), "
      "compression='gzip')\n");
  int64_t n_checked = 0, n_unchecked = 0;
  EXPECT_TRUE(Dataset::open(folder_.file("a.h5")).verify(&n_checked, &n_unchecked).empty());
  EXPECT_EQ(n_unchecked, 1);
  write(R"(
with h5py.File('a.h5') as f: at = f['input'].id.get_chunk_info(3)
with open('a.h5', 'r+b') as f: f.seek(at.byte_offset + 5); f.write(b'\xff\xff\xff')
)");
  const std::vector<std::string> problems =
      Dataset::open(folder_.file("a.h5")).verify(&n_checked, &n_unchecked);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_SAYS(problems[0], "rows");
}

TEST_F(ForeignFiles, OtherFormatsAreNamedWithTheirCure) {
  write(R"(
np.save('a.npy', X); np.savez('a.npz', X=X); open('e.h5', 'w').close(); open('page.h5', 'w').write('<!DOCTYPE html>')
with h5py.File('good.h5', 'w') as f: f['input'] = X
data = open('good.h5', 'rb').read(); open('cut.h5', 'wb').write(data[:len(data) // 2])
with h5py.File('swmr.h5', 'w', libver='latest') as f:
    f['input'] = X; f.swmr_mode = True; f.flush()
    import shutil; shutil.copy('swmr.h5', 'open.h5')
)");
  EXPECT_SAYS(error("a.npy", {"input"}), "array of NumPy");
  EXPECT_SAYS(error("a.npz", {"input"}), "zip archive");
  EXPECT_SAYS(error("e.h5", {"input"}), "it is empty");
  EXPECT_SAYS(error("page.h5", {"input"}), "web page");
  EXPECT_SAYS(error("cut.h5", {"input"}), "cut off");
  EXPECT_SAYS(error("open.h5", {"input"}), "h5clear");
}

TEST_F(ForeignFiles, FieldsOfSeveralFilesGoTogetherRowByRow) {
  write(R"(
with h5py.File('x.h5', 'w') as f: f['data'] = X
os.mkdir('y')
for i in range(2):
    with h5py.File(f'y/{i}.h5', 'w') as f: f['data'] = Y[32 * i:32 * i + 32]
with h5py.File('short.h5', 'w') as f: f['data'] = Y[:9]
)");
  const auto open = [&](const std::string& name) {
    return std::make_shared<const Dataset>(Dataset::open(folder_.file(name)));
  };
  const Dataset both = Dataset::join({{"in", "data", open("x.h5")}, {"out", "data", open("y")}});
  EXPECT_EQ(both.n_samples(), 64);
  std::vector<float> x(256);
  std::vector<int64_t> y(64);
  both.read("in", 0, 64, x.data());
  both.read("out", 0, 64, y.data());
  EXPECT_EQ(x, count<float>(256));
  EXPECT_EQ(y[37], 1);
  EXPECT_SAYS(error_of([&] {
                Dataset::join({{"in", "data", open("x.h5")}, {"out", "data", open("short.h5")}});
              }),
              "9 samples");
}

}  // namespace
}  // namespace lockstep
