// In place of CuPy's own, which stands on Thrust: complex numbers by the C++ library, which names their functions alike.
#pragma once
#include <complex>
namespace thrust { using std::complex; }  // as CuPy writes the type
using std::complex;
using std::arg; using std::conj; using std::imag; using std::norm; using std::polar; using std::proj; using std::real;
