// CUDA's short vectors, with its alignments, and dim3.
#pragma once

#define CUDA_ON_HOST_VECTOR2(T, NAME, ALIGN) \
  struct alignas(ALIGN) NAME##2 {            \
    T x, y;                                  \
  };                                         \
  inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }
#define CUDA_ON_HOST_VECTOR3(T, NAME) \
  struct NAME##3 {                    \
    T x, y, z;                        \
  };                                  \
  inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }
#define CUDA_ON_HOST_VECTOR4(T, NAME, ALIGN) \
  struct alignas(ALIGN) NAME##4 {            \
    T x, y, z, w;                            \
  };                                         \
  inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }

CUDA_ON_HOST_VECTOR2(unsigned char, uchar, 2)
CUDA_ON_HOST_VECTOR4(unsigned char, uchar, 4)
CUDA_ON_HOST_VECTOR2(unsigned short, ushort, 4)
CUDA_ON_HOST_VECTOR4(unsigned short, ushort, 8)
CUDA_ON_HOST_VECTOR2(int, int, 8)
CUDA_ON_HOST_VECTOR3(int, int)
CUDA_ON_HOST_VECTOR4(int, int, 16)
CUDA_ON_HOST_VECTOR2(unsigned, uint, 8)
CUDA_ON_HOST_VECTOR3(unsigned, uint)
CUDA_ON_HOST_VECTOR4(unsigned, uint, 16)
CUDA_ON_HOST_VECTOR2(long long, longlong, 16)
CUDA_ON_HOST_VECTOR2(unsigned long long, ulonglong, 16)
CUDA_ON_HOST_VECTOR2(float, float, 8)
CUDA_ON_HOST_VECTOR3(float, float)
CUDA_ON_HOST_VECTOR4(float, float, 16)
CUDA_ON_HOST_VECTOR2(double, double, 16)

#undef CUDA_ON_HOST_VECTOR2
#undef CUDA_ON_HOST_VECTOR3
#undef CUDA_ON_HOST_VECTOR4

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_extent = 1, unsigned y_extent = 1, unsigned z_extent = 1)
      : x(x_extent), y(y_extent), z(z_extent) {}
  constexpr dim3(uint3 extents) : x(extents.x), y(extents.y), z(extents.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
