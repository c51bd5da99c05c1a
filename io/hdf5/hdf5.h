// HDF5 behind small RAII handles: one checked function per call, and one process-wide lock,
// because the parallel HDF5 build is not thread-safe. Only io/ includes this file.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/dtype.h"
#include "kernels/shape.h"

namespace lockstep::h5 {

/// Held around every HDF5 call of the process (recursive: helpers may nest).
std::unique_lock<std::recursive_timed_mutex> lock();
/// The same, but not owned where another thread does not give it back within `limit_s`: it may wait in a
/// collective call for a rank that is lost.
std::unique_lock<std::recursive_timed_mutex> lock_within(double limit_s);
/// Frees the lock in a child process after fork(): the thread that held it does not exist there.
void free_lock_after_fork();

/// An owned HDF5 id of any kind (file, dataset, space, type, property list, attribute, group).
class Id {
 public:
  Id() = default;
  explicit Id(hid_t id) : id_(id) {}
  ~Id() { reset(); }
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Id& operator=(Id&& other) noexcept;
  Id(const Id&) = delete;
  Id& operator=(const Id&) = delete;
  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  hid_t release() { return std::exchange(id_, -1); }  // gives up ownership without closing
  void reset();                                       // quiet
  void close();  // throws Error when HDF5 reports a failure (a full disk shows up here)

 private:
  hid_t id_ = -1;
};

/// Throws Error{where, "<call> failed: <HDF5's own text>"} if `id` is negative.
Id own(hid_t id, const char* call, const std::string& where);
void check(herr_t status, const char* call, const std::string& where);

Id open_file(const std::string& path);  // read only
Id create_file(const std::string& path, hid_t access_plist = H5P_DEFAULT);

hid_t native_type(DType dtype);  // not owned
DType dtype_of(hid_t dataset_type, const std::string& where);

/// Null where it cannot be opened: then check(-1, …) says why. Links to other files are followed, but only to
/// regular ones: opening a named pipe would wait for ever. So do the functions below.
Id open_dataset(hid_t parent, const std::string& name);
Id open_group(hid_t parent, const std::string& name);
bool has_link(hid_t parent, const std::string& name);
std::vector<std::string> dataset_names(hid_t group);  // of this group, in name order
std::vector<std::string> group_names(hid_t group);
/// Datasets of this group and of the groups in it, as paths ("train/input"), those of this group first, and
/// links to other files that lead nowhere; at most `limit`, four groups deep.
std::vector<std::string> dataset_paths(hid_t group, size_t limit);
/// Where an external link on the way to `path` leads, as "dataset /x of file y"; empty where there is none.
std::string external_link_on(hid_t file, const std::string& path);
Shape shape_of(hid_t dataset);

/// A dataset of texts with one dimension (UTF-8); nothing where it is of another kind. Throws Error where it
/// claims more than a file of file_bytes can hold, or cannot be read.
std::optional<std::vector<std::string>> read_text_dataset(hid_t parent, const std::string& name,
                                                          int64_t file_bytes, const std::string& where);
/// Creates it, of variable length. Throws Error where a text holds a zero byte.
void write_text_dataset(hid_t parent, const std::string& name, const std::vector<std::string>& texts,
                        const std::string& where);

/// Attributes; strings are UTF-8. Writing replaces. Reads throw Error when the attribute is absent or of
/// another kind.
bool has_attribute(hid_t object, const std::string& name);
enum class AttributeKind { kAbsent, kNumber, kString, kOther };
AttributeKind kind_of_attribute(hid_t object, const std::string& name);
std::vector<std::string> attribute_names(hid_t object);  // in name order
void write_attribute(hid_t object, const std::string& name, int64_t value);
void write_attribute(hid_t object, const std::string& name, uint64_t value);
void write_attribute(hid_t object, const std::string& name, double value);
void write_attribute(hid_t object, const std::string& name, const std::string& value);
void write_attribute(hid_t object, const std::string& name, const std::vector<double>& values);
void write_attribute(hid_t object, const std::string& name, const std::vector<std::string>& values);
int64_t read_int_attribute(hid_t object, const std::string& name, const std::string& where);
uint64_t read_uint_attribute(hid_t object, const std::string& name, const std::string& where);
double read_double_attribute(hid_t object, const std::string& name, const std::string& where);
std::string read_string_attribute(hid_t object, const std::string& name, const std::string& where);
std::vector<double> read_doubles_attribute(hid_t object, const std::string& name, const std::string& where);
std::vector<std::string> read_strings_attribute(hid_t object, const std::string& name,
                                                const std::string& where);

}  // namespace lockstep::h5
