# lockstep_room(NAME [WHOLE] [SHARED] SOURCES … LINKS … PRIVATE_LINKS …): the one library target of a room,
# with the include root, the warnings and the sanitizers that all rooms share.
include_guard()

add_library(lockstep_flags INTERFACE)
target_include_directories(lockstep_flags INTERFACE ${CMAKE_SOURCE_DIR})
# No contraction of a*b+c into a fused operation unless the source says so: the same bits
# from every compiler and every instruction set that a loop is cloned for.
target_compile_options(lockstep_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wno-missing-field-initializers -Wno-restrict -ffp-contract=off>)
# --expt-relaxed-constexpr: kernels call the constexpr functions of random.h.
target_compile_options(lockstep_flags INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers,-ffp-contract=off>")
if(LOCKSTEP_WERROR)
  target_compile_options(lockstep_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  target_compile_options(lockstep_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Werror>")
endif()
if(LOCKSTEP_SANITIZE)
  target_compile_options(lockstep_flags INTERFACE -fsanitize=${LOCKSTEP_SANITIZE} -fno-omit-frame-pointer -g)
  target_link_options(lockstep_flags INTERFACE -fsanitize=${LOCKSTEP_SANITIZE})
endif()

# For fuzzing: what reads bytes is watched (io, src, the harness); kernels and comm only have to link.
add_library(lockstep_fuzz_flags INTERFACE)
set(LOCKSTEP_FUZZED_ROOMS io src)
if(LOCKSTEP_FUZZ)
  set(LOCKSTEP_FUZZ_SANITIZERS -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  target_compile_options(lockstep_fuzz_flags INTERFACE ${LOCKSTEP_FUZZ_SANITIZERS} -O1 -gline-tables-only)
endif()

function(lockstep_room name)
  cmake_parse_arguments(ARG "WHOLE;SHARED" "" "SOURCES;LINKS;PRIVATE_LINKS" ${ARGN})
  set(target lockstep_${name})
  if(ARG_WHOLE)
    # Programs link the whole archive, also the objects that nobody names.
    add_library(${target} INTERFACE)
    set(target lockstep_${name}_objects)
    target_link_libraries(lockstep_${name} INTERFACE $<LINK_LIBRARY:WHOLE_ARCHIVE,${target}>)
  endif()
  set(kind STATIC)
  if(ARG_SHARED)
    set(kind SHARED)
  endif()
  add_library(${target} ${kind} ${ARG_SOURCES})
  target_link_libraries(${target} PUBLIC lockstep_flags ${ARG_LINKS} PRIVATE ${ARG_PRIVATE_LINKS})
  if(name IN_LIST LOCKSTEP_FUZZED_ROOMS)
    target_link_libraries(${target} PRIVATE lockstep_fuzz_flags)
  endif()
endfunction()
