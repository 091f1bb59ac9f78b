// Where libllama is. The plug-in is not linked to it: it opens the library here, for all to see, and the
// functions of llama.h and ggml.h are bound when each is called for the first time.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace penstock::ggml {

// Opens the libllama of the first of these folders that has one, once in a process. Nothing of llama.h may be
// called before that. Returns its folder. Errors: kUnsupported: none has one (says what fetches it), it does
// not load, or is of another version.
Result<std::string> OpenLibllama(const std::vector<std::string>& folders);

// The file of the library that `address` lies in.
std::string FileOf(const void* address);

}  // namespace penstock::ggml
