# cmake --install: the program, the rooms as libraries, their headers in the tree they have here, the manual, and
# the package by which other programs find them: find_package(Lockstep), Lockstep::lockstep. docs/embedding.md.
include(CMakePackageConfigHelpers)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Lockstep)
set(headers ${CMAKE_INSTALL_INCLUDEDIR}/lockstep)

foreach(room kernels comm io)
  set_target_properties(lockstep_${room} PROPERTIES EXPORT_NAME ${room})
endforeach()
set_target_properties(lockstep_src_objects PROPERTIES EXPORT_NAME src OUTPUT_NAME lockstep_src)
set_target_properties(lockstep_flags PROPERTIES EXPORT_NAME flags)
set_target_properties(lockstep PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}" INSTALL_RPATH_USE_LINK_PATH ON)
set_target_properties(lockstep_kernels PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)

install(TARGETS lockstep RUNTIME)
install(TARGETS lockstep_kernels lockstep_comm lockstep_io lockstep_src_objects lockstep_flags
        EXPORT LockstepTargets ARCHIVE LIBRARY)
install(EXPORT LockstepTargets NAMESPACE Lockstep:: DESTINATION ${package})

install(DIRECTORY kernels comm io src DESTINATION ${headers} FILES_MATCHING PATTERN "*.h"
        PATTERN kernels/cpu EXCLUDE PATTERN kernels/cuda EXCLUDE)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/install/lockstep.h CONTENT "#pragma once\n#include \"src/lockstep.h\"\n")
install(FILES ${CMAKE_BINARY_DIR}/install/lockstep.h DESTINATION ${headers})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})

configure_package_config_file(cmake/LockstepConfig.cmake.in ${CMAKE_BINARY_DIR}/install/LockstepConfig.cmake
                              INSTALL_DESTINATION ${package} NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/install/LockstepConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/install/LockstepConfig.cmake ${CMAKE_BINARY_DIR}/install/LockstepConfigVersion.cmake
              cmake/LockstepDependencies.cmake cmake/FindoneDNN.cmake DESTINATION ${package})
