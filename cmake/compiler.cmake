# Compiler flags shared by every target, and the libraries that the sources need.
include(CheckCCompilerFlag)
find_package(Threads REQUIRED)

set(CC1D_FLAGS)
foreach(flag
    -ffp-contract=off # a fused multiply-add only where the source says fma: same bits everywhere
    -fno-math-errno
    -fno-trapping-math
    -Wall -Wextra -Wpedantic -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes
    -Wvla -Werror=implicit-function-declaration)
  string(MAKE_C_IDENTIFIER "CC1D_HAS${flag}" has_flag)
  check_c_compiler_flag(${flag} ${has_flag})
  if(${has_flag})
    list(APPEND CC1D_FLAGS ${flag})
  endif()
endforeach()
if(CC1D_WERROR)
  list(APPEND CC1D_FLAGS -Werror)
endif()
if(CC1D_SANITIZE)
  list(APPEND CC1D_FLAGS -fsanitize=${CC1D_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${CC1D_SANITIZE})
endif()

set(CC1D_LIBRARIES Threads::Threads ${CMAKE_DL_LIBS})
if(UNIX AND NOT APPLE)
  list(APPEND CC1D_LIBRARIES m)
endif()

function(cc1d_compile_options target)
  target_compile_options(${target} PRIVATE ${CC1D_FLAGS})
endfunction()

# A program of this repository (test, benchmark): sees the private headers and every symbol.
function(cc1d_add_program name)
  add_executable(${name} ${ARGN} $<TARGET_OBJECTS:cc1d_objects>)
  target_include_directories(${name} PRIVATE include src)
  target_link_libraries(${name} PRIVATE ${CC1D_LIBRARIES})
  cc1d_compile_options(${name})
endfunction()
