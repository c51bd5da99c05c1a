// How loops of this folder become vector code: plain loops, compiled once per instruction set
// and chosen when the program starts, so that one binary runs on every x86-64 machine. No sum
// is reordered and nothing is contracted (-ffp-contract=off): all clones give equal bits.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define LOCKSTEP_VECTORIZE __attribute__((target_clones("avx512f", "avx2", "default")))
#else  // the choice at start-up runs before a sanitizer is ready
#define LOCKSTEP_VECTORIZE
#endif

/// For helpers and lambdas: they must become part of the clone that calls them.
#define LOCKSTEP_INLINE inline __attribute__((always_inline))
#define LOCKSTEP_INLINE_LAMBDA __attribute__((always_inline))
