# Finds the libraries that Lockstep stands on. scripts/install-deps installs them. Installed, this file does the
# same for programs that find_package(Lockstep).

# What is missing, and the remedy: the end of a build, and for find_package(Lockstep) the reason why it finds nothing.
macro(lockstep_missing)
  if(CMAKE_FIND_PACKAGE_NAME STREQUAL Lockstep)
    set(Lockstep_FOUND FALSE)
    string(CONCAT Lockstep_NOT_FOUND_MESSAGE ${ARGN})
    return()
  endif()
  message(FATAL_ERROR ${ARGN})
endmacro()

find_package(Threads REQUIRED)

find_package(MPI COMPONENTS C)
if(NOT MPI_C_FOUND)
  lockstep_missing("MPI not found. Remedy: scripts/install-deps (Debian: libopenmpi-dev), "
                   "or load your cluster's Open MPI module before running cmake.")
endif()
# Only MPI's C interface: mpi.h must not pull in the removed C++ bindings, which need another library.
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)

set(HDF5_PREFER_PARALLEL ON)
find_package(HDF5 COMPONENTS C)
if(NOT HDF5_FOUND OR NOT HDF5_IS_PARALLEL)
  lockstep_missing("A parallel HDF5 (built with MPI) was not found. Remedy: scripts/install-deps "
                   "(Debian: libhdf5-openmpi-dev), or load your cluster's parallel HDF5 module; "
                   "its compiler wrapper h5pcc must be on PATH, or set HDF5_ROOT.")
endif()
add_library(lockstep_hdf5 INTERFACE IMPORTED)

# lockstep_dynamic(VAR LIBRARY FIELD): the names that a shared library carries (SONAME) or needs (NEEDED); empty for an archive.
function(lockstep_dynamic var library field)
  find_program(LOCKSTEP_READELF NAMES readelf llvm-readelf)
  set(names "")
  if(LOCKSTEP_READELF AND "${library}" MATCHES "[.]so")
    execute_process(COMMAND ${LOCKSTEP_READELF} -d ${library} OUTPUT_VARIABLE text ERROR_QUIET)
    string(REGEX MATCHALL "\\(${field}\\)[^\n]*\\[[^]]*\\]" lines "${text}")
    foreach(line IN LISTS lines)
      string(REGEX REPLACE ".*\\[([^]]*)\\].*" "\\1" name "${line}")
      list(APPEND names "${name}")
    endforeach()
  endif()
  set(${var} "${names}" PARENT_SCOPE)
endfunction()

# With two MPIs installed CMake may find the HDF5 of the other one: then files are opened with handles that mean nothing there.
set(mpi_sonames "")
foreach(library IN LISTS MPI_C_LIBRARIES)
  lockstep_dynamic(names "${library}" SONAME)
  list(APPEND mpi_sonames ${names})
endforeach()
foreach(library IN LISTS HDF5_LIBRARIES)
  lockstep_dynamic(needed "${library}" NEEDED)
  foreach(name IN LISTS needed)
    if(name MATCHES "^lib(mpi|mpich|mpich-.*|mpi_.*)[.]so" AND mpi_sonames AND NOT name IN_LIST mpi_sonames)
      message(FATAL_ERROR "Lockstep: ${library} was built with another MPI (${name}) than the one found (${mpi_sonames}). Remedy: name both, "
                          "for instance -DMPI_C_COMPILER=mpicc.mpich -DHDF5_C_COMPILER_EXECUTABLE=/usr/bin/h5pcc.mpich, or load one pair of modules.")
    endif()
  endforeach()
endforeach()

