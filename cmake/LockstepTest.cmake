# lockstep_test(NAME SOURCES … LINKS … [RANKS 1 2 4 8] [TIMEOUT s] [LABELS …] [OWN_MAIN] [OPTIMIZE -O1])
#
# A GoogleTest program. With RANKS it becomes one CTest test per rank count, NAME.npP,
# started through mpirun; without, one test called NAME. Every test has a time limit (five times as long with sanitizers); MPI
# tests also have a watchdog inside (tests/support/mpi_main.cpp) that names the test that hung.
include_guard()
find_package(GTest REQUIRED)

# Tests are compiled for quick compiling: GoogleTest's and the standard library's headers are read once for all, and only the
# loops of reference computations are optimized.
#
# lockstep_test_sources(TARGET [OPTIMIZE -O1]): that for an executable's sources.
function(lockstep_test_sources target)
  cmake_parse_arguments(ARG "" "OPTIMIZE" "" ${ARGN})
  set(level -O0)
  if(ARG_OPTIMIZE)
    set(level ${ARG_OPTIMIZE})
  endif()
  set(headers lockstep_test_headers${level})
  if(NOT TARGET ${headers})  # a header counts for one level only
    add_executable(${headers} ${CMAKE_SOURCE_DIR}/tests/support/test_headers.cpp)
    target_link_libraries(${headers} PRIVATE lockstep_flags GTest::gtest)
    target_precompile_headers(${headers} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support/test_headers.h)
    lockstep_test_options(${headers} ${level})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${headers})
  lockstep_test_options(${target} ${level})
endfunction()

function(lockstep_test_options target level)
  set_target_properties(${target} PROPERTIES UNITY_BUILD OFF RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_options(${target} PRIVATE ${level})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)  # lets ccache see what the header holds
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
endfunction()

function(lockstep_test name)
  cmake_parse_arguments(ARG "OWN_MAIN" "TIMEOUT;OPTIMIZE" "SOURCES;LINKS;RANKS;LABELS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(LOCKSTEP_SANITIZE)
    math(EXPR ARG_TIMEOUT "5 * ${ARG_TIMEOUT}")
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_compile_definitions(${name} PRIVATE LOCKSTEP_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             LOCKSTEP_BINARY_DIR="${CMAKE_BINARY_DIR}")
  lockstep_test_sources(${name} OPTIMIZE ${ARG_OPTIMIZE})
  if(ARG_RANKS)
    target_link_libraries(${name} PRIVATE ${ARG_LINKS} lockstep_mpi_main GTest::gtest)
    foreach(n ${ARG_RANKS})
      add_test(NAME ${name}.np${n}
               COMMAND ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${n} $<TARGET_FILE:${name}>)
      set_tests_properties(${name}.np${n} PROPERTIES TIMEOUT ${ARG_TIMEOUT} PROCESSORS ${n}
                           LABELS "mpi;${ARG_LABELS}" ENVIRONMENT "${LOCKSTEP_MPI_ENVIRONMENT}")
    endforeach()
  else()
    target_link_libraries(${name} PRIVATE ${ARG_LINKS} GTest::gtest)
    if(NOT ARG_OWN_MAIN)
      target_link_libraries(${name} PRIVATE GTest::gtest_main)
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
                         ENVIRONMENT "${LOCKSTEP_MPI_ENVIRONMENT}")
  endif()
endfunction()

# Tests run more ranks than cores, and as root inside containers.
set(LOCKSTEP_MPI_ENVIRONMENT
  "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_btl_vader_single_copy_mechanism=none;OMPI_MCA_mpi_yield_when_idle=1;OMP_NUM_THREADS=1")
