# cmake --install build/release --prefix P: commands, library, public headers, pkg-config file.

foreach(target IN ITEMS stoker stoker-worker stoker-command)
  if(TARGET ${target})
    install(TARGETS ${target})
  endif()
endforeach()
if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/engine/include/stoker)
  install(DIRECTORY engine/include/stoker TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
endif()
file(RELATIVE_PATH prefix_of_pc /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(deploy/stoker.pc.in stoker.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/stoker.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
