#include "app/machine/accelerators.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <optional>

#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/common/process.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMiB = 1 << 20;

struct Vendor {
  uint32_t id;  // of the PCI-SIG
  std::string_view name;
};
constexpr std::array kVendors = {Vendor{0x10de, "NVIDIA"},        Vendor{0x1002, "AMD"},
                                 Vendor{0x8086, "Intel"},         Vendor{0x19e5, "Huawei"},
                                 Vendor{0x1ed5, "Moore Threads"}, Vendor{0x1d94, "Hygon"},
                                 Vendor{0xcabc, "Cambricon"}};
// A server's management controller has its own display device, for a console.
constexpr uint32_t kHuawei = 0x19e5, kHuaweiConsole = 0x1711;

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos ? ""
                                         : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

std::vector<std::string_view> Split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(at);
    parts.push_back(Trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

uint64_t Number(std::string_view text, int base = 10) {
  uint64_t value = 0;
  text = Trimmed(text);
  if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

// "00000000:C1:00.0" → "0000:c1:00.0", as sysfs writes it.
std::string Address(std::string_view text) {
  std::string address(Trimmed(text));
  std::ranges::transform(address, address.begin(), [](unsigned char c) { return std::tolower(c); });
  if (address.size() > 12) address.erase(0, address.size() - 12);
  return address.size() == 12 && address[4] == ':' ? address : "";
}

uint32_t HexFile(const fs::path& path) {
  const auto text = ReadTextFile(path);
  return text.has_value() ? static_cast<uint32_t>(Number(*text, 16)) : 0;
}

std::optional<Accelerator> OnBus(const fs::path& device) {
  const uint32_t kind = HexFile(device / "class") >> 16, vendor = HexFile(device / "vendor");
  constexpr uint32_t kDisplay = 0x03, kProcessing = 0x12;
  const auto* known = std::ranges::find(kVendors, vendor, &Vendor::id);
  if (kind != kProcessing && (kind != kDisplay || known == kVendors.end())) return std::nullopt;
  if (vendor == kHuawei && HexFile(device / "device") == kHuaweiConsole) return std::nullopt;
  return Accelerator{
      .vendor = known != kVendors.end() ? std::string(known->name) : fmt::format("vendor {:04x}", vendor),
      .name = "",
      .address = device.filename(),
      .tool = "",
      .gpu = kind == kDisplay};
}

}  // namespace

std::vector<Accelerator> AcceleratorsOnBus(const std::string& devices) {
  std::vector<Accelerator> found;
  std::error_code error;
  for (fs::directory_iterator at(devices, error), end; !error && at != end; at.increment(error)) {
    if (auto device = OnBus(at->path())) found.push_back(*std::move(device));
  }
  std::ranges::sort(found, {}, &Accelerator::address);
  return found;
}

// "NVIDIA H100 80GB HBM3, 81559, 00000000:45:00.0": name, MiB, address.
std::vector<Accelerator> ParseNvidiaSmi(std::string_view text) {
  std::vector<Accelerator> found;
  for (const std::string_view line : Split(text, '\n')) {
    const auto fields = Split(line, ',');
    if (fields.size() != 3 || Address(fields[2]).empty()) continue;
    found.push_back({.vendor = "NVIDIA",
                     .name = std::string(fields[0]),
                     .address = Address(fields[2]),
                     .memory = Number(fields[1]) * kMiB,
                     .tool = "nvidia-smi"});
  }
  return found;
}

// {"card0": {"Card Series": "…", "PCI Bus": "0000:63:00.0", "VRAM Total Memory (B)": "68702699520"}, …};
// older versions write "Card series".
std::vector<Accelerator> ParseRocmSmi(std::string_view text) {
  std::vector<Accelerator> found;
  const auto cards = ParseJsonObject(text, "rocm-smi");
  if (!cards.has_value()) return found;
  for (const auto& [card, value] : *cards) {
    if (!card.starts_with("card") || !value.is_object()) continue;
    const auto& fields = value.get_object();
    std::string name;
    for (const char* key : {"Card Series", "Card series", "Card Model", "Card model"}) {
      if (name.empty()) name = GetText(fields, key);
    }
    found.push_back({.vendor = "AMD",
                     .name = std::move(name),
                     .address = Address(GetText(fields, "PCI Bus")),
                     .memory = Number(GetText(fields, "VRAM Total Memory (B)")),
                     .tool = "rocm-smi"});
  }
  return found;
}

// {"device_list": [{"device_name": "…", "pci_bdf_address": "0000:4d:00.0", …}]}
std::vector<Accelerator> ParseXpuSmi(std::string_view text) {
  std::vector<Accelerator> found;
  const auto answer = ParseJsonObject(text, "xpu-smi");
  if (!answer.has_value()) return found;
  for (const auto& value : GetArray(*answer, "device_list")) {
    if (!value.is_object()) continue;
    found.push_back({.vendor = "Intel",
                     .name = GetText(value.get_object(), "device_name"),
                     .address = Address(GetText(value.get_object(), "pci_bdf_address")),
                     .tool = "xpu-smi"});
  }
  return found;
}

// Two rows a chip between rules:
//   | 0     910B3         | OK            | 93.6        40                0    / 0             |
//   | 0                   | 0000:C1:00.0  | 0           0    / 0          3161 / 65536         |
std::vector<Accelerator> ParseNpuSmi(std::string_view text) {
  std::vector<Accelerator> found;
  std::string name;
  for (const std::string_view line : Split(text, '\n')) {
    const auto cells = Split(line, '|');  // the outer ones are empty
    if (cells.size() != 5) continue;
    const bool numbered =
        !cells[1].empty() && std::isdigit(static_cast<unsigned char>(cells[1].front())) != 0;
    const std::string address = Address(cells[2]);
    if (!numbered) continue;
    if (address.empty()) {
      const size_t gap = cells[1].find(' ');
      name = gap == std::string_view::npos ? "" : std::string(Trimmed(cells[1].substr(gap)));
      continue;
    }
    found.push_back({.vendor = "Huawei",
                     .name = name.empty() ? "" : "Ascend " + name,
                     .address = address,
                     .memory = Number(cells[3].substr(cells[3].rfind('/') + 1)) * kMiB,
                     .tool = "npu-smi",
                     .gpu = false});
  }
  return found;
}

// "GPU 0 : MTT S4000 (UUID : …)"
std::vector<Accelerator> ParseMthreadsGmi(std::string_view text) {
  std::vector<Accelerator> found;
  for (const std::string_view line : Split(text, '\n')) {
    const size_t colon = line.find(':');
    if (!line.starts_with("GPU ") || colon == std::string_view::npos) continue;
    const std::string_view rest = line.substr(colon + 1);
    found.push_back({.vendor = "Moore Threads",
                     .name = std::string(Trimmed(rest.substr(0, rest.find("(UUID")))),
                     .address = "",
                     .tool = "mthreads-gmi"});
  }
  return found;
}

std::vector<Accelerator> Merged(std::vector<Accelerator> bus, const std::vector<Accelerator>& told) {
  for (const Accelerator& device : told) {
    const auto same = std::ranges::find_if(bus, [&](const Accelerator& known) {
      if (known.vendor != device.vendor || !known.tool.empty()) return false;
      return device.address.empty() || device.address == known.address;
    });
    if (same == bus.end()) {
      bus.push_back(device);  // a container or a virtual machine may hide the bus
      continue;
    }
    same->name = device.name;
    same->memory = device.memory;
    same->tool = device.tool;
  }
  return bus;
}

std::vector<Accelerator> FindAccelerators() {
  struct Tool {
    std::vector<std::string> command;
    std::vector<Accelerator> (*parse)(std::string_view);
  };
  const std::array<Tool, 5> tools = {{
      {{"nvidia-smi", "--query-gpu=name,memory.total,pci.bus_id", "--format=csv,noheader,nounits"},
       ParseNvidiaSmi},
      {{"rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showbus", "--json"}, ParseRocmSmi},
      {{"xpu-smi", "discovery", "-j"}, ParseXpuSmi},
      {{"npu-smi", "info"}, ParseNpuSmi},
      {{"mthreads-gmi", "-L"}, ParseMthreadsGmi},
  }};
  auto found = AcceleratorsOnBus();
  for (const Tool& tool : tools) {
    const auto answer = RunProcess(tool.command, {.time = 10 * kSecond});
    if (answer.has_value() && answer->status == 0)
      found = Merged(std::move(found), tool.parse(answer->output));
  }
  return found;
}

}  // namespace penstock
