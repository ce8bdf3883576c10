#include "engines/tensorflow_api.h"

#include <dlfcn.h>

#include <mutex>

namespace corelane::tf {
namespace {

template <typename Function>
bool Find(void* library, const char* name, Function* function, std::string* error) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function != nullptr) return true;
  *error = std::string("this TensorFlow has no ") + name;
  return false;
}

bool FindAll(void* library, Api* api, std::string* error) {
#define CORELANE_FIND(name) \
  if (!Find(library, "TF_" #name, &api->name, error)) return false
  CORELANE_FIND(NewStatus);
  CORELANE_FIND(DeleteStatus);
  CORELANE_FIND(GetCode);
  CORELANE_FIND(Message);
  CORELANE_FIND(DeleteBuffer);
  CORELANE_FIND(NewBufferFromString);
  CORELANE_FIND(NewGraph);
  CORELANE_FIND(DeleteGraph);
  CORELANE_FIND(GraphOperationByName);
  CORELANE_FIND(GraphImportGraphDef);
  CORELANE_FIND(NewImportGraphDefOptions);
  CORELANE_FIND(DeleteImportGraphDefOptions);
  CORELANE_FIND(ImportGraphDefOptionsAddInputMapping);
  CORELANE_FIND(GetAllOpList);
  CORELANE_FIND(NewSessionOptions);
  CORELANE_FIND(DeleteSessionOptions);
  CORELANE_FIND(SetConfig);
  CORELANE_FIND(LoadSessionFromSavedModel);
  CORELANE_FIND(CloseSession);
  CORELANE_FIND(DeleteSession);
  CORELANE_FIND(SessionRun);
  CORELANE_FIND(AllocateTensor);
  CORELANE_FIND(DeleteTensor);
  CORELANE_FIND(TensorMaybeMove);
  CORELANE_FIND(TensorData);
  CORELANE_FIND(TensorByteSize);
  CORELANE_FIND(TensorType);
  CORELANE_FIND(NumDims);
  CORELANE_FIND(Dim);
  CORELANE_FIND(StringInit);
  CORELANE_FIND(StringCopy);
  CORELANE_FIND(StringGetDataPointer);
  CORELANE_FIND(StringGetSize);
  CORELANE_FIND(LoadLibrary);
#undef CORELANE_FIND
  return true;
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

}  // namespace corelane::tf
