# Finds oneDNN by header and library. (Debian's own dnnl-config.cmake insists on OpenCL
# headers, which a CPU build does not need.) Defines oneDNN::dnnl and oneDNN_VERSION.
# Another prefix: -DoneDNN_ROOT=PREFIX or -DDNNL_ROOT=PREFIX, variables of the environment of these names, DNNLROOT of Intel's modules,
# or -Ddnnl_DIR=PREFIX/lib/cmake/dnnl. The headers include each other by oneapi/dnnl/, so that the folder above it counts.
set(_dnnl_prefixes ${DNNL_ROOT} $ENV{DNNL_ROOT} $ENV{DNNLROOT})
if(dnnl_DIR)
  get_filename_component(_dnnl_prefix "${dnnl_DIR}/../../.." ABSOLUTE)
  list(APPEND _dnnl_prefixes ${_dnnl_prefix})
endif()
find_path(oneDNN_INCLUDE_DIR oneapi/dnnl/dnnl.hpp HINTS ${_dnnl_prefixes} PATH_SUFFIXES include)
find_library(oneDNN_LIBRARY dnnl HINTS ${_dnnl_prefixes} PATH_SUFFIXES lib lib64 lib/intel64)
if(oneDNN_INCLUDE_DIR)
  # A CPU runtime of SYCL computes while the caller goes on, which nobody here waits for: losses were wrong.
  if(EXISTS ${oneDNN_INCLUDE_DIR}/oneapi/dnnl/dnnl_config.h)
    file(STRINGS ${oneDNN_INCLUDE_DIR}/oneapi/dnnl/dnnl_config.h _dnnl_sycl REGEX "define DNNL_CPU_RUNTIME +(DNNL_RUNTIME_(SYCL|DPCPP)|512)")
    if(_dnnl_sycl)
      message(FATAL_ERROR "oneDNN in ${oneDNN_INCLUDE_DIR} has SYCL as its CPU runtime, with which training computes wrong numbers. Remedy: "
                          "a build of oneDNN with OpenMP (Debian: libdnnl-dev; Spack: onednn cpu_runtime=omp), named by -DoneDNN_ROOT=PREFIX")
    endif()
  endif()
  foreach(header oneapi/dnnl/dnnl_version.h)
    if(EXISTS ${oneDNN_INCLUDE_DIR}/${header})
      file(STRINGS ${oneDNN_INCLUDE_DIR}/${header} _dnnl_lines REGEX "#define DNNL_VERSION_(MAJOR|MINOR|PATCH) ")
      foreach(part MAJOR MINOR PATCH)
        if("${_dnnl_lines}" MATCHES "DNNL_VERSION_${part} +([0-9]+)")
          set(_dnnl_${part} ${CMAKE_MATCH_1})
        endif()
      endforeach()
      set(oneDNN_VERSION ${_dnnl_MAJOR}.${_dnnl_MINOR}.${_dnnl_PATCH})
    endif()
  endforeach()
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(oneDNN REQUIRED_VARS oneDNN_LIBRARY oneDNN_INCLUDE_DIR VERSION_VAR oneDNN_VERSION)
if(oneDNN_FOUND AND NOT TARGET oneDNN::dnnl)
  add_library(oneDNN::dnnl UNKNOWN IMPORTED)
  set_target_properties(oneDNN::dnnl PROPERTIES IMPORTED_LOCATION ${oneDNN_LIBRARY}
                        INTERFACE_INCLUDE_DIRECTORIES ${oneDNN_INCLUDE_DIR})
endif()
