# penstock_floor(NAME ROOMS room... DEPS floor... LIBS library...): one folder, one static library, one test
# binary. ROOMS are the floor's subfolders, lowest first: a file includes only from its own room or a lower one,
# and a file of the floor's own folder is above all of them (tools/check_floors).
#
#   x.cc         into penstock_<NAME>
#   x_test.cc    into <NAME>_test (GoogleTest, registered with CTest)
#   x_fuzz.cc    one libFuzzer binary each, under the fuzz preset: <NAME>_x_fuzz
#   x_main.cc    left to the folder's own CMakeLists.txt
#
# Sources are globbed, so a new file needs no edit here.
include(GNUInstallDirs)
find_package(GTest REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)

function(penstock_floor NAME)
  cmake_parse_arguments(F "" "" "ROOMS;DEPS;LIBS;TEST_LIBS" ${ARGN})
  set(patterns ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(room ${F_ROOMS})
    if(NOT IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/${room})
      message(FATAL_ERROR "${NAME}: there is no folder for the room '${room}'")
    endif()
    list(APPEND patterns ${CMAKE_CURRENT_SOURCE_DIR}/${room}/*.cc)
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  set(tests ${sources})
  set(fuzzers ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|main)\\.cc$")
  list(TRANSFORM F_DEPS PREPEND penstock_)

  if(sources)
    add_library(penstock_${NAME} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(penstock_${NAME} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(penstock_${NAME} ${scope} ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_link_libraries(penstock_${NAME} ${scope} ${F_DEPS} ${F_LIBS} fmt::fmt spdlog::spdlog Threads::Threads)

  if(tests AND BUILD_TESTING)
    add_executable(${NAME}_test ${tests})
    target_link_libraries(${NAME}_test PRIVATE penstock_${NAME} ${F_TEST_LIBS} GTest::gmock GTest::gtest GTest::gtest_main)
    target_compile_definitions(${NAME}_test PRIVATE PENSTOCK_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    add_test(NAME ${NAME}_test COMMAND ${NAME}_test)
  endif()
  if(PENSTOCK_FUZZ)
    foreach(fuzzer ${fuzzers})
      get_filename_component(stem ${fuzzer} NAME_WE)
      add_executable(${NAME}_${stem} ${fuzzer})
      target_link_libraries(${NAME}_${stem} PRIVATE penstock_${NAME})
      target_link_options(${NAME}_${stem} PRIVATE -fsanitize=fuzzer)
      set_property(GLOBAL APPEND PROPERTY PENSTOCK_FUZZERS ${NAME}_${stem})
    endforeach()
  endif()
endfunction()
