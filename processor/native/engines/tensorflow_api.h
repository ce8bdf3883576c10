// TensorFlow's C API, found in its wheel and opened at run time: no header of it is needed to build.
//
// Types and functions are as in tensorflow/c/c_api.h and tf_tensor.h, which TensorFlow keeps compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace corelane::tf {

struct Status;
struct Graph;
struct Operation;
struct SessionOptions;
struct Session;
struct Tensor;
struct Library;
struct ImportOptions;

struct Buffer {
  const void* data;
  size_t length;
  void (*deallocator)(void* data, size_t length);
};

struct Output {
  Operation* operation;
  int index;
};

// A string element of a tensor (tensorflow/core/platform/ctstring_internal.h): 24 bytes, of which the lowest two bits of
// the first say how to read the rest. Only the form that we write is spelled out: a view of memory that somebody else
// keeps.
struct StringView {
  uint64_t size_and_kind;
  const char* data;
  uint64_t unused;
};
inline constexpr uint64_t kStringIsView = 3;
static_assert(sizeof(StringView) == 24);

// Codes of Status, which are gRPC's.
enum Code : int {
  kOk = 0,
  kInvalidArgument = 3,
  kNotFound = 5,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kUnavailable = 14,
};

// The functions we call. One instance a process: TensorFlow's registries are global.
//
// Thread safety: immutable once opened.
struct Api {
  // Opens the library in the wheel. Null, and `error` says why, if it or one of the functions is not there. The first
  // path wins for the life of the process.
  static const Api* Open(const std::string& path, std::string* error);

  Status* (*NewStatus)();
  void (*DeleteStatus)(Status*);
  int (*GetCode)(const Status*);
  const char* (*Message)(const Status*);
  void (*DeleteBuffer)(Buffer*);
  Buffer* (*NewBufferFromString)(const void*, size_t);
  Graph* (*NewGraph)();
  void (*DeleteGraph)(Graph*);
  Operation* (*GraphOperationByName)(Graph*, const char*);
  void (*GraphImportGraphDef)(Graph*, const Buffer*, const ImportOptions*, Status*);
  ImportOptions* (*NewImportGraphDefOptions)();
  void (*DeleteImportGraphDefOptions)(ImportOptions*);
  void (*ImportGraphDefOptionsAddInputMapping)(ImportOptions*, const char*, int, Output);
  Buffer* (*GetAllOpList)();
  SessionOptions* (*NewSessionOptions)();
  void (*DeleteSessionOptions)(SessionOptions*);
  void (*SetConfig)(SessionOptions*, const void*, size_t, Status*);
  Session* (*LoadSessionFromSavedModel)(const SessionOptions*, const Buffer*, const char*, const char* const*, int, Graph*,
                                        Buffer*, Status*);
  void (*CloseSession)(Session*, Status*);
  void (*DeleteSession)(Session*, Status*);
  void (*SessionRun)(Session*, const Buffer*, const Output*, Tensor* const*, int, const Output*, Tensor**, int,
                     const Operation* const*, int, Buffer*, Status*);
  Tensor* (*AllocateTensor)(int, const int64_t*, int, size_t);
  void (*DeleteTensor)(Tensor*);
  Tensor* (*TensorMaybeMove)(Tensor*);  // the tensor, if nobody else holds its memory; null otherwise; changes nothing
  void* (*TensorData)(const Tensor*);
  size_t (*TensorByteSize)(const Tensor*);
  int (*TensorType)(const Tensor*);
  int (*NumDims)(const Tensor*);
  int64_t (*Dim)(const Tensor*, int);
  void (*StringInit)(void*);
  void (*StringCopy)(void*, const char*, size_t);
  const char* (*StringGetDataPointer)(const void*);
  size_t (*StringGetSize)(const void*);
  Library* (*LoadLibrary)(const char*, Status*);
};

}  // namespace corelane::tf
