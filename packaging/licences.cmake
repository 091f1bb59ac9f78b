# Installs the licence of each library in the tarball, from the library's Debian package.
file(GLOB libraries ${CMAKE_INSTALL_PREFIX}/lib/penstock/*.so*)
list(FILTER libraries EXCLUDE REGEX "/libpenstock_")  # ours
foreach(library ${libraries})
  get_filename_component(name ${library} NAME)
  execute_process(COMMAND dpkg-query -S "*/${name}" OUTPUT_VARIABLE owners ERROR_QUIET)
  if(NOT owners MATCHES "^([^:\n]+):")
    message(FATAL_ERROR "no Debian package owns ${name}: its licence is not known")
  endif()
  file(INSTALL /usr/share/doc/${CMAKE_MATCH_1}/copyright
    DESTINATION ${CMAKE_INSTALL_PREFIX}/share/doc/penstock/licences RENAME ${CMAKE_MATCH_1} FOLLOW_SYMLINK_CHAIN)
endforeach()
