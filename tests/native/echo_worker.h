// What the channel's tests send, and what answers them.
#pragma once

#include <cstring>
#include <string>

#include "channel/gateway_end.h"
#include "random.h"
#include "sessions/session_group.h"
#include "channel/shared_channel.h"

namespace corelane_test {

// The answer to a request: its bytes, each one more.
inline std::string Echoed(std::string text) {
  for (char& byte : text) ++byte;
  return text;
}

// The bytes of an answer.
inline std::string PayloadOf(const corelane::CallResult& result) {
  std::string payload(result.payload_bytes(), '\0');
  return result.Read(payload.data()) ? payload : "cannot be read";
}

class EchoHandler : public corelane::RequestHandler {
 public:
  explicit EchoHandler(const corelane::SharedChannel* channel) : channel_(channel) {}

  void Handle(uint32_t, const corelane::TakenRequest& first, corelane::RequestSource* source) override {
    corelane::TakenRequest taken = first;
    do {
      for (size_t index = 0; index < taken.request.size(); ++index) taken.response[index] = taken.request[index] + 1;
      corelane::Answer(*channel_, taken, corelane::AnswerKind::kAnswered, 0, taken.request.size());
    } while (source->TakeMore(0, &taken));
  }

 private:
  const corelane::SharedChannel* const channel_;
};

}  // namespace corelane_test
