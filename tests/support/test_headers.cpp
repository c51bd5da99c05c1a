// A program for the sake of its precompiled header, which the tests share.
#include "tests/support/test_headers.h"

int main() { return 0; }
