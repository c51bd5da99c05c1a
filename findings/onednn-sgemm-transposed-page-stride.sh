#!/usr/bin/env bash
# oneDNN 3.2.0 (PyPI onednn-devel-cpu-gomp 2023.2.0) on x86-64 with AVX2, one thread.
# Guess: dnnl_sgemm packs its matrices, so that the product of a transposed matrix runs at one rate whatever its row length.
# Behaviour: packing a transposed matrix goes down its columns. Rows of 1024 floats put a column's elements 4096 bytes apart,
# all in the same few cache sets, and the whole product runs at less than two thirds of its rate; rows of 1024 floats that
# stand 1040 apart (lda) run at the full one. Gradients of weights of layers with 1024, 2048, ... outputs are such products.
# With AVX-512 not run.
# Needs a core that is not busy.
# Seen:
#   rows side by side slower than rows with a gap: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onednn-devel-cpu-gomp==2023.2.0 onednn-cpu-gomp==2023.2.0
cat >"$folder/product.cpp" <<'SOURCE'
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

double seconds(long lda) {
  const long m = 1024, n = 256, k = 2048;
  std::vector<float> a(static_cast<size_t>(k * lda), 0.5f), b(static_cast<size_t>(k * n), 0.25f),
      c(static_cast<size_t>(m * n));
  double best = 1e9;
  for (int run = 0; run < 9; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    dnnl_sgemm('T', 'N', m, n, k, 1.0f, a.data(), lda, b.data(), n, 0.0f, c.data(), n);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

int main() {
  const double dense = seconds(1024), gap = seconds(1040);
  std::fprintf(stderr, "1024 apart %.1f ms, 1040 apart %.1f ms\n", dense * 1e3, gap * 1e3);
  std::printf("rows side by side slower than rows with a gap: %s\n", dense > 1.5 * gap ? "True" : "False");
}
SOURCE
prefix=$folder/venv
g++ -std=c++17 -O2 -I"$prefix/include" "$folder/product.cpp" -o "$folder/product" -L"$prefix/lib" -ldnnl -Wl,-rpath,"$prefix/lib"
OMP_NUM_THREADS=1 "$folder/product" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
rows side by side slower than rows with a gap: True
SEEN
