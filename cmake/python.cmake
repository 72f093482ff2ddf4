# The Python extension causal_conv1d_mps._C: limited API, no PyTorch header, no PyTorch library.
cmake_minimum_required(VERSION 3.26) # USE_SABI
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.SABIModule)

file(GLOB CC1D_BINDING CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/python/causal_conv1d_mps/native/*.c)
Python_add_library(_C MODULE USE_SABI 3.10 WITH_SOABI
  ${CC1D_BINDING} $<TARGET_OBJECTS:cc1d_objects>)
target_include_directories(_C PRIVATE include src)
target_link_libraries(_C PRIVATE ${CC1D_LIBRARIES})
cc1d_compile_options(_C)
# Inside the extension the C API is private: another copy of the library in the same process
# must not replace its functions.
target_compile_definitions(cc1d_objects PRIVATE CC1D_API=)
target_compile_definitions(_C PRIVATE CC1D_API=)
install(TARGETS _C LIBRARY DESTINATION causal_conv1d_mps COMPONENT python)
