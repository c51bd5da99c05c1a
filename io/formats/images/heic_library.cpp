// See heic_library.h.
#include "io/formats/images/heic_library.h"

#include <dlfcn.h>

#include <type_traits>

namespace lockstep::detail {

const HeicLibrary& heic_library() {
  static const HeicLibrary kLibrary = [] {
    HeicLibrary library;
    void* handle = dlopen("libheif.so.1", RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return library;
    library.found = true;
    const auto load = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
      library.found = library.found && function != nullptr;
    };
    load(library.get_version, "heif_get_version");
    load(library.context_alloc, "heif_context_alloc");
    load(library.context_free, "heif_context_free");
    load(library.context_set_max_decoding_threads, "heif_context_set_max_decoding_threads");
    load(library.context_read_from_memory_without_copy, "heif_context_read_from_memory_without_copy");
    load(library.context_get_number_of_top_level_images, "heif_context_get_number_of_top_level_images");
    load(library.context_get_primary_image_handle, "heif_context_get_primary_image_handle");
    load(library.image_handle_release, "heif_image_handle_release");
    load(library.image_handle_get_width, "heif_image_handle_get_width");
    load(library.image_handle_get_height, "heif_image_handle_get_height");
    load(library.image_handle_get_luma_bits_per_pixel, "heif_image_handle_get_luma_bits_per_pixel");
    load(library.decoding_options_alloc, "heif_decoding_options_alloc");
    load(library.decoding_options_free, "heif_decoding_options_free");
    load(library.decode_image, "heif_decode_image");
    load(library.image_release, "heif_image_release");
    load(library.image_get_decoding_warnings, "heif_image_get_decoding_warnings");
    load(library.image_get_plane_readonly, "heif_image_get_plane_readonly");
    load(library.image_get_width, "heif_image_get_width");
    load(library.image_get_height, "heif_image_get_height");
    load(library.image_get_bits_per_pixel_range, "heif_image_get_bits_per_pixel_range");
    return library;
  }();
  return kLibrary;
}

}  // namespace lockstep::detail
