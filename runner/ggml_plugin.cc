#include "runner/ggml_plugin.h"

#include <dlfcn.h>

#include <array>
#include <filesystem>
#include <string_view>

#include "runner/ggml/entry.h"

namespace penstock {
namespace {

constexpr std::string_view kFile = "libpenstock_ggml.so";
constexpr std::string_view kWayOut = "./dev setup --ggml fetches what it needs, ./dev build builds it";

std::string Folder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

// `name` in `library`; the caller knows its type.
template <class Function>
Result<Function*> Symbol(void* library, const std::string& path, const char* name) {
  void* symbol = ::dlsym(library, name);
  if (symbol == nullptr)
    return Fail(Code::kUnsupported, "{} is no plug-in of Penstock: it has no {}; {}", path, name, kWayOut);
  return reinterpret_cast<Function*>(symbol);
}

}  // namespace

std::string GgmlPluginPath() {
  const std::string folder = Folder();
  for (const std::string_view place :
       std::array<std::string_view, 3>{"", "../lib/penstock/", "../runner/ggml/"}) {
    const std::string path = fmt::format("{}/{}{}", folder, place, kFile);
    std::error_code error;
    if (std::filesystem::exists(path, error)) return std::filesystem::weakly_canonical(path, error).string();
  }
  return {};
}

Result<std::unique_ptr<Runner>> MakeGgmlRunner(const GgmlOptions& options) {
  const std::string path = GgmlPluginPath();
  if (path.empty()) {
    return Fail(Code::kUnsupported,
                "the ggml runner is not there: no {} in {}, ../lib/penstock or ../runner/ggml; {}", kFile,
                Folder(), kWayOut);
  }
  // Never closed: its threads and the drivers that it loads do not survive that. Lazy: it opens libllama
  // itself.
  void* library = ::dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (library == nullptr) {
    return Fail(Code::kUnsupported, "the ggml runner does not load: {}; {}", ::dlerror(), kWayOut);
  }
  PENSTOCK_ASSIGN(const auto abi, Symbol<ggml::AbiFunction>(library, path, ggml::kAbiSymbol));
  if (std::string_view(abi()) != ggml::kAbi) {
    return Fail(Code::kUnsupported,
                "{} was built for another version of this program ({}, not {}): build it again; {}", path,
                abi(), ggml::kAbi, kWayOut);
  }
  PENSTOCK_ASSIGN(const auto make, Symbol<ggml::MakeFunction>(library, path, ggml::kMakeSymbol));
  Error error;
  std::unique_ptr<Runner> runner(make(&options, &error));
  if (runner == nullptr) return std::unexpected(std::move(error));
  return runner;
}

}  // namespace penstock
