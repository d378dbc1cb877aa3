# Language, warnings, sanitizers: what every source of ours is compiled with.

option(STOKER_FAULTS "Compile in fault points (proto/base/fault.h)" OFF)
option(STOKER_LIBFUZZER "Of the tests, build the fuzz targets alone, with libFuzzer (clang)" OFF)
option(STOKER_WERROR "Warnings are errors" ON)
set(STOKER_SANITIZE "" CACHE STRING "Value of -fsanitize, such as address,undefined or thread")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

# The same relative path serves the build tree and an installation, wherever either is moved.
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
set(CMAKE_BUILD_RPATH "$ORIGIN/../lib")
set(CMAKE_INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")

# Asserts stay in releases: they guard programmer errors and none is in an inner loop.
if(NOT CMAKE_C_FLAGS_RELEASE MATCHES "-g")
  set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")
endif()
set(CMAKE_C_FLAGS_DEBUG "-O0 -g")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# The arithmetic is a specification (docs/numerics.md): no contraction, on every file.
add_compile_options(-ffp-contract=off)
if(STOKER_SANITIZE)
  add_compile_options(-fsanitize=${STOKER_SANITIZE} -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${STOKER_SANITIZE})
endif()

add_library(stoker_own INTERFACE)
target_compile_definitions(stoker_own INTERFACE _GNU_SOURCE
  STOKER_VERSION="${PROJECT_VERSION}" $<$<BOOL:${STOKER_FAULTS}>:STOKER_FAULTS>)
target_include_directories(stoker_own INTERFACE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/engine/include)
target_compile_options(stoker_own INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes
  -Wmissing-prototypes -Wpointer-arith -Wundef $<$<BOOL:${STOKER_WERROR}>:-Werror>)
if(EXISTS ${CMAKE_SOURCE_DIR}/proto/base/banned.h)
  target_compile_options(stoker_own INTERFACE
    "SHELL:-include ${CMAKE_SOURCE_DIR}/proto/base/banned.h")
endif()
