// The one translation unit that compiles Boost.Asio's TLS itself; every other includes declarations only.
#include <boost/asio/ssl/impl/src.hpp>
