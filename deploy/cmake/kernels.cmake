# Kernel bodies are compiled once per variant: engine/kernel/*.c and engine/kernel/gemm/*.c.
# Sources that must exist once go to engine/kernel/dispatch/.
#
# -O3 vectorises, which keeps every element's own order of operations; -fno-math-errno and
# -fno-trapping-math only drop side effects (errno, flags). Nothing here permits reassociation.
#
# Under sanitizers -Og and short debug information, which change no bit either and compile the
# plain-C vectors in a fifth of the time. avx2 and ref_f64 have all checks there (but no marks of
# the scopes of a vector's temporaries, the dearest of them), avx512 those of memory, and the other
# ref forms, the text of ref_f64 again, none; nor has any where fuzz targets are all that is built.

if(STOKER_SANITIZE)
  set(kernel_optimisation -Og -g1)
  if(STOKER_SANITIZE MATCHES "address")
    list(APPEND kernel_optimisation -fno-sanitize-address-use-after-scope)
  endif()
else()
  set(kernel_optimisation -O3)
endif()

function(stoker_kernel_variant out suffix isa bits)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/engine/kernel/*.c
    ${CMAKE_SOURCE_DIR}/engine/kernel/gemm/*.c)
  if(sources)
    set(target stk_kernel_${suffix})
    add_library(${target} OBJECT ${sources})
    target_link_libraries(${target} PRIVATE stoker_own)
    target_compile_definitions(${target} PRIVATE STK_ISA_${isa} STK_REAL_BITS=${bits}
      STK_KSUFFIX=${suffix})
    target_compile_options(${target} PRIVATE -fno-semantic-interposition ${kernel_optimisation}
      -fno-math-errno -fno-trapping-math ${ARGN})
    if(STOKER_LIBFUZZER OR (STOKER_SANITIZE AND suffix MATCHES "^ref_f32|^reffma"))
      target_compile_options(${target} PRIVATE -fno-sanitize=all)
    elseif(STOKER_SANITIZE AND isa STREQUAL AVX512)
      target_compile_options(${target} PRIVATE -fno-sanitize=undefined)
      if(CMAKE_C_COMPILER_ID STREQUAL GNU AND STOKER_SANITIZE MATCHES "address")
        # GCC's frames off the stack are not aligned for 64-byte vectors (its bug 110027).
        target_compile_options(${target} PRIVATE --param=asan-use-after-return=0)
      endif()
    endif()
    list(APPEND ${out} ${target})
    set(${out} ${${out}} PARENT_SCOPE)
  endif()
endfunction()

function(stoker_kernel_variants out)
  set(targets)
  stoker_kernel_variant(targets ref_f32 REF 32)
  stoker_kernel_variant(targets reffma_f32 REF 32 -mfma)
  stoker_kernel_variant(targets ref_f64 REF 64)
  stoker_kernel_variant(targets reffma_f64 REF 64 -mfma)
  stoker_kernel_variant(targets avx2_f32 AVX2 32 -mavx2 -mfma)
  stoker_kernel_variant(targets avx512_f32 AVX512 32 -mavx512f -mavx512vl -mavx512dq -mavx512bw
    -mfma)
  set(${out} ${targets} PARENT_SCOPE)
endfunction()
