#include "io/hdf5/elements.h"

#include "kernels/error.h"

namespace lockstep {

h5::Id stored_type(hid_t dataset, const std::string& where) {
  const auto guard = h5::lock();
  const h5::Id type = h5::own(H5Dget_type(dataset), "H5Dget_type", where);
  h5::Id native = h5::own(H5Tcopy(type.get()), "H5Tcopy", where);
  h5::check(H5Tset_order(native.get(), H5T_ORDER_LE), "H5Tset_order", where);
  return native;
}

Elements elements_of(hid_t stored_type) {
  const auto guard = h5::lock();
  Elements out;
  const size_t n_bytes = H5Tget_size(stored_type);
  switch (H5Tget_class(stored_type)) {
    case H5T_INTEGER: {
      const bool is_signed = H5Tget_sign(stored_type) == H5T_SGN_2;
      out.dtype = n_bytes == 1 && !is_signed                   ? DType::kUInt8
                  : n_bytes < 4 || (n_bytes == 4 && is_signed) ? DType::kInt32
                                                               : DType::kInt64;
      if (n_bytes > 8) out.unusable = "holds integers of more than 64 bits";
      break;
    }
    case H5T_FLOAT: {
      size_t sign = 0, exponent_at = 0, exponent_bits = 0, mantissa_at = 0, mantissa_bits = 0;
      if (H5Tget_fields(stored_type, &sign, &exponent_at, &exponent_bits, &mantissa_at, &mantissa_bits) < 0)
        H5Eclear2(H5E_DEFAULT);
      const bool is_half = n_bytes == 2 && exponent_bits == 5, is_bfloat = n_bytes == 2 && exponent_bits == 8;
      if (n_bytes > 8)
        out.unusable = "holds floating-point numbers of more than 64 bits";
      else if (!is_half && !is_bfloat && n_bytes != 4 && n_bytes != 8)
        out.unusable = "holds floating-point numbers of " + std::to_string(8 * n_bytes) +
                       " bits that are neither float16 nor bfloat16";
      out.dtype = is_half        ? DType::kFloat16
                  : is_bfloat    ? DType::kBFloat16
                  : n_bytes == 4 ? DType::kFloat32
                                 : DType::kFloat64;
      break;
    }
    case H5T_ENUM: {  // h5py's booleans among them
      const h5::Id base(H5Tget_super(stored_type));
      out = elements_of(base.get());
      if (n_bytes == 1) out.dtype = DType::kUInt8;  // int8 of True and False
      out.as_stored = n_bytes == 1 || out.as_stored;
      return out;
    }
    case H5T_BITFIELD:  // PyTables' booleans
      out.dtype = DType::kUInt8;
      out.as_stored = true;
      if (n_bytes != 1) out.unusable = "holds bit fields of more than 8 bits; store whole numbers";
      return out;
    case H5T_STRING: out.unusable = "holds strings"; return out;
    case H5T_COMPOUND:
      out.unusable = "holds compound elements or complex numbers; store one dataset per member";
      return out;
    case H5T_ARRAY: out.unusable = "holds arrays as elements; store them as further dimensions"; return out;
    case H5T_VLEN: out.unusable = "holds sequences of unequal lengths; pad them to one length"; return out;
    case H5T_OPAQUE:
      out.unusable =
          "holds opaque elements (dates, or types of ml_dtypes such as bfloat16); store them as float32 or "
          "whole numbers";
      return out;
    case H5T_REFERENCE: out.unusable = "holds references"; return out;
    default: out.unusable = "does not hold numbers"; return out;
  }
  if (out.unusable.empty()) out.as_stored = H5Tequal(stored_type, h5::native_type(out.dtype)) > 0;
  return out;
}

h5::Id memory_type(hid_t dataset, DType dtype, const std::string& where) {
  const auto guard = h5::lock();
  const h5::Id type = h5::own(H5Dget_type(dataset), "H5Dget_type", where);
  const bool is_raw = H5Tget_class(type.get()) == H5T_BITFIELD;  // HDF5 converts these to nothing else
  return h5::own(H5Tcopy(is_raw ? type.get() : h5::native_type(dtype)), "H5Tcopy", where);
}

namespace {

/// The only conversion that loses numbers is that of uint64 above int64: HDF5 would give its largest.
H5T_conv_ret_t refuse_too_large(H5T_conv_except_t kind, hid_t, hid_t, void*, void*, void* is_too_large) {
  if (kind != H5T_CONV_EXCEPT_RANGE_HI) return H5T_CONV_UNHANDLED;
  *static_cast<bool*>(is_too_large) = true;
  return H5T_CONV_ABORT;
}

}  // namespace

void read_rows(hid_t dataset, hid_t type, int64_t first, int64_t count, void* dst, const std::string& where) {
  if (count == 0) return;
  const auto guard = h5::lock();
  const h5::Id file_space = h5::own(H5Dget_space(dataset), "H5Dget_space", where);
  hsize_t start[Shape::kMaxRank] = {}, extent[Shape::kMaxRank] = {};
  const int rank = H5Sget_simple_extent_dims(file_space.get(), extent, nullptr);
  h5::check(rank, "H5Sget_simple_extent_dims", where);
  start[0] = static_cast<hsize_t>(first);
  extent[0] = static_cast<hsize_t>(count);
  h5::check(H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start, nullptr, extent, nullptr),
            "H5Sselect_hyperslab", where);
  const h5::Id memory_space = h5::own(H5Screate_simple(rank, extent, nullptr), "H5Screate_simple", where);
  bool is_too_large = false;
  const h5::Id transfer = h5::own(H5Pcreate(H5P_DATASET_XFER), "H5Pcreate", where);
  h5::check(H5Pset_type_conv_cb(transfer.get(), refuse_too_large, &is_too_large), "H5Pset_type_conv_cb",
            where);
  const herr_t status = H5Dread(dataset, type, memory_space.get(), file_space.get(), transfer.get(), dst);
  if (is_too_large)
    throw Error(where, "holds whole numbers of 2^63 and more, which no int64 holds",
                "store them as float64, or as smaller numbers");
  h5::check(status, "H5Dread", where);
}

}  // namespace lockstep
