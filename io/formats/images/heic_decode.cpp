// HEIC and AVIF through libheif, which turns, mirrors and crops as the file says. Alpha is dropped. Files of
// 10 or 12 bits are scaled to 16 where 16 are wanted.
#include <algorithm>
#include <cstring>
#include <memory>

#include "io/formats/images/heic_library.h"
#include "io/formats/images/image_formats.h"

namespace lockstep::detail {

namespace {

const HeicLibrary& heif() { return heic_library(); }

void check_heif(const heif_error& error) {
  if (error.code == heif_error_Ok) return;
  if (error.code == heif_error_Unsupported_filetype || error.code == heif_error_Unsupported_feature)
    throw ImageFault{.refusal = "is of a sort that libheif does not read: " + std::string(error.message),
                     .remedy = "save it as PNG or JPEG"};
  throw ImageFault{error.message};
}

struct FreeHeif {
  void operator()(heif_context* p) const { heif().context_free(p); }
  void operator()(const heif_image_handle* p) const { heif().image_handle_release(p); }
  void operator()(const heif_image* p) const { heif().image_release(p); }
  void operator()(heif_decoding_options* p) const { heif().decoding_options_free(p); }
};

/// A file with its one picture, its pixels not decoded yet.
struct HeicFile {
  std::unique_ptr<heif_context, FreeHeif> context{heif().context_alloc()};
  std::unique_ptr<heif_image_handle, FreeHeif> picture;

  explicit HeicFile(std::span<const uint8_t> file) {
    if (!context) throw ImageFault{"libheif has no memory"};
    heif().context_set_max_decoding_threads(context.get(),
                                            0);  // in this thread: files are shared out already
    check_heif(
        heif().context_read_from_memory_without_copy(context.get(), file.data(), file.size(), nullptr));
    const int n = heif().context_get_number_of_top_level_images(context.get());
    if (n != 1)
      throw ImageFault{.refusal = "holds " + std::to_string(n) + " images, not one",
                       .remedy = "save each as a file of its own"};
    heif_image_handle* handle = nullptr;
    check_heif(heif().context_get_primary_image_handle(context.get(), &handle));
    picture.reset(handle);
  }
};

int64_t heic_bits(std::span<const uint8_t> file) {
  try {
    return heif().image_handle_get_luma_bits_per_pixel(HeicFile(file).picture.get()) > 8 ? 16 : 8;
  } catch (const ImageFault&) {  // who decodes it says so
    return 8;
  }
}

void decode_or_throw(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst) {
  const HeicFile opened(file);
  const heif_image_handle* picture = opened.picture.get();
  const auto stated_width = static_cast<uint64_t>(std::max(0, heif().image_handle_get_width(picture)));
  const auto stated_height = static_cast<uint64_t>(std::max(0, heif().image_handle_get_height(picture)));
  if (std::string fault = too_many_pixels(stated_width, stated_height); !fault.empty())
    throw ImageFault{fault};
  const std::unique_ptr<heif_decoding_options, FreeHeif> options(heif().decoding_options_alloc());
  const bool deep = bits == 16 && heif().image_handle_get_luma_bits_per_pixel(picture) > 8;
  options->convert_hdr_to_8bit = deep ? 0 : 1;
  options->strict_decoding = 1;
  heif_image* decoded = nullptr;
  check_heif(heif().decode_image(picture, &decoded, heif_colorspace_RGB,
                                 deep ? heif_chroma_interleaved_RRGGBB_LE : heif_chroma_interleaved_RGB,
                                 options.get()));
  const std::unique_ptr<heif_image, FreeHeif> image(decoded);
  heif_error warning{};
  if (heif().image_get_decoding_warnings(image.get(), 0, &warning, 1) > 0) check_heif(warning);
  int stride = 0;
  const uint8_t* plane = heif().image_get_plane_readonly(image.get(), heif_channel_interleaved, &stride);
  if (plane == nullptr) throw ImageFault{"libheif gave no pixels"};
  dst.height = heif().image_get_height(image.get(), heif_channel_interleaved);
  dst.width = heif().image_get_width(image.get(), heif_channel_interleaved);
  dst.channels = 3;
  dst.bits = deep ? 16 : 8;
  const auto n = static_cast<size_t>(dst.width * 3);
  if (!deep) {
    dst.pixels.resize(static_cast<size_t>(dst.height) * n);
    for (int64_t y = 0; y < dst.height; ++y)
      std::memcpy(dst.pixels.data() + static_cast<size_t>(y) * n, plane + y * stride, n);
  } else {
    const uint32_t largest =
        (1U << heif().image_get_bits_per_pixel_range(image.get(), heif_channel_interleaved)) - 1;
    dst.deep.resize(static_cast<size_t>(dst.height) * n);
    for (int64_t y = 0; y < dst.height; ++y)
      for (size_t i = 0; i < n; ++i) {
        const uint8_t* sample = plane + y * stride + 2 * i;
        const uint32_t value = std::min<uint32_t>(largest, sample[0] | sample[1] << 8);
        dst.deep[static_cast<size_t>(y) * n + i] =
            static_cast<uint16_t>((value * 65535 + largest / 2) / largest);
      }
  }
  to_wanted(channels, bits, dst);
}

ImageFault decode_heic(std::span<const uint8_t> file, int64_t channels, int64_t bits, Image& dst) {
  try {
    decode_or_throw(file, channels, bits, dst);
    return {};
  } catch (const ImageFault& fault) {
    return fault;
  }
}

}  // namespace

FormatDecoder heic_decoder() {
  if (!heif().found) return {.remedy = "install libheif1 (1.15 or newer)"};
  return {.decode = decode_heic,
          .stored_bits = heic_bits,
          .decoded_by = std::string("libheif ") + heif().get_version()};
}

}  // namespace lockstep::detail
