// Accelerators: the GPUs and NPUs of this machine, from the PCI bus and from their vendors' own tools. Only
// looked at here; what drives them is the runner's business.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace penstock {

struct Accelerator {
  std::string vendor{};   // "NVIDIA"
  std::string name{};     // as the vendor's tool says; empty: only the bus was asked
  std::string address{};  // on the PCI bus, "0000:c1:00.0"; empty: not told
  uint64_t memory = 0;    // bytes; 0: not told
  std::string tool{};     // that answered; empty: none
  bool gpu = true;        // else an accelerator without a display class: an NPU
};

// Display and accelerator devices of vendors whose chips compute. `devices`: the folder to read (tests).
std::vector<Accelerator> AcceleratorsOnBus(const std::string& devices = "/sys/bus/pci/devices");

// The vendors' tools, as their documentation shows their output. None of it was recorded from hardware here.
// Lines and fields that are not understood are left out.
std::vector<Accelerator> ParseNvidiaSmi(std::string_view text);    // --query-gpu=… --format=csv
std::vector<Accelerator> ParseRocmSmi(std::string_view text);      // --json
std::vector<Accelerator> ParseXpuSmi(std::string_view text);       // discovery -j
std::vector<Accelerator> ParseNpuSmi(std::string_view text);       // info
std::vector<Accelerator> ParseMthreadsGmi(std::string_view text);  // -L

// What the tools say, laid over what the bus says: the same device once.
std::vector<Accelerator> Merged(std::vector<Accelerator> bus, const std::vector<Accelerator>& told);

// All of it, on this machine. Runs the tools that are there, each for 10 s at most.
std::vector<Accelerator> FindAccelerators();

}  // namespace penstock
