#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "text/render_process.h"
#include "text/text.h"

namespace penstock {
namespace {

using testing::HasSubstr;

Result<std::string> Render(std::string source, std::string_view context = "{}") {
  PENSTOCK_ASSIGN(const auto compiled, CompileTemplate(std::move(source)));
  return compiled->Render(context);
}

struct Case {
  const char* source;
  const char* expected;  // the output of transformers' environment (jinja2 3.1.6)
};

void ExpectAll(std::initializer_list<Case> cases, std::string_view context = "{}") {
  for (const Case& c : cases) {
    const auto text = Render(c.source, context);
    ASSERT_TRUE(text.has_value()) << c.source << ": " << text.error().message;
    EXPECT_EQ(*text, c.expected) << c.source;
  }
}

TEST(ChatTemplate, BlocksTakeTheirLineWithThem) {
  ExpectAll({
      {"a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
      {"{%- if true -%}  tight  {%- endif -%}  |", "tight|"},
      {"x{#- note -#} y {{- ' z ' -}} w", "xy z w"},
      {"{% generation %}said{% endgeneration %}|{%- generation -%} x {%- endgeneration -%}", "said|x"},
  });
}

TEST(ChatTemplate, TojsonWritesAsPythonsJsonDumps) {
  const std::string_view context = R"({"d":{"b":[1,2.5,1e16,1e-5,null,true],"a":"é\"<b>\n\u0001😀"},"e":{}})";
  ExpectAll(
      {
          {"{{ d|tojson }}", R"({"b": [1, 2.5, 1e+16, 1e-05, null, true], "a": "é\"<b>\n\u0001😀"})"},
          {"{{ d.a|tojson(ensure_ascii=true) }}", R"("\u00e9\"<b>\n\u0001\ud83d\ude00")"},
          {"{{ {'k': [1, {}]}|tojson(indent=2) }}", "{\n  \"k\": [\n    1,\n    {}\n  ]\n}"},
          {"{{ {'b': 1, 'a': 2}|tojson(sort_keys=true, separators=(',', ':')) }}", R"({"a":2,"b":1})"},
          {"{{ e|tojson }}{{ []|tojson(indent=4) }}", "{}[]"},
      },
      context);
}

