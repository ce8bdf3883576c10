// The parts of corelane.processor._native's table of contents.
#pragma once

#include <pybind11/pybind11.h>

void BindChannel(pybind11::module_& module);
void BindModels(pybind11::module_& module);
void BindSessions(pybind11::module_& module);
