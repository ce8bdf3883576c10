#include "engines/openvino_api.h"

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
  api->release_memory =
      reinterpret_cast<decltype(api->release_memory)>(dlsym(library, "_ZN2ov13CompiledModel14release_memoryEv"));
  return Find(library, "ov_free", &api->free_text, error);
}

// What ov_compiled_model_t is: a std::shared_ptr made by std::make_shared, whose object lies behind its counts.
struct SharedCompiledModel {
  char* object;
  char* counts;
};
constexpr size_t kObjectBehindCounts = 16;

// Whether it is that: nobody promises it. The counts begin with a table of virtual functions in OpenVINO's library.
bool IsShared(const SharedCompiledModel& model, const void* library_function) {
  Dl_info table, library;
  return model.counts != nullptr && model.object == model.counts + kObjectBehindCounts &&
         dladdr(*reinterpret_cast<void**>(model.counts), &table) != 0 && dladdr(library_function, &library) != 0 &&
         table.dli_fbase == library.dli_fbase;
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

bool Api::ReleaseMemory(const CompiledModel* model) const {
  const auto& shared = *reinterpret_cast<const SharedCompiledModel*>(model);
  if (release_memory == nullptr || !IsShared(shared, reinterpret_cast<const void*>(compiled_model_free))) return false;
  try {
    release_memory(shared.object);
    return true;
  } catch (...) {
    return false;  // a run is under way
  }
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
