// Whatever bytes come over the connection, cut however: frames come out or an error does.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "engine/frame.h"
#include "engine/loop.h"
#include "engine/wire.pb.h"
#include "runner/fake.h"

namespace {

// What parses is also obeyed: no command may crash an engine.
void Obey(penstock::EngineLoop& loop, const penstock::wire::ToEngine& command) {
  if (command.load().path().find("load_ms") != std::string::npos) return;  // it would sleep
  loop.Handle(command);
  loop.FinishLoads();
  for (int i = 0; i < 4; ++i) loop.Step();
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t cut = size_t{data[0]} + 1;
  penstock::FrameReader reader;
  const auto runner = penstock::MakeFakeRunner({});
  penstock::EngineLoop loop(*runner, {.memory_bytes = 1 << 24}, [](const penstock::wire::FromEngine&) {});
  penstock::wire::ToEngine load;
  load.mutable_load()->set_name("m");
  load.mutable_load()->set_path("fake:m?pages=16&context=256");
  loop.Handle(load);
  loop.FinishLoads();
  for (size_t at = 1; at < size; at += cut) {
    const size_t bytes = std::min(cut, size - at);
    const auto space = reader.Space(bytes);
    PENSTOCK_CHECK(space.size() >= bytes);
    std::memcpy(space.data(), data + at, bytes);
    reader.Filled(bytes);
    while (true) {
      const auto frame = reader.Next();
      if (!frame) return 0;
      if (!*frame) break;
      penstock::wire::ToEngine message;
      if (message.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()))) Obey(loop, message);
    }
  }
  return 0;
}
