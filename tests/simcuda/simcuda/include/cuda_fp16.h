// Half precision, by the compiler's own _Float16: every conversion rounds to nearest, ties to even, as a GPU's does.
#pragma once
#include <cstring>

struct __half_raw { unsigned short x; };

struct __half {
    unsigned short bits;
    __half() = default;
    __half(float x) { set(x); }
    __half(double x) { set(x); }
    __half(int x) { set(x); }
    __half(unsigned x) { set(x); }
    __half(long x) { set(x); }
    __half(unsigned long x) { set(x); }
    __half(long long x) { set(x); }
    __half(unsigned long long x) { set(x); }
    __half(short x) { set(x); }
    __half(unsigned short x) { set(x); }
    __half(bool x) { set(x ? 1.0f : 0.0f); }
    __half(const __half_raw &raw) : bits(raw.x) {}
    operator float() const {
        _Float16 x;
        memcpy(&x, &bits, 2);
        return (float)x;
    }
    operator __half_raw() const { return {bits}; }

  private:
    template <class T> void set(T x) {
        _Float16 rounded = (_Float16)x;
        memcpy(&bits, &rounded, 2);
    }
};
typedef __half half;
struct alignas(4) __half2 { __half x, y; };
typedef __half2 half2;

static inline float __half2float(__half x) { return (float)x; }
static inline __half __float2half(float x) { return __half(x); }
static inline __half __float2half_rn(float x) { return __half(x); }
static inline __half __double2half(double x) { return __half(x); }
static inline unsigned short __half_as_ushort(__half x) { return x.bits; }
static inline __half __ushort_as_half(unsigned short bits) { return __half(__half_raw{bits}); }
static inline bool __hisnan(__half x) { return (x.bits & 0x7fff) > 0x7c00; }
static inline int __hisinf(__half x) { return (x.bits & 0x7fff) == 0x7c00 ? (x.bits & 0x8000 ? -1 : 1) : 0; }
static inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
static inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
static inline __half __low2half(__half2 x) { return x.x; }
static inline __half __high2half(__half2 x) { return x.y; }
