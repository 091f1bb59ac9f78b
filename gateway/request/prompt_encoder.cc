#include "gateway/request/prompt_encoder.h"

#include <boost/asio/post.hpp>
#include <utility>

namespace penstock::gateway {
namespace {

constexpr size_t kInlineText = 4 * kInlineBody;  // a template may write much more than the body has

}  // namespace

void PromptEncoder::Encode(const Work& work, Done done) {
  if (work.body_bytes > kInlineBody) return OnWorkers(work, {}, std::move(done));
  if (work.request.kind != ChatRequest::Kind::kChat || !work.text.chat) {
    return done(EncodePrompts(work.text, work.request, work.context, work.policy));
  }
  if (NeedsMarks(work.text, work.request, work.policy)) return OnWorkers(work, {}, std::move(done));
  const TemplateSource* source = work.text.chat->source();
  if (source == nullptr || !renders_.Takes(*source)) return OnWorkers(work, {}, std::move(done));
  renders_.Add(*source, TemplateContext(work.text, work.request),
               [this, work, done = std::move(done)](std::optional<Result<std::string>> rendered) mutable {
                 if (work.gone) return done(EncodedPrompts());
                 if (!rendered) return OnWorkers(work, {}, std::move(done));
                 if (*rendered && (*rendered)->size() > kInlineText) {
                   return OnWorkers(work, **std::move(rendered), std::move(done));
                 }
                 done(EncodeRendered(work.text, work.request, *std::move(rendered), work.context));
               });
}

void PromptEncoder::OnWorkers(const Work& work, std::optional<std::string> rendered, Done done) {
  workers_.Add(work.team, work.body_bytes,
               [&io = io_, work, rendered = std::move(rendered), done = std::move(done)]() mutable {
                 ApiResult<EncodedPrompts> encoded;
                 if (!work.gone) {
                   encoded = rendered
                                 ? EncodeRendered(work.text, work.request, *std::move(rendered), work.context)
                                 : EncodePrompts(work.text, work.request, work.context, work.policy);
                 }
                 // Moved, not copied: what `done` holds must end its life on the io thread.
                 boost::asio::post(io, [done = std::move(done), encoded = std::move(encoded)]() mutable {
                   done(std::move(encoded));
                 });
               });
}

}  // namespace penstock::gateway
