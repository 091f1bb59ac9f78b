// Accelerators: the GPUs and NPUs of this machine, from the PCI bus and from their vendors' tools. They are
// only listed here; the runners use them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct Accelerator {
  std::string vendor{};   // "NVIDIA"
  std::string name{};     // from the vendor's tool; empty: only the bus was read
  std::string address{};  // on the PCI bus, "0000:c1:00.0"; empty: not known
  uint64_t memory = 0;    // bytes; 0: not known
  std::string tool{};     // the tool that answered; empty: none
  bool gpu = true;        // else an accelerator without a display class: an NPU
};

// Display and accelerator devices of vendors of GPUs and NPUs. `devices`: the folder to read (for tests).
std::vector<Accelerator> AcceleratorsOnBus(const std::string& devices = "/sys/bus/pci/devices");

// Parsers for the output of the vendors' tools as documented; we have not recorded it from hardware. Lines
// and fields that are not understood are ignored.
std::vector<Accelerator> ParseNvidiaSmi(std::string_view text);    // --query-gpu=… --format=csv
std::vector<Accelerator> ParseRocmSmi(std::string_view text);      // --json
std::vector<Accelerator> ParseXpuSmi(std::string_view text);       // discovery -j
std::vector<Accelerator> ParseNpuSmi(std::string_view text);       // info
std::vector<Accelerator> ParseMthreadsGmi(std::string_view text);  // -L

// The devices of the bus, completed with what the tools reported; each device once.
std::vector<Accelerator> Merged(std::vector<Accelerator> bus, const std::vector<Accelerator>& told);

// All accelerators of this machine. Runs the installed tools, each for at most 10 s.
std::vector<Accelerator> FindAccelerators();

}  // namespace penstock
