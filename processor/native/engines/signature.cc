#include "engines/signature.h"

#include <algorithm>

namespace corelane {

void Signature::Finish() {
  for (size_t index = 0; index < inputs.size(); ++index) input_index[inputs[index].alias] = static_cast<uint32_t>(index);
  const auto has_rows = [](const TensorSlot& slot) {
    return slot.rank_known && !slot.dims.empty() && slot.dims[0] == -1;
  };
  batches = rows_apart && !inputs.empty() && std::all_of(inputs.begin(), inputs.end(), has_rows) &&
            std::all_of(outputs.begin(), outputs.end(), has_rows);
}

}  // namespace corelane
