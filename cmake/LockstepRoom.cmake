# lockstep_room(NAME [WHOLE] [SHARED] SOURCES … LINKS … PRIVATE_LINKS …): the one library target of a room,
# with the include root, the warnings and the sanitizers that all rooms share.
include_guard()

add_library(lockstep_flags INTERFACE)
target_include_directories(lockstep_flags INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/lockstep>)
# Warnings are for Lockstep's own sources; programs that use the installed library have theirs.
function(lockstep_own_options language)
  target_compile_options(lockstep_flags INTERFACE "$<BUILD_INTERFACE:$<$<COMPILE_LANGUAGE:${language}>:${ARGN}>>")
endfunction()
lockstep_own_options(CXX -Wall -Wextra -Wshadow -Wno-missing-field-initializers -Wno-restrict)
# No contraction of a*b+c into a fused operation unless the source says so: the same bits
# from every compiler and every instruction set that a loop is cloned for.
target_compile_options(lockstep_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
# --expt-relaxed-constexpr: kernels call the constexpr functions of random.h.
lockstep_own_options(CUDA --expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers,-ffp-contract=off)
if(LOCKSTEP_WERROR)
  lockstep_own_options(CXX -Werror)
  lockstep_own_options(CUDA -Werror=all-warnings -Xcompiler=-Werror)
endif()
if(LOCKSTEP_SANITIZE)
  target_compile_options(lockstep_flags INTERFACE -fsanitize=${LOCKSTEP_SANITIZE} -fno-omit-frame-pointer -g)
  target_link_options(lockstep_flags INTERFACE -fsanitize=${LOCKSTEP_SANITIZE})
endif()

if(LOCKSTEP_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL GNU)  # sources look like headers there, whose anonymous types it suspects
  lockstep_own_options(CXX -Wno-subobject-linkage)
endif()

# For fuzzing: what reads bytes is watched (io, src, the harness); kernels and comm only have to link.
add_library(lockstep_fuzz_flags INTERFACE)
set(LOCKSTEP_FUZZED_ROOMS io src)
if(LOCKSTEP_FUZZ)
  set(LOCKSTEP_FUZZ_SANITIZERS -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined)
  target_compile_options(lockstep_fuzz_flags INTERFACE ${LOCKSTEP_FUZZ_SANITIZERS} -O1 -gline-tables-only)
endif()

# lockstep_unity(OUT BATCH SUFFIX SOURCES…): what CMAKE_UNITY_BUILD does for C++, for CUDA (CMake before 3.31 does not). Files that
# include BATCH sources each; without LOCKSTEP_UNITY the sources themselves. Most of nvcc's time goes into headers.
function(lockstep_unity out batch suffix)
  if(NOT LOCKSTEP_UNITY)
    set(${out} ${ARGN} PARENT_SCOPE)
    return()
  endif()
  set(files)
  set(text)
  set(n 0)
  set(left ${ARGN})
  while(left)
    list(POP_FRONT left source)
    cmake_path(ABSOLUTE_PATH source)
    string(APPEND text "#include \"${source}\"\n")
    math(EXPR n "${n} + 1")
    math(EXPR full "${n} % ${batch}")
    if(full EQUAL 0 OR NOT left)
      set(file ${CMAKE_CURRENT_BINARY_DIR}/unity/${out}_${n}.${suffix})
      file(CONFIGURE OUTPUT ${file} CONTENT "${text}")
      list(APPEND files ${file})
      set(text)
    endif()
  endwhile()
  set(${out} ${files} PARENT_SCOPE)
endfunction()

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
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:lockstep_fuzz_flags>)
  endif()
endfunction()

# Code that runs once for a micro-batch or less, and calls kernels for the rest: a third of its compile time
# goes into optimisations that nobody would see.
function(lockstep_quick_to_compile target)
  target_compile_options(${target} PRIVATE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-O1>)
endfunction()
