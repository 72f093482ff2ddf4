# The C library: static and shared, header, find_package(causal_conv1d) and pkg-config.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

foreach(kind SHARED STATIC)
  string(TOLOWER ${kind} suffix)
  set(target causal_conv1d_${suffix})
  add_library(${target} ${kind} $<TARGET_OBJECTS:cc1d_objects>)
  add_library(causal_conv1d::${suffix} ALIAS ${target})
  set_target_properties(${target} PROPERTIES
    OUTPUT_NAME causal_conv1d EXPORT_NAME ${suffix} LINKER_LANGUAGE C
    VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(${target} PRIVATE ${CC1D_LIBRARIES})
  install(TARGETS ${target} EXPORT causal_conv1d_targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endforeach()

install(FILES include/causal_conv1d.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(CC1D_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/causal_conv1d)
install(EXPORT causal_conv1d_targets NAMESPACE causal_conv1d:: DESTINATION ${CC1D_CMAKE_DIR})
configure_package_config_file(cmake/causal_conv1d-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/causal_conv1d-config.cmake INSTALL_DESTINATION ${CC1D_CMAKE_DIR})
write_basic_package_version_file(
  ${CMAKE_CURRENT_BINARY_DIR}/causal_conv1d-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/causal_conv1d-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/causal_conv1d-config-version.cmake
  DESTINATION ${CC1D_CMAKE_DIR})

# The prefix is written relative to the .pc file, so that the installed tree can be moved.
file(RELATIVE_PATH CC1D_PC_PREFIX
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
set(CC1D_PC_PRIVATE_LIBS "-lpthread")
foreach(library IN ITEMS ${CMAKE_DL_LIBS})
  string(APPEND CC1D_PC_PRIVATE_LIBS " -l${library}")
endforeach()
if(UNIX AND NOT APPLE)
  string(APPEND CC1D_PC_PRIVATE_LIBS " -lm")
endif()
configure_file(cmake/causal_conv1d.pc.in ${CMAKE_CURRENT_BINARY_DIR}/causal_conv1d.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/causal_conv1d.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
