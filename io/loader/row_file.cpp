// Rank 0 lays the file out through HDF5 with early allocated, contiguous datasets; every rank
// then writes its rows straight to their place in the file. Rows of different ranks are
// disjoint, so nobody waits until close().
#include "io/loader/row_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "comm/agreement.h"
#include "io/files/files.h"
#include "io/hdf5/hdf5.h"
#include "kernels/error.h"

namespace lockstep {

namespace {

/// The dataset "file": UTF-8 of the longest name's length, filled up with zeros.
void write_names(hid_t file, const std::vector<std::string>& names, const std::string& path) {
  size_t longest = 1;
  for (const std::string& name : names) longest = std::max(longest, name.size());
  std::vector<char> text(names.size() * longest);
  for (size_t i = 0; i < names.size(); ++i)
    std::memcpy(text.data() + i * longest, names[i].data(), names[i].size());
  const h5::Id type = h5::own(H5Tcopy(H5T_C_S1), "H5Tcopy", path);
  h5::check(H5Tset_size(type.get(), longest), "H5Tset_size", path);
  h5::check(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "H5Tset_strpad", path);
  h5::check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "H5Tset_cset", path);
  const hsize_t extent = names.size();
  const h5::Id space = h5::own(H5Screate_simple(1, &extent, nullptr), "H5Screate_simple", path);
  const h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
  h5::check(H5Pset_obj_track_times(plist.get(), false), "H5Pset_obj_track_times", path);
  const h5::Id dataset =
      h5::own(H5Dcreate2(file, "file", type.get(), space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
              "H5Dcreate2", path);
  h5::check(H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.data()), "H5Dwrite",
            path);
}

/// Creates the empty datasets and returns where each one's content begins.
std::vector<int64_t> lay_out(const std::string& path, const std::vector<Field>& fields, int64_t n_rows,
                             const RowNames& names) {
  const auto guard = h5::lock();
  std::vector<int64_t> offsets;
  h5::Id file = h5::create_file(path);
  h5::write_attribute(file.get(), "lockstep_format_version", int64_t{1});
  if (!names.classes.empty()) h5::write_attribute(file.get(), "class_names", names.classes);
  if (!names.rows.empty()) write_names(file.get(), names.rows, path);
  for (const Field& field : fields) {
    const Shape shape = field.shape.with_front(n_rows);
    std::vector<hsize_t> extents(shape.begin(), shape.end());
    const h5::Id space =
        h5::own(H5Screate_simple(shape.rank(), extents.data(), nullptr), "H5Screate_simple", path);
    const h5::Id plist = h5::own(H5Pcreate(H5P_DATASET_CREATE), "H5Pcreate", path);
    h5::check(H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY), "H5Pset_alloc_time", path);
    h5::check(H5Pset_obj_track_times(plist.get(), false), "H5Pset_obj_track_times", path);
    h5::check(H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER), "H5Pset_fill_time", path);
    const h5::Id dataset = h5::own(H5Dcreate2(file.get(), field.name.c_str(), h5::native_type(field.dtype),
                                              space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT),
                                   "H5Dcreate2", path);
    const haddr_t offset = H5Dget_offset(dataset.get());
    if (offset == HADDR_UNDEF && shape.n_elements() > 0)
      throw Error(path, "HDF5 gave '" + field.name + "' no place in the file",
                  "report it with `lockstep --version`, which names the HDF5 library");
    offsets.push_back(static_cast<int64_t>(offset));
  }
  file.close();
  return offsets;
}

}  // namespace

namespace {

/// Beforehand: HDF5 1.10 crashes at the end of a program that could not close a file.
void check_space(const std::string& path, const std::vector<Field>& fields, int64_t n_rows) {
  int64_t n_bytes = 0;
  for (const Field& field : fields) n_bytes += n_rows * field.shape.n_elements() * size_of(field.dtype);
  const int64_t n_free =
      std::min(free_bytes(std::filesystem::path(path).parent_path().string()), file_size_limit());
  if (n_free < n_bytes)
    throw Error(
        path,
        "needs about " + std::to_string((n_bytes >> 20) + 1) + " MiB of disk space; " +
            std::to_string(n_free >> 20) + " MiB are free",
        "free space on that file system, raise the limit of file sizes (ulimit -f), or choose another --out");
}

}  // namespace

struct RowFile::Impl {
  Communicator& comm;
  std::string path, temporary;
  std::vector<Field> fields;
  std::vector<int64_t> offsets;
  FileHandle file;
  bool closed = false;
};

RowFile::RowFile(Communicator& comm, const std::string& path, const std::vector<Field>& fields,
                 int64_t n_rows, const RowNames& names)
    : impl_(new Impl{comm, path, "", fields, std::vector<int64_t>(fields.size()), {}, false}) {
  Impl& p = *impl_;
  // A name that no other file has: what lies beside is not ours to replace.
  const std::filesystem::path target(path);
  p.temporary =
      comm.broadcast_string((target.parent_path() / ("." + target.filename().string() + "." + host_name() +
                                                     "-" + std::to_string(::getpid()) + ".tmp"))
                                .string());
  try {
    check_on_root(comm, [&] {
      const std::filesystem::path folder = std::filesystem::path(path).parent_path();
      if (!folder.empty()) std::filesystem::create_directories(folder);
      check_space(path, fields, n_rows);
      p.offsets = lay_out(p.temporary, fields, n_rows, names);
      int64_t n_bytes = 0;
      for (size_t f = 0; f < fields.size(); ++f)
        n_bytes = std::max(n_bytes,
                           p.offsets[f] + n_rows * fields[f].shape.n_elements() * size_of(fields[f].dtype));
      FileHandle(p.temporary, O_RDWR).reserve(n_bytes);  // a full disk is met here
    });
    comm.broadcast(p.offsets.data(), static_cast<int64_t>(p.offsets.size() * sizeof(int64_t)));
    all_or_none(comm, [&] { p.file = FileHandle(p.temporary, O_WRONLY); });
  } catch (...) {  // there will be no destructor
    if (comm.is_root()) std::remove(p.temporary.c_str());
    throw;
  }
}

RowFile::~RowFile() {
  if (!impl_->closed && impl_->comm.is_root()) std::remove(impl_->temporary.c_str());
}

void RowFile::write(const std::string& field, int64_t first, int64_t count, const void* data) {
  for (size_t f = 0; f < impl_->fields.size(); ++f) {
    if (impl_->fields[f].name != field) continue;
    const int64_t row_bytes = impl_->fields[f].shape.n_elements() * size_of(impl_->fields[f].dtype);
    impl_->file.write_at(data, count * row_bytes, impl_->offsets[f] + first * row_bytes);
    return;
  }
  throw Error(impl_->path, "has no field '" + field + "'", "name one of the fields that it was made with");
}

void RowFile::close() {
  Impl& p = *impl_;
  all_or_none(p.comm, [&] {
    p.file.sync();
    p.file.close();
  });
  check_on_root(p.comm, [&] { rename_durably(p.temporary, p.path); });
  p.closed = true;
}

}  // namespace lockstep
