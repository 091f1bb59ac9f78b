// The one translation unit that compiles Boost.Asio itself; every other includes declarations only.
#include <boost/asio/impl/src.hpp>
