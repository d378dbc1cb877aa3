# sp_wire: proto/wire and the code that protoc-c generates from proto/schema/*.proto. Generated code
# is compiled without our warnings and included as a system header: #include "stoker.pb-c.h".

file(GLOB schemas CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/proto/schema/*.proto)
set(wire_generated ${CMAKE_BINARY_DIR}/wire)
set(wire_sources)
if(schemas)
  find_program(PROTOC_C protoc-c REQUIRED)
  file(MAKE_DIRECTORY ${wire_generated})
  foreach(schema IN LISTS schemas)
    get_filename_component(name ${schema} NAME_WE)
    add_custom_command(
      OUTPUT ${wire_generated}/${name}.pb-c.c ${wire_generated}/${name}.pb-c.h
      COMMAND ${PROTOC_C} --proto_path=${CMAKE_SOURCE_DIR}/proto/schema --c_out=${wire_generated}
              ${schema}
      DEPENDS ${schemas}
      VERBATIM)
    list(APPEND wire_sources ${wire_generated}/${name}.pb-c.c)
  endforeach()
  add_library(sp_wire_generated OBJECT ${wire_sources})
  set_target_properties(sp_wire_generated PROPERTIES C_VISIBILITY_PRESET hidden)
  target_include_directories(sp_wire_generated SYSTEM PUBLIC ${wire_generated})
  target_link_libraries(sp_wire_generated PUBLIC PkgConfig::protobuf_c)
endif()

stoker_static(sp_wire SOURCES proto/wire OBJECTS sp_wire_generated LINK PkgConfig::protobuf_c)
if(TARGET sp_wire AND TARGET sp_wire_generated)
  add_dependencies(sp_wire sp_wire_generated)
  target_include_directories(sp_wire SYSTEM PRIVATE ${wire_generated})
endif()