# The calls of HDF5 1.10, which 1.12, 1.14 and 2.x offer by this name.
target_compile_definitions(lockstep_hdf5 INTERFACE H5_USE_110_API)
target_include_directories(lockstep_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
target_link_libraries(lockstep_hdf5 INTERFACE ${HDF5_LIBRARIES} MPI::MPI_C)

find_package(oneDNN 2.6)
if(NOT oneDNN_FOUND)
  lockstep_missing("oneDNN (2.6 or newer) not found. Remedy: scripts/install-deps (Debian: libdnnl-dev).")
endif()

if(NOT LOCKSTEP_FUZZ)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
endif()
find_package(yaml-cpp REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)

# Kinds of images that are read where their library is there
add_library(lockstep_image_libraries INTERFACE IMPORTED)
find_path(WEBP_INCLUDE_DIR webp/decode.h)
find_library(WEBP_LIBRARY webp)
find_package(TIFF QUIET)
find_path(HEIF_INCLUDE_DIR libheif/heif.h)
find_library(HEIF_LIBRARY heif)  # for tests, which write such files; the program opens it when it meets one
if(WEBP_INCLUDE_DIR AND WEBP_LIBRARY)
  set(LOCKSTEP_HAS_WEBP ON)
  target_include_directories(lockstep_image_libraries SYSTEM INTERFACE ${WEBP_INCLUDE_DIR})
  target_link_libraries(lockstep_image_libraries INTERFACE ${WEBP_LIBRARY})
endif()
if(TIFF_FOUND)
  set(LOCKSTEP_HAS_TIFF ON)
  target_link_libraries(lockstep_image_libraries INTERFACE TIFF::TIFF)
endif()
if(HEIF_INCLUDE_DIR AND HEIF_LIBRARY)
  file(STRINGS ${HEIF_INCLUDE_DIR}/libheif/heif_version.h heif_version REGEX "define LIBHEIF_VERSION ")
  string(REGEX REPLACE "[^0-9.]" "" heif_version "${heif_version}")
  if(heif_version VERSION_GREATER_EQUAL 1.15)
    set(LOCKSTEP_HAS_HEIC ON)
    target_include_directories(lockstep_image_libraries SYSTEM INTERFACE ${HEIF_INCLUDE_DIR})
  endif()
endif()
message(STATUS "Lockstep: images besides JPEG, PNG and BMP: WebP ${LOCKSTEP_HAS_WEBP}, TIFF ${LOCKSTEP_HAS_TIFF}, HEIC ${LOCKSTEP_HAS_HEIC}")

find_path(ZSTD_INCLUDE_DIR zstd.h REQUIRED)
find_library(ZSTD_LIBRARY zstd REQUIRED)
find_path(LZ4_INCLUDE_DIR lz4.h REQUIRED)
find_library(LZ4_LIBRARY lz4 REQUIRED)
add_library(lockstep_zstd_lz4 INTERFACE IMPORTED)
target_include_directories(lockstep_zstd_lz4 SYSTEM INTERFACE ${ZSTD_INCLUDE_DIR} ${LZ4_INCLUDE_DIR})
target_link_libraries(lockstep_zstd_lz4 INTERFACE ${ZSTD_LIBRARY} ${LZ4_LIBRARY})

find_path(PCRE2_INCLUDE_DIR pcre2.h)
find_library(PCRE2_LIBRARY pcre2-8)
if(NOT PCRE2_INCLUDE_DIR OR NOT PCRE2_LIBRARY)
  lockstep_missing("PCRE2 (its library for UTF-8, pcre2-8) was not found. Remedy: scripts/install-deps (Debian: libpcre2-dev).")
endif()
add_library(lockstep_pcre2 INTERFACE IMPORTED)
target_include_directories(lockstep_pcre2 SYSTEM INTERFACE ${PCRE2_INCLUDE_DIR})
target_link_libraries(lockstep_pcre2 INTERFACE ${PCRE2_LIBRARY})

if(NOT TARGET yaml-cpp::yaml-cpp)
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)  # the name before yaml-cpp 0.8
endif()

