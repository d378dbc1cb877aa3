# Tests. One executable per tests/{unit,ops,golden,exact,crash}/**/test_*.c, named by its path;
# other sources of the same directory are linked into each of its tests. One replay program per
# tests/fuzz/fuzz_*.c; with STOKER_LIBFUZZER one libFuzzer binary for each, and nothing else.
pkg_check_modules(cmocka IMPORTED_TARGET cmocka)
if(NOT cmocka_FOUND)
  message(STATUS "cmocka is not installed: tests are not built (tests/run installs it)")
  return()
endif()

set(tt_link sw_worker sc_client stk_checkpoint sp_job sp_run sp_net sp_wire)
if(TARGET stoker)
  list(APPEND tt_link stoker)
else()
  list(APPEND tt_link sp_base)
endif()
list(APPEND tt_link PkgConfig::uv PkgConfig::jansson PkgConfig::yaml ZLIB::ZLIB Threads::Threads m
  ${CMAKE_DL_LIBS})

add_library(tt INTERFACE)
file(GLOB tt_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/lib/*.c)
list(FILTER tt_sources EXCLUDE REGEX "/fuzz_replay\\.c$")
if(tt_sources)
  add_library(tt_objects OBJECT ${tt_sources})
  target_link_libraries(tt_objects PRIVATE tt stoker_own)
  set(tt_library $<TARGET_OBJECTS:tt_objects>)
endif()
target_compile_definitions(tt INTERFACE TT_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
  TT_BUILD_DIR="${CMAKE_BINARY_DIR}")
target_link_libraries(tt INTERFACE PkgConfig::cmocka)

function(stoker_test_executable target)
  add_executable(${target} ${ARGN})
  target_link_libraries(${target} PRIVATE tt stoker_own)
  stoker_link(${target} PRIVATE ${tt_link})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests
    C_VISIBILITY_PRESET hidden)
endfunction()

# Sanitizers cost a factor of two to ten, that of threads up to fifty.
set(test_timeout 60)
if(STOKER_SANITIZE MATCHES thread)
  set(test_timeout 900)
elseif(STOKER_SANITIZE)
  set(test_timeout 300)
endif()

function(stoker_register name label)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${test_timeout} LABELS "${label}"
    SKIP_RETURN_CODE 77)
endfunction()

function(stoker_tests kind)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/tests
    ${CMAKE_SOURCE_DIR}/tests/${kind}/test_*.c)
  foreach(source IN LISTS sources)
    get_filename_component(directory ${source} DIRECTORY)
    file(GLOB helpers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${directory}/*.c)
    list(FILTER helpers EXCLUDE REGEX "/test_[^/]*\\.c$")
    string(REGEX REPLACE "\\.c$" "" target ${source})
    string(REPLACE "/" "_" target ${target})
    stoker_test_executable(${target} tests/${source} ${helpers} ${tt_library})
    add_test(NAME ${target} COMMAND ${target} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    string(REPLACE "/" "_" label ${directory})
    stoker_register(${target} "${kind};${label}")
  endforeach()
endfunction()

if(STOKER_LIBFUZZER)
  file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
  foreach(source IN LISTS fuzzers)
    get_filename_component(name ${source} NAME_WE)
    stoker_test_executable(lib${name} ${source} ${tt_library})
    target_link_options(lib${name} PRIVATE -fsanitize=fuzzer)
  endforeach()
  return()
endif()

stoker_tests(unit)
stoker_tests(ops)
stoker_tests(golden)
stoker_tests(exact)
stoker_tests(crash)
if(TEST crash_test_checkpoint)
  set_tests_properties(crash_test_checkpoint PROPERTIES TIMEOUT 900 LABELS "crash;slow")
endif()

file(GLOB fuzzers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_*.c)
foreach(source IN LISTS fuzzers)
  get_filename_component(name ${source} NAME_WE)
  stoker_test_executable(${name} ${source} ${CMAKE_SOURCE_DIR}/tests/lib/fuzz_replay.c
    ${tt_library})
  add_test(NAME ${name} COMMAND ${name} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
  stoker_register(${name} fuzz)
endforeach()

# Lint reads sources and ordinary objects: once, not under every sanitizer.
file(GLOB lints CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/lint/check-*)
if(STOKER_SANITIZE)
  return()
endif()
foreach(lint IN LISTS lints)
  get_filename_component(name ${lint} NAME)
  string(REPLACE "check-" "lint_" name ${name})
  add_test(NAME ${name} COMMAND ${lint} ${CMAKE_BINARY_DIR}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  stoker_register(${name} lint)
endforeach()

# Benchmarks: one program per tests/bench/bench_*.c, built with the rest so that they stay true, and
# run by hand.
file(GLOB benches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/bench_*.c)
foreach(source IN LISTS benches)
  get_filename_component(name ${source} NAME_WE)
  stoker_test_executable(${name} ${source} ${tt_library})
endforeach()