TEST(ChatTemplate, ValuesPrintAsPythonPrintsThem) {
  ExpectAll(
      {
          {"{{ none }} {{ true }} {{ x }}|{{ missing }}", "None True 2.0|"},
          {"{{ l }}", R"([1, None, 'a', "it's", {'k': False}])"},
          {"{{ ['a\\n\\u200b', 1e22] }}", R"(['a\n\u200b', 1e+22])"},
      },
      R"({"x":2.0,"l":[1,null,"a","it's",{"k":false}]})");
}

TEST(ChatTemplate, PythonsMethodsAreThere) {
  ExpectAll(
      {
          {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "items=1;b=2;"},
          {"{{ d.get('b') }} {{ d.get('z', 'none') }} {{ d['items'] }}", "2 none 1"},
          {"{{ 'a</think>\\nb'.split('</think>')[-1].lstrip('\\n') }}", "b"},
          {"{{ ' a  b '.split() }} {{ 'a,b,c'.rsplit(',', 1) }}", "['a', 'b'] ['a,b', 'c']"},
          {"{{ '\x1c x\u00a0'.strip() }}|{{ '\x1cx' | trim }}", "x|x"},
          {"{{ 'aaa'.count('') }} {{ 'éa'.find('a') }} {{ ''.isalpha() }}", "4 1 False"},
          {"{{ 'xay'.removeprefix('x').removesuffix('y') }} {{ 'aaa' | replace('a', 'b', 2) }}", "a bba"},
          {"{{ 'a\\r\\nb\u2028c'.splitlines() }}", "['a', 'b', 'c']"},
          {"{{ 'x'|int(9) }} {{ '3'|int }} {{ '{}-{n}'.format(1, n=2) }}", "9 3 1-2"},
          {"{{ 'ab' is sequence }} {{ d is mapping }} {{ 'ab' is iterable }} {{ 1 is iterable }}",
           "True True True False"},
      },
      R"({"d":{"items":1,"b":2}})");
}

TEST(ChatTemplate, MacrosNamespacesAndLoopsWork) {
  ExpectAll({
      {"{% macro m(a, b='z') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(2, b=3) }}", "[1z][23]"},
      {"{% set ns = namespace(n=0) %}{% for i in range(4) if i % 2 %}{% set ns.n = ns.n + i %}{% endfor %}{{ "
       "ns.n }}",
       "4"},
      {"{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{{ loop.index0 }}{{ loop.last }}{% "
       "endfor %}",
       "0False2True"},
      {"{{ [1,2,3][::-1] }} {{ 'abc'[:-1] }}", "[3, 2, 1] ab"},
      {"{{ [{'r': 'u'}, {'r': 'a'}] | selectattr('r', 'equalto', 'a') | map(attribute='r') | join(',') }}",
       "a"},
  });
}

TEST(ChatTemplate, StrftimeNowTellsTheTime) {
  const auto year = Render("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(year.has_value());
  EXPECT_EQ(year->size(), 4u);
  EXPECT_FALSE(Render("{{ strftime_now('a\\u0000b') }}").has_value());
}

TEST(ChatTemplate, RefusalComesBackInItsOwnWords) {
  const auto text =
      Render("{% macro m() %}{{ raise_exception('Roles must alternate') }}{% endmacro %}{{ m() }}");
  ASSERT_FALSE(text.has_value());
  EXPECT_EQ(text.error().code, Code::kInvalid);
  EXPECT_EQ(text.error().message, "Roles must alternate");
}

TEST(ChatTemplate, ARefusalWithoutWordsIsStillSaid) {
  const auto text = Render("{{ raise_exception('') }}");
  ASSERT_FALSE(text.has_value());
  EXPECT_THAT(text.error().message, HasSubstr("gives no reason"));
}

TEST(ChatTemplate, WhatDoesNotCompileOrRenderSaysWhere) {
  const auto compiled = CompileTemplate("a\n{% if %}");
  ASSERT_FALSE(compiled.has_value());
  EXPECT_EQ(compiled.error().code, Code::kInvalid);
  EXPECT_THAT(compiled.error().message, HasSubstr("chat:2"));
  for (const char* source :
       {"{{ a.b.c }}", "{{ 'a' + 1 }}", "{{ none + 'a' }}", "{{ missing|tojson }}", "{{ x() }}"}) {
    const auto text = Render(source);
    ASSERT_FALSE(text.has_value()) << source;
    EXPECT_EQ(text.error().code, Code::kInvalid) << source;
  }
  for (const char* context : {"", "[]", "{\"a\":", "1", "{\"a\":\xff}"}) {
    EXPECT_FALSE(Render("x", context).has_value()) << context;
  }
}

// Needs more fuel than the first try has.
TEST(ChatTemplate, LongConversationsRender) {
  ExpectAll({
      {"{% for a in range(30000) %}x{% endfor %}|{{ 1 }}", (std::string(30000, 'x') + "|1").c_str()},
      {"{% macro m() %}{% for a in range(30000) %}x{% endfor %}{% endmacro %}{{ m() | length }}", "30000"},
  });
}

// Hostile templates of different kinds: none may take longer than a renderer's limits, and none may end this
// process.
constexpr const char* kHostileTemplates[] = {
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
    "{{ 'x' * 999999999999 }}",
    // Builds, writes and drops a value nested as deeply as fuel allows.
    "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ "
    "ns.x|tojson }}",
    "{% set ns = namespace(x=[]) %}{% for c in range(99) %}{% for a in range(99999) %}{% set ns.x = {'a': "
    "ns.x} %}{% endfor %}{% endfor %}",
    // Small values that expand to 2^40 parts: written, compared, searched, sorted, hashed.
    "{% set ns = namespace(x=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
    "ns.x|tojson }}",
    "{% set ns = namespace(x=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
    "ns.x }}",
    "{% set ns = namespace(x=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
    "ns.x|pprint }}",
    "{% set ns = namespace(x=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
    "ns.x ~ '' }}",
    "{% set ns = namespace(x=['y'], z=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set "
    "ns.z = [ns.z, ns.z] %}{% endfor %}{{ ns.x == ns.z }}",
    "{% set ns = namespace(x=['y'], z=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set "
    "ns.z = [ns.z, ns.z] %}{% endfor %}{{ ns.x in [ns.z] }}",
    "{% set ns = namespace(x=['y'], z=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% set "
    "ns.z = [ns.z, ns.z] %}{% endfor %}{{ [ns.x, ns.z]|sort|length }}",
    "{% set ns = namespace(x=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
    "{ns.x: 1}|length }}",
    "{% set ns = namespace(x=['y']) %}{% for a in range(40) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
    "[ns.x, ns.x]|unique|list|length }}",
    // A single call that does more work than a whole conversation is allowed to.
    "{% set ns = namespace(x='yyyyyyyy') %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor "
    "%}{{ "
    "ns.x|length }}",
    "{% set ns = namespace(x='yyyyyyyy') %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor "
    "%}{{ "
    "ns.x|length }}",
    "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ "
    "ns.x|list|length }}",
    "{{ (range(99999)|list * 99999999)|list|length }}",
    "{{ (('x' * 9999999).replace('', 'y' * 9999999))|length }}",
    "{{ ('x' * 9999999)|replace('x', 'y' * 9999999)|length }}",
    "{{ (('x' * 999999)|list)|join('y' * 99999)|length }}",
    "{{ ('y' * 99999).join(('x' * 999999)|list)|length }}",
    "{{ '%999999999d'|format(1)|length }}{{ '%999999999999999999d'|format(1)|length }}",
    "{{ '{:>99999999999}'.format(1)|length }}",
    "{{ ('x\n' * 9999999)|indent(99999)|length }}",
    "{{ []|slice(99999999999)|list|length }}",
    "{{ [1]|batch(99999999999, 'x')|list|length }}",
    "{{ range(99999)|map('tojson')|map('center', 99999)|list|length }}",
    "{% for a in range(999) %}{{ ('a' * 9999999).count('aaaaaaab') }}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for a in range(30000) %}{% set ns.x = ns.x + ['x' * 99999] %}{% endfor "
    "%}{{ ns.x|length }}",
    "{% for a in range(9) recursive %}{{ loop(range(99)) }}{% endfor %}",
    // The compiler folds constants.
    "{{ ('x' * 99999999) ~ ('x' * 99999999) ~ ('x' * 99999999) ~ ('x' * 99999999) ~ ('x' * 99999999) }}",
};

void ExpectLimited(const char* source) {
  const Nanos begin = SystemClock().Monotonic();
  const auto compiled = CompileTemplate(source);
  const auto text = compiled ? (*compiled)->Render("{}") : std::unexpected(compiled.error());
  EXPECT_LT(SystemClock().Monotonic() - begin, 2 * kRenderTimeLimit + kSecond) << source;
  if (text.has_value()) {
    EXPECT_LT(text->size(), 100u) << source;  // it was cheap: a lazy list was never expanded
  } else {
    EXPECT_EQ(text.error().code, Code::kInvalid) << source << ": " << text.error().message;
  }
}

TEST(ChatTemplate, HostileTemplatesEndInTimeWithAnErrorOrAnAnswer) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < std::size(kHostileTemplates); i = next++) ExpectLimited(kHostileTemplates[i]);
  };
  std::vector<std::jthread> threads;
  for (int n = 0; n < 4; ++n) threads.emplace_back(work);
}

