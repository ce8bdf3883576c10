// The body of the row kernels, compiled once for each instruction set: whoever includes it sets the target before, and
// the namespace. Loops over a row have no dependence between elements, so that the compiler makes vectors of them.

// From here on a table is not in the nearest caches, and fetching its rows ahead of time pays.
constexpr int64_t kPrefetchBytes = 512 << 10;
constexpr int64_t kPrefetchAhead = 16;
constexpr int64_t kCountedBounds = 256;  // as many are compared one by one, in vectors; more are searched

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

inline float Scale(Combiner combiner, const float* weights, int64_t count) {
  if (combiner == Combiner::kSum) return 1.0f;
  const bool is_mean = combiner == Combiner::kMean;
  float total = static_cast<float>(count);
  if (weights != nullptr) {
    total = 0.0f;
    for (int64_t index = 0; index < count; ++index) total += is_mean ? weights[index] : weights[index] * weights[index];
  }
  const float divisor = is_mean ? total : __builtin_sqrtf(total);
  return divisor == 0.0f ? 0.0f : 1.0f / divisor;
}

inline void FetchRow(const char* row, size_t bytes) {
  for (size_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(row + byte);
}

// A fixed dimension keeps the sum in registers; 0 stands for any.
template <RowType type, int64_t fixed>
inline void Sum(const char* data, size_t bytes, int64_t dimension, const int64_t* ids, const float* weights, int64_t count,
                float scale, float* __restrict out) {
  if constexpr (fixed == 0) {
    for (int64_t index = 0; index < dimension; ++index) out[index] = 0.0f;
    for (int64_t index = 0; index < count; ++index) {
      AddRow<type>(data + static_cast<size_t>(ids[index]) * bytes, dimension, weights == nullptr ? 1.0f : weights[index],
                   out);
    }
    for (int64_t index = 0; index < dimension; ++index) out[index] *= scale;
  } else {
    float sum[fixed] = {};
    for (int64_t index = 0; index < count; ++index) {
      AddRow<type>(data + static_cast<size_t>(ids[index]) * bytes, fixed, weights == nullptr ? 1.0f : weights[index], sum);
    }
    for (int64_t index = 0; index < fixed; ++index) out[index] = scale * sum[index];
  }
}

template <RowType type, int64_t fixed>
void PoolOf(const Pooling& to) {
  const RowTable& table = to.table;
  const size_t bytes = RowBytes(type, table.dimension);
  const int64_t until = to.rows[to.batch];
  const bool is_far = table.rows * static_cast<int64_t>(bytes) > kPrefetchBytes;
  int64_t fetched = to.rows[0];
  float* out = to.out;
  for (int64_t row = 0; row < to.batch; ++row, out += to.stride) {
    const int64_t begin = to.rows[row], end = to.rows[row + 1];
    if (is_far) {
      const int64_t ahead = end + kPrefetchAhead < until ? end + kPrefetchAhead : until;
      for (; fetched < ahead; ++fetched) FetchRow(table.data + static_cast<size_t>(to.ids[fetched]) * bytes, bytes);
    }
    const float* weights = to.weights == nullptr ? nullptr : to.weights + begin;
    Sum<type, fixed>(table.data, bytes, table.dimension, to.ids + begin, weights, end - begin,
                     Scale(to.combiner, weights, end - begin), out);
  }
}

template <RowType type, int64_t fixed>
void GatherOf(const Gathering& to) {
  const RowTable& table = to.table;
  const size_t bytes = RowBytes(type, table.dimension);
  const int64_t count = to.batch * to.by_row;
  const bool is_far = table.rows * static_cast<int64_t>(bytes) > kPrefetchBytes;
  int64_t index = 0, fetched = 0;
  for (int64_t row = 0; row < to.batch; ++row) {
    float* out = to.out + row * to.stride;
    for (int64_t place = 0; place < to.by_row; ++place, ++index, out += to.pitch) {
      if (is_far) {
        const int64_t ahead = index + kPrefetchAhead < count ? index + kPrefetchAhead : count;
        for (; fetched < ahead; ++fetched) FetchRow(table.data + static_cast<size_t>(to.ids[fetched]) * bytes, bytes);
      }
      Sum<type, fixed>(table.data, bytes, table.dimension, to.ids + index, nullptr, 1, 1.0f, out);
    }
  }
}

// The kernel for a table's type, and for the dimensions that embeddings often have.
#define CORELANE_BY_DIMENSION(kernel, type, to)                                   \
  switch ((to).table.dimension) {                                                 \
    case 4: return kernel<type, 4>(to);                                           \
    case 8: return kernel<type, 8>(to);                                           \
    case 16: return kernel<type, 16>(to);                                         \
    case 32: return kernel<type, 32>(to);                                         \
    case 64: return kernel<type, 64>(to);                                         \
    default: return kernel<type, 0>(to);                                          \
  }
#define CORELANE_BY_TYPE(kernel, to)                                              \
  switch ((to).table.type) {                                                      \
    case RowType::kFloat32: CORELANE_BY_DIMENSION(kernel, RowType::kFloat32, to)  \
    case RowType::kBfloat16: CORELANE_BY_DIMENSION(kernel, RowType::kBfloat16, to) \
    case RowType::kInt8: CORELANE_BY_DIMENSION(kernel, RowType::kInt8, to)        \
  }

void Pool(const Pooling& to) { CORELANE_BY_TYPE(PoolOf, to) }

void Gather(const Gathering& to) { CORELANE_BY_TYPE(GatherOf, to) }

#undef CORELANE_BY_TYPE
#undef CORELANE_BY_DIMENSION

void Bucketize(const Bucketing& to) {
  for (int64_t index = 0; index < to.count; ++index) {
    const float value = to.values[index];
    int64_t low = 0, length = to.bound_count;
    while (length > kCountedBounds) {
      const int64_t half = length / 2;
      if (!(value < to.bounds[low + half - 1])) low += half;
      length -= half;
    }
    int32_t below = 0;
    for (int64_t bound = low; bound < low + length; ++bound) below += !(value < to.bounds[bound]);
    to.out[index] = low + below;
  }
}
