#include "gateway/http/call.h"

namespace penstock::gateway {

void Call::Send(HttpResponse response) const {
  metrics->HttpAnswer(response.status);
  reply->Send(WithRequestId(std::move(response)));
}

void Call::SendJson(std::string body, int status) const {
  HttpResponse response;
  response.status = status;
  response.body = std::move(body);
  Send(std::move(response));
}

}  // namespace penstock::gateway
