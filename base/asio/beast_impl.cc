// The one translation unit that compiles Boost.Beast itself; every other includes declarations only.
#include <boost/beast/src.hpp>