if(NOT LOCKSTEP_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit QUIET)
  find_path(CUDNN_INCLUDE_DIR cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV CUDNN_ROOT PATH_SUFFIXES include)
  find_library(CUDNN_LIBRARY cudnn HINTS ${CUDAToolkit_LIBRARY_DIR} ENV CUDNN_ROOT PATH_SUFFIXES lib lib64)
  if(CUDAToolkit_FOUND AND CUDNN_INCLUDE_DIR AND CUDNN_LIBRARY)
    set(LOCKSTEP_HAS_CUDA ON)
    add_library(lockstep_cudnn INTERFACE IMPORTED)
    target_include_directories(lockstep_cudnn SYSTEM INTERFACE ${CUDNN_INCLUDE_DIR})
    target_link_libraries(lockstep_cudnn INTERFACE ${CUDNN_LIBRARY})

    # NCCL's header is enough: its library is loaded when ranks with GPUs start. Looked for in NCCL_ROOT, in the toolkit,
    # beside cuDNN's folder, as Python's packages lie, and in the system.
    get_filename_component(CUDNN_FOLDER ${CUDNN_INCLUDE_DIR} DIRECTORY)
    find_path(NCCL_INCLUDE_DIR nccl.h HINTS ENV NCCL_ROOT ${CUDAToolkit_INCLUDE_DIRS} ${CUDNN_FOLDER}/../nccl
              PATH_SUFFIXES include)
    find_library(NCCL_LIBRARY NAMES nccl libnccl.so.2 HINTS ENV NCCL_ROOT ${CUDAToolkit_LIBRARY_DIR} ${CUDNN_FOLDER}/../nccl
                 PATH_SUFFIXES lib lib64)
    if(NCCL_INCLUDE_DIR)
      set(LOCKSTEP_HAS_NCCL ON)
      file(STRINGS ${NCCL_INCLUDE_DIR}/nccl.h LOCKSTEP_NCCL_VERSION REGEX "define NCCL_(MAJOR|MINOR|PATCH) ")
      string(REGEX REPLACE "[^0-9;]" "" LOCKSTEP_NCCL_VERSION "${LOCKSTEP_NCCL_VERSION}")
      string(REPLACE ";" "." LOCKSTEP_NCCL_VERSION "${LOCKSTEP_NCCL_VERSION}")
      add_library(lockstep_nccl INTERFACE IMPORTED)
      target_include_directories(lockstep_nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS})
      target_compile_definitions(lockstep_nccl INTERFACE LOCKSTEP_NCCL_BUILT_WITH="$<$<BOOL:${NCCL_LIBRARY}>:${NCCL_LIBRARY}>")
    else()
      message(STATUS "Lockstep: nccl.h was not found, so gradients of GPUs go through host memory. "
                     "Remedy: set the environment variable NCCL_ROOT to the folder of NCCL's include/ and lib/.")
    endif()
  elseif(CUDAToolkit_FOUND)
    set(LOCKSTEP_NO_CUDNN "A CUDA toolkit was found, but no cuDNN 9. "
                          "Remedy: set the environment variable CUDNN_ROOT to the folder of its include/ and lib/; or use LOCKSTEP_CUDA=OFF.")
    if(LOCKSTEP_CUDA STREQUAL "ON")
      lockstep_missing(${LOCKSTEP_NO_CUDNN})
    endif()
    message(WARNING ${LOCKSTEP_NO_CUDNN} " Building without CUDA.")
  elseif(LOCKSTEP_CUDA STREQUAL "ON")
    lockstep_missing("LOCKSTEP_CUDA=ON but no CUDA toolkit was found. "
                     "Remedy: put nvcc on PATH or set CUDAToolkit_ROOT; or use LOCKSTEP_CUDA=OFF.")
  endif()
endif()
message(STATUS "Lockstep: MPI ${MPI_C_VERSION}, HDF5 ${HDF5_VERSION}, oneDNN ${oneDNN_VERSION}, "
               "CUDA ${CUDAToolkit_VERSION}, NCCL ${LOCKSTEP_NCCL_VERSION}")
