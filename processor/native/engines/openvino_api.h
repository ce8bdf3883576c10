// OpenVINO's C API, found in its wheel and opened at run time: no header of it is needed to build.
//
// Types and functions are as in openvino/c/, which OpenVINO keeps compatible. Element types are not spelled out: their
// numbers are asked of the model that has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace corelane::ov {

struct Core;
struct Model;
struct CompiledModel;
struct InferRequest;
struct Tensor;
struct Port;

struct Shape {
  int64_t rank;
  int64_t* dims;
};

// An exception of OpenVINO's own: a graph refuses a shape or a value so. Anything else that is thrown has another number.
inline constexpr int kRefused = -1;

// The functions we call. Each returns 0, or what went wrong; LastError has the words.
//
// Thread safety: immutable once opened.
struct Api {
  // Opens the library in the wheel. Null, and `error` says why, if it or one of the functions is not there. The first
  // path wins for the life of the process.
  static const Api* Open(const std::string& path, std::string* error);

  // What the last failed call of any thread said, and forgets it.
  std::string LastError() const;

  int (*core_create)(Core**);
  void (*core_free)(Core*);
  int (*core_read_model)(const Core*, const char* model, const char* weights, Model**);
  void (*model_free)(Model*);
  // The properties are `arguments` strings, a name and a value in turn.
  int (*core_compile_model)(const Core*, const Model*, const char* device, size_t arguments, CompiledModel**, ...);
  void (*compiled_model_free)(CompiledModel*);
  int (*compiled_model_input_by_index)(const CompiledModel*, size_t, Port**);
  int (*port_get_element_type)(const Port*, int*);
  void (*output_const_port_free)(Port*);
  int (*compiled_model_create_infer_request)(const CompiledModel*, InferRequest**);
  void (*infer_request_free)(InferRequest*);
  int (*infer_request_set_input_tensor_by_index)(InferRequest*, size_t, const Tensor*);
  int (*infer_request_get_output_tensor_by_index)(const InferRequest*, size_t, Tensor**);
  int (*infer_request_infer)(InferRequest*);
  int (*tensor_create)(int type, Shape, Tensor**);
  int (*tensor_create_from_host_ptr)(int type, Shape, void*, Tensor**);
  int (*tensor_get_shape)(const Tensor*, Shape*);
  int (*tensor_data)(const Tensor*, void**);
  int (*tensor_get_byte_size)(const Tensor*, size_t*);
  int (*tensor_set_string_data)(Tensor*, const char**, size_t);
  void (*tensor_free)(Tensor*);
  int (*shape_free)(Shape*);
  const char* (*get_last_err_msg)();
  void (*free_text)(const char*);

  // Lets go of the memory that the model's graphs keep for their runs, which OpenVINO has in C++ only. False if it cannot be
  // called, or a run is under way. Before a run that follows, OpenVINO allocates again.
  bool ReleaseMemory(const CompiledModel* model) const;

  void (*release_memory)(void* compiled_model);  // ov::CompiledModel::release_memory; null if it is not found
};

}  // namespace corelane::ov
