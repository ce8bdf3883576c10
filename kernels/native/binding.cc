// The table of contents of kernels._native.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "instruction_sets.h"

PYBIND11_MODULE(_native, module) {
  module.doc() = "Native kernels and what they may use.";
  module.def("instruction_sets", &corelane::InstructionSets,
             "Names of the vector instruction sets that processor and operating system support.");
}