TEST(ChatTemplate, OneMessageThatUnfoldsInTojsonFailsThatRequestOnly) {
  const auto compiled = CompileTemplate(
      "{% set ns = namespace(x=[messages]) %}{% if messages[0].content == 'explode' %}{% for a in range(40) "
      "%}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{% endif %}{{ ns.x|tojson }}");
  ASSERT_TRUE(compiled.has_value());
  const auto exploded = (*compiled)->Render(R"({"messages":[{"role":"user","content":"explode"}]})");
  ASSERT_FALSE(exploded.has_value());
  EXPECT_THAT(exploded.error().message, HasSubstr("the chat template"));
  EXPECT_THAT(exploded.error().message, HasSubstr("shorter conversation"));
  const auto after = (*compiled)->Render(R"({"messages":[{"role":"user","content":"hello"}]})");
  ASSERT_TRUE(after.has_value()) << after.error().message;
  EXPECT_EQ(*after, R"([[{"role": "user", "content": "hello"}]])");
}

TEST(ChatTemplate, MemoryIsLimited) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "a sanitizer's address space cannot be limited";
#endif
  // Few and large steps: the memory is used up long before the time, also on a busy machine.
  const auto text = Render(
      "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = ns.x + ['x' * 40000000] %}"
      "{% endfor %}");
  ASSERT_FALSE(text.has_value());
  EXPECT_THAT(text.error().message, HasSubstr("768 MiB of memory"));
}

TEST(ChatTemplate, ManyThreadsRenderAtOnce) {
  const auto compiled = CompileTemplate("{{ n }}{{ messages|length }}");
  ASSERT_TRUE(compiled.has_value());
  std::vector<std::jthread> threads;
  for (int n = 0; n < 8; ++n) {
    threads.emplace_back([&, n] {
      for (int i = 0; i < 50; ++i) {
        const auto text =
            (*compiled)->Render(fmt::format(R"({{"n":{},"messages":["{}"]}})", n, std::string(9999, 'x')));
        ASSERT_TRUE(text.has_value()) << text.error().message;
        ASSERT_EQ(*text, fmt::format("{}1", n));
      }
    });
  }
}

TEST(ChatTemplate, RenderersOutliveMoreTemplatesThanOneKeeps) {
  for (int i = 0; i < 200; ++i) {
    const auto text = Render(fmt::format("{}{{{{ 1 }}}}", i));
    ASSERT_TRUE(text.has_value()) << text.error().message;
    ASSERT_EQ(*text, fmt::format("{}1", i));
  }
}

}  // namespace
}  // namespace penstock
