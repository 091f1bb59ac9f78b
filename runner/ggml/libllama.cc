#include "runner/ggml/libllama.h"

#include <dlfcn.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <string_view>

namespace penstock::ggml {
namespace {

namespace fs = std::filesystem;

fs::path OwnFolder() {
  return fs::path(FileOf(reinterpret_cast<const void*>(&FileOf))).parent_path();
}

// "libllama.so", or as the file is called that has no such link: "libllama.v0.5.0.so", "libllama.so.0".
fs::path LibraryIn(const std::string& folder) {
  std::error_code error;
  if (fs::path plain = fs::path(folder) / "libllama.so"; fs::exists(plain, error)) return plain;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with("libllama.") && name.find(".so") != std::string::npos) return entry->path();
  }
  return {};
}

// A package brings what fetches the libraries; in the sources it is `./dev`.
std::string WayOut(const std::string& folder) {
  const fs::path get = OwnFolder() / "get-ggml";
  std::error_code error;
  const std::string command =
      fs::exists(get, error) ? fmt::format("{} {}", get.string(), folder) : "./dev setup --ggml";
  return fmt::format("`{}` fetches it; engine.ggml_libraries names a folder of yours", command);
}

Result<std::string> Open(const std::vector<std::string>& folders) {
  fs::path path;
  for (const std::string& folder : folders) {
    if (path = LibraryIn(folder); !path.empty()) break;
  }
  if (path.empty()) {
    return Fail(Code::kUnsupported, "the ggml runner finds no libllama {} in {}: {}", PENSTOCK_LLAMA_VERSION,
                fmt::join(folders, " or "), WayOut(folders.front()));
  }
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr)
    return Fail(Code::kUnsupported, "libllama does not load: {}; {}", ::dlerror(), WayOut(folders.front()));
  auto* version = reinterpret_cast<const char* (*)()>(::dlsym(library, "llama_version"));
  const std::string_view found = version == nullptr ? "one that tells no version" : version();
  if (found != PENSTOCK_LLAMA_VERSION) {
    return Fail(Code::kUnsupported, "the ggml runner was built for libllama {}, and {} is {}: {}",
                PENSTOCK_LLAMA_VERSION, path.string(), found, WayOut(folders.front()));
  }
  return path.parent_path().string();
}

}  // namespace

Result<std::string> OpenLibllama(const std::vector<std::string>& folders) {
  static const Result<std::string> opened =
      Open(folders.empty() ? std::vector{(OwnFolder() / "ggml").string()} : folders);
  return opened;
}

std::string FileOf(const void* address) {
  Dl_info info{};
  return ::dladdr(address, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "";
}

}  // namespace penstock::ggml
