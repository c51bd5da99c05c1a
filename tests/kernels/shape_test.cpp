// Shape refuses more dimensions than it has room for in every build; text on its way to a terminal.
#include "kernels/shape.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/printable.h"
#include "tests/support/error_of.h"

namespace lockstep {
namespace {

TEST(Shape, RefusesMoreThanItsRank) {
  const std::vector<int64_t> many(200, 2), most(Shape::kMaxRank, 2);
  EXPECT_NAMES(error_of([&] { Shape{std::span<const int64_t>(many)}; }), "200 dimensions; at most 8");
  Shape full{std::span<const int64_t>(most)};
  EXPECT_EQ(full.n_elements(), 256);
  EXPECT_NAMES(error_of([&] { full.with_front(2); }), "9 dimensions; at most 8");
  EXPECT_NAMES(error_of([&] { Shape{}.without_front(); }), "no first");
  EXPECT_NAMES(error_of([&] { Shape({1, 1, 1, 1, 1, 1, 1, 1, 1}); }), "9 dimensions");
}

TEST(Printable, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(printable("cat \xC3\xA9 \xE7\x8C\xAB \xF0\x9F\x98\x80"),
            "cat \xC3\xA9 \xE7\x8C\xAB \xF0\x9F\x98\x80");
  EXPECT_EQ(printable("\x1B[2Ja\nb\tc\r\x7F"), "\\x1B[2Ja\\x0Ab\\x09c\\x0D\\x7F");
  EXPECT_EQ(printable_lines("a\n\tb\x1B]0;x\x07"), "a\n\tb\\x1B]0;x\\x07");
  EXPECT_EQ(printable("a\xC2\x9B"
                      "2J"),
            "a\\xC2\\x9B2J");  // CSI of one character
  EXPECT_EQ(printable("\x9B"
                      "2J\xFF\xC0\x80"),
            "\\x9B2J\\xFF\\xC0\\x80");  // no UTF-8
  EXPECT_EQ(printable("a\xE2\x80\xAE"
                      "b\xE2\x81\xA6"),
            "a\\xE2\\x80\\xAEb\\xE2\\x81\\xA6");                                       // backwards
  EXPECT_EQ(printable("\xED\xA0\x80\xF5\xE7\x8C"), "\\xED\\xA0\\x80\\xF5\\xE7\\x8C");  // a surrogate, a cut
}

}  // namespace
}  // namespace lockstep
