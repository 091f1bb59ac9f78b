# Makes the files of a folder part of a program: cmake -D FOLDER=… -D OUT=….cc -P embed.cmake
# writes a unit that defines ConsoleFiles() of gateway/console.h. Each file is there as it is and gzipped.
file(GLOB files LIST_DIRECTORIES false ${FOLDER}/*)
list(SORT files)

function(type_of extension result)
  set(types .html "text/html" .css "text/css" .js "text/javascript" .svg "image/svg+xml")
  list(FIND types "${extension}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "console: no content type for '${extension}' files")
  endif()
  math(EXPR at "${at} + 1")
  list(GET types ${at} type)
  set(${result} "${type}; charset=utf-8" PARENT_SCOPE)
endfunction()

function(bytes_of file result)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  set(${result} "${bytes}" PARENT_SCOPE)
endfunction()

set(arrays "")
set(rows "")
set(i 0)
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  get_filename_component(extension ${file} LAST_EXT)
  type_of(${extension} type)
  file(SHA256 ${file} hash)
  string(SUBSTRING ${hash} 0 16 hash)
  execute_process(COMMAND gzip -9nc ${file} OUTPUT_FILE ${OUT}.gz COMMAND_ERROR_IS_FATAL ANY)
  bytes_of(${file} plain)
  bytes_of(${OUT}.gz gzipped)
  file(REMOVE ${OUT}.gz)
  string(APPEND arrays "constexpr unsigned char kPlain${i}[] = {${plain}};\n"
                       "constexpr unsigned char kGzip${i}[] = {${gzipped}};\n")
  string(APPEND rows "    {\"${name}\", \"${type}\", \"W/\\\"${hash}\\\"\", View(kPlain${i}), View(kGzip${i})},\n")
  math(EXPR i "${i} + 1")
endforeach()

file(WRITE ${OUT} "// Made by cmake/embed.cmake.
#include \"gateway/console.h\"

namespace penstock::gateway {
namespace {

${arrays}
template <size_t N>
std::string_view View(const unsigned char (&bytes)[N]) {
  return {reinterpret_cast<const char*>(bytes), N};
}

const ConsoleFile kFiles[] = {
${rows}};

}  // namespace

std::span<const ConsoleFile> ConsoleFiles() {
  return kFiles;
}

}  // namespace penstock::gateway
")
