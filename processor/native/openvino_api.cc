#include "openvino_api.h"

#include <dlfcn.h>

#include <mutex>

namespace corelane::ov {
namespace {

template <typename Function>
bool Find(void* library, const char* name, Function* function, std::string* error) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function != nullptr) return true;
  *error = std::string("this OpenVINO has no ") + name;
  return false;
}

bool FindAll(void* library, Api* api, std::string* error) {
#define CORELANE_FIND(name) \
  if (!Find(library, "ov_" #name, &api->name, error)) return false
  CORELANE_FIND(core_create);
  CORELANE_FIND(core_free);
  CORELANE_FIND(core_read_model);
  CORELANE_FIND(model_free);
  CORELANE_FIND(core_compile_model);
  CORELANE_FIND(compiled_model_free);
  CORELANE_FIND(compiled_model_input_by_index);
  CORELANE_FIND(port_get_element_type);
  CORELANE_FIND(output_const_port_free);
  CORELANE_FIND(compiled_model_create_infer_request);
  CORELANE_FIND(infer_request_free);
  CORELANE_FIND(infer_request_set_input_tensor_by_index);
  CORELANE_FIND(infer_request_get_output_tensor_by_index);
  CORELANE_FIND(infer_request_infer);
  CORELANE_FIND(tensor_create);
  CORELANE_FIND(tensor_create_from_host_ptr);
  CORELANE_FIND(tensor_get_shape);
  CORELANE_FIND(tensor_data);
  CORELANE_FIND(tensor_get_byte_size);
  CORELANE_FIND(tensor_set_string_data);
  CORELANE_FIND(tensor_free);
  CORELANE_FIND(shape_free);
  CORELANE_FIND(get_last_err_msg);
#undef CORELANE_FIND
  return Find(library, "ov_free", &api->free_text, error);
}

}  // namespace

const Api* Api::Open(const std::string& path, std::string* error) {
  static std::mutex mutex;
  static Api* opened = nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  if (opened != nullptr) return opened;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    *error = dlerror();
    return nullptr;
  }
  Api api{};
  if (!FindAll(library, &api, error)) return nullptr;
  opened = new Api(api);
  return opened;
}

std::string Api::LastError() const {
  const char* text = get_last_err_msg();
  if (text == nullptr) return "no reason given";
  std::string message = text;
  free_text(text);
  // A stack of source positions, then the cause.
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
  const size_t line = message.rfind('\n');
  const size_t start = line == std::string::npos ? 0 : message.find_first_not_of(" \t", line + 1);
  return message.substr(start, 1000);
}

}  // namespace corelane::ov
