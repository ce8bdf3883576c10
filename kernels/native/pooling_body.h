// The body of the row kernels, compiled once for each instruction set: whoever includes it sets the target before, and
// the namespace, and kLanes, how many floats its registers hold.

// From here on a table is not in the nearest caches, and fetching its rows ahead of time pays.
constexpr int64_t kPrefetchBytes = 512 << 10;
constexpr int64_t kPrefetchAhead = 16;
constexpr int64_t kCountedBounds = 256;  // as many are compared one by one, in vectors; more are searched

// Vectors of n elements, which become registers, or several, of the instruction set.
template <int64_t n>
struct Vector {
  typedef float Floats __attribute__((vector_size(n * 4)));
  typedef uint32_t Bits __attribute__((vector_size(n * 4)));
  typedef int32_t Ints __attribute__((vector_size(n * 4)));
  typedef uint16_t Halves __attribute__((vector_size(n * 2)));
  typedef uint8_t Bytes __attribute__((vector_size(n)));
};

// n elements of a row from `column` on.
template <RowType type, int64_t n>
inline typename Vector<n>::Floats Load(const char* row, int64_t column) {
  typename Vector<n>::Floats found;
  if constexpr (type == RowType::kFloat32) {
    __builtin_memcpy(&found, row + column * 4, sizeof(found));
  } else if constexpr (type == RowType::kBfloat16) {
    typename Vector<n>::Halves halves;
    __builtin_memcpy(&halves, row + column * 2, sizeof(halves));
    const typename Vector<n>::Bits bits = __builtin_convertvector(halves, typename Vector<n>::Bits) << 16;
    __builtin_memcpy(&found, &bits, sizeof(found));
  } else {
    typename Vector<n>::Bytes bytes;
    __builtin_memcpy(&bytes, row + 2 * sizeof(float) + column, sizeof(bytes));
    float scale, offset;
    __builtin_memcpy(&scale, row, sizeof(scale));
    __builtin_memcpy(&offset, row + sizeof(scale), sizeof(offset));
    // In steps that are an instruction each.
    const typename Vector<n>::Halves halves = __builtin_convertvector(bytes, typename Vector<n>::Halves);
    const typename Vector<n>::Ints ints = (typename Vector<n>::Ints)__builtin_convertvector(halves, typename Vector<n>::Bits);
    found = __builtin_convertvector(ints, typename Vector<n>::Floats) * scale + offset;
  }
  return found;
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

// The sums of `columns` columns, which stay in registers.
template <RowType type, int64_t columns>
inline void SumColumns(const char* data, size_t bytes, int64_t column, const int64_t* ids, const float* weights,
                       int64_t count, float scale, float* out) {
  constexpr int64_t n = columns < kLanes ? columns : kLanes;
  typename Vector<n>::Floats sums[columns / n] = {};
  for (int64_t index = 0; index < count; ++index) {
    const char* row = data + static_cast<size_t>(ids[index]) * bytes;
    const float weight = weights == nullptr ? 1.0f : weights[index];
#pragma GCC unroll 16
    for (int64_t part = 0; part < columns / n; ++part) sums[part] += weight * Load<type, n>(row, column + part * n);
  }
#pragma GCC unroll 16
  for (int64_t part = 0; part < columns / n; ++part) {
    const typename Vector<n>::Floats found = sums[part] * scale;
    __builtin_memcpy(out + column + part * n, &found, sizeof(found));
  }
}

// A fixed dimension leaves no columns over; 0 stands for any.
template <RowType type, int64_t fixed>
inline void Sum(const char* data, size_t bytes, int64_t dimension, const int64_t* ids, const float* weights, int64_t count,
                float scale, float* out) {
  if constexpr (fixed != 0) {
    SumColumns<type, fixed>(data, bytes, 0, ids, weights, count, scale, out);
  } else {
    int64_t column = 0;
    for (; column + 64 <= dimension; column += 64) {
      SumColumns<type, 64>(data, bytes, column, ids, weights, count, scale, out);
    }
    for (; column + 16 <= dimension; column += 16) {
      SumColumns<type, 16>(data, bytes, column, ids, weights, count, scale, out);
    }
    for (; column + 4 <= dimension; column += 4) {
      SumColumns<type, 4>(data, bytes, column, ids, weights, count, scale, out);
    }
    for (; column < dimension; ++column) SumColumns<type, 1>(data, bytes, column, ids, weights, count, scale, out);
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
