// Images as the rows of a conversion, wherever they lie: what folders and archives share.
#pragma once

#include <memory>
#include <string>

#include "io/convert/convert_rows.h"
#include "io/convert/image_listing.h"
#include "io/convert/image_rows.h"

namespace lockstep {

/// Throws Error where channels, sizes or bits are not possible.
void check_image_options(const ImagesOptions& options);

ImageRows::Options image_row_options(const ImagesOptions& options, const std::string& folder);

/// Collective. `rows` are the files of `listing`, which is the same on all ranks but for its notes; `place`
/// is what errors show of all of them. Finds bits and size, leaves out damaged files where options.on_error
/// says so. Throws AgreedError.
ConvertInput image_source(Communicator& comm, const ImagesOptions& options, ImageListing listing,
                          const std::shared_ptr<ImageRows>& rows, const std::string& place);

}  // namespace lockstep
