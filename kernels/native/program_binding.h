// Programs from Python: instructions and outputs as dictionaries, tables and vocabularies as files.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace corelane {

// `program` is {instructions, feeds, outputs, registers, tables: [{file, type, rows, dimension}], maps: [{ids, and strings
// or ints}]}. ValueError for what is not a program, RuntimeError for a file that cannot be mapped.
std::shared_ptr<const Program> ProgramFrom(const pybind11::dict& program);

}  // namespace corelane
