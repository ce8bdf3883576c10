// The body of SumRows, compiled once for each instruction set: whoever includes it sets the target before, and the
// namespace. Loops over a row have no dependence between elements, so that the compiler makes vectors of them.

template <RowType type>
inline void AddRow(const char* row, int64_t dimension, float weight, float* __restrict out) {
  if constexpr (type == RowType::kFloat32) {
    const float* values = reinterpret_cast<const float*>(row);
    for (int64_t index = 0; index < dimension; ++index) out[index] += weight * values[index];
  } else if constexpr (type == RowType::kBfloat16) {
    const uint16_t* values = reinterpret_cast<const uint16_t*>(row);
    for (int64_t index = 0; index < dimension; ++index) {
      const uint32_t bits = static_cast<uint32_t>(values[index]) << 16;
      float value;
      __builtin_memcpy(&value, &bits, sizeof(value));
      out[index] += weight * value;
    }
  } else {
    float scale, offset;
    __builtin_memcpy(&scale, row, sizeof(scale));
    __builtin_memcpy(&offset, row + sizeof(scale), sizeof(offset));
    const uint8_t* values = reinterpret_cast<const uint8_t*>(row + 2 * sizeof(float));
    scale *= weight;
    offset *= weight;
    for (int64_t index = 0; index < dimension; ++index) out[index] += scale * values[index] + offset;
  }
}

// A fixed dimension keeps the sum in registers.
template <RowType type, int64_t fixed>
inline void SumFixed(const RowTable& table, const int64_t* ids, const float* weights, int64_t count, float scale,
                     float* __restrict out) {
  const size_t bytes = type == RowType::kFloat32 ? 4 * fixed : type == RowType::kBfloat16 ? 2 * fixed : 8 + fixed;
  float sum[fixed] = {};
  for (int64_t index = 0; index < count; ++index) {
    AddRow<type>(table.data + static_cast<size_t>(ids[index]) * bytes, fixed, weights == nullptr ? 1.0f : weights[index],
                 sum);
  }
  for (int64_t index = 0; index < fixed; ++index) out[index] = scale * sum[index];
}

template <RowType type>
void SumOfType(const RowTable& table, const int64_t* ids, const float* weights, int64_t count, float scale, float* out) {
  switch (table.dimension) {
    case 4: return SumFixed<type, 4>(table, ids, weights, count, scale, out);
    case 8: return SumFixed<type, 8>(table, ids, weights, count, scale, out);
    case 16: return SumFixed<type, 16>(table, ids, weights, count, scale, out);
    case 32: return SumFixed<type, 32>(table, ids, weights, count, scale, out);
    case 64: return SumFixed<type, 64>(table, ids, weights, count, scale, out);
    default: break;
  }
  const size_t bytes = RowBytes(type, table.dimension);
  for (int64_t index = 0; index < table.dimension; ++index) out[index] = 0.0f;
  for (int64_t index = 0; index < count; ++index) {
    AddRow<type>(table.data + static_cast<size_t>(ids[index]) * bytes, table.dimension,
                 weights == nullptr ? 1.0f : weights[index], out);
  }
  for (int64_t index = 0; index < table.dimension; ++index) out[index] *= scale;
}

void Sum(const RowTable& table, const int64_t* ids, const float* weights, int64_t count, float scale, float* out) {
  switch (table.type) {
    case RowType::kFloat32: return SumOfType<RowType::kFloat32>(table, ids, weights, count, scale, out);
    case RowType::kBfloat16: return SumOfType<RowType::kBfloat16>(table, ids, weights, count, scale, out);
    case RowType::kInt8: return SumOfType<RowType::kInt8>(table, ids, weights, count, scale, out);
  }
}
